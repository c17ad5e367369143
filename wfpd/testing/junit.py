"""The results as JUnit XML, in the form that CI services read: one testsuite a file, one testcase a case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from wfpd.testing.report import details
from wfpd.testing.running import Result, SuiteResult

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, even escaped."""


def render(suites: Sequence[SuiteResult], seconds: float) -> bytes:
    """The document, UTF-8.  `classname` is the file: services group by it."""
    root = ElementTree.Element("testsuites", name="wfpd test", time=_seconds(seconds))
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in suites:
        element = _suite(suite)
        root.append(element)
        for name in totals:
            totals[name] += int(element.get(name, "0"))
    for name, n in totals.items():
        root.set(name, str(n))
    ElementTree.indent(root)
    text: str = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _suite(suite: SuiteResult) -> ElementTree.Element:
    path = clean(suite.suite.path)
    outcomes = [result.outcome for result in suite.results]
    n_errors = 1 if suite.problems else 0
    element = ElementTree.Element(
        "testsuite", name=path, file=path, tests=str(len(outcomes) + n_errors), failures=str(outcomes.count("failed")),
        errors=str(n_errors), skipped=str(outcomes.count("skipped")),
        time=_seconds(sum(result.seconds for result in suite.results)),
    )  # fmt: skip
    if suite.problems:
        case = ElementTree.SubElement(element, "testcase", name="the policy loads", classname=path, file=path, line="1",
                                      time=_seconds(0))  # fmt: skip
        error = ElementTree.SubElement(case, "error", message=f"{clean(suite.suite.policy)} does not load",
                                       type="PolicyError")  # fmt: skip
        error.text = clean("\n".join(str(problem) for problem in suite.problems))
    for result in suite.results:
        element.append(_case(path, result))
    return element


def _case(path: str, result: Result) -> ElementTree.Element:
    element = ElementTree.Element(
        "testcase", name=clean(result.case.name), classname=path, file=path, line=str(result.case.location.line),
        time=_seconds(result.seconds),
    )  # fmt: skip
    if result.case.skip:
        ElementTree.SubElement(element, "skipped", message=clean(result.case.skip))
    elif result.outcome == "failed":
        lines = list(details(result))
        failure = ElementTree.SubElement(element, "failure", message=clean(lines[0]), type="unexpected")
        failure.text = clean("\n".join(lines))
    return element


def _seconds(value: float) -> str:
    return f"{value:.6f}"


def clean(text: str) -> str:
    """The text with what XML cannot hold written as an escape."""
    return _FORBIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
