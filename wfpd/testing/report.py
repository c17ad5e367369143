"""What a run of tests has found: a document for programs, lines for a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wfpd.observe import explain_text
from wfpd.testing.coverage import Coverage
from wfpd.testing.running import Failure, Result, SuiteResult

FORMAT = 1
"""Version of the document; members are only added."""
MOST_SHOWN = 160
"""Characters of one value that are shown to a person."""
_WORDS = {"passed": "ok", "failed": "FAIL", "skipped": "skip"}
_COLORS = {"passed": "\x1b[32m", "failed": "\x1b[31;1m", "skipped": "\x1b[2m"}
_PLAIN = "\x1b[0m"


def counts(suites: Sequence[SuiteResult]) -> dict[str, int]:
    """Cases by outcome; `broken`: files whose policy does not load."""
    found = {"passed": 0, "failed": 0, "skipped": 0}
    for result in (result for suite in suites for result in suite.results):
        found[result.outcome] += 1
    found["deselected"] = sum(suite.n_deselected for suite in suites)
    found["broken"] = sum(1 for suite in suites if suite.problems)
    return found


def is_passed(suites: Sequence[SuiteResult]) -> bool:
    """Whether no case failed and every policy loads."""
    found = counts(suites)
    return not found["failed"] and not found["broken"]


# --- for programs


def document(suites: Sequence[SuiteResult], seconds: float, coverage: Mapping[str, Coverage]) -> dict[str, Any]:
    """The whole run; report_schema.json publishes it."""
    found: dict[str, Any] = {
        "format": FORMAT, "ok": is_passed(suites), **counts(suites), "seconds": round(seconds, 6),
        "files": [_file(suite) for suite in suites],
    }  # fmt: skip
    if coverage:
        found["coverage"] = [{"policy": path, **item.document()} for path, item in coverage.items()]
    return found


def _file(suite: SuiteResult) -> dict[str, Any]:
    return {"file": suite.suite.path, "policy": suite.suite.policy, "errors": [str(item) for item in suite.problems],
            "cases": [_case(result) for result in suite.results]}  # fmt: skip


def _case(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": result.case.name, "line": result.case.location.line, "outcome": result.outcome,
        "packets": result.n_packets, "seconds": round(result.seconds, 6),
    }  # fmt: skip
    if result.case.skip:
        found["skip"] = result.case.skip
    if result.outcome == "failed":
        found["failures"] = [_failure(item) for item in result.failures]
        found["n_failures"] = result.n_failures
        found["error"] = result.error or None
        found["missing"] = result.missing
        found["explanation"] = result.explanation
    return found


def _failure(failure: Failure) -> dict[str, Any]:
    return {"packet": failure.packet, "differences": [dataclasses.asdict(item) for item in failure.differences],
            "decision": failure.line}  # fmt: skip


# --- for a person


def render_case(path: str, result: Result, color: bool = False) -> str:
    """One line, and for a case that failed what was expected, what came, and why."""
    lines = [head(path, result, color)]
    if result.outcome == "failed":
        lines += [f"    {line}".rstrip() for line in details(result, color)]
        lines.append("")
    return "\n".join(lines) + "\n"


def head(path: str, result: Result, color: bool = False) -> str:
    """The case's line."""
    word = f"{_WORDS[result.outcome]:<4}"
    if color:
        word = f"{_COLORS[result.outcome]}{word}{_PLAIN}"
    reason = f" ({result.case.skip})" if result.case.skip else ""
    return f"{word}  {printable(path)}:{result.case.location.line}  {result.case.name}{reason}"


def details(result: Result, color: bool = False) -> Iterator[str]:
    """What is wrong with a case that failed."""
    if result.error:
        yield result.error
    for failure in result.failures:
        many = result.n_packets > 1 and failure.packet is not None
        for item in failure.differences:
            place = f"packet {failure.packet}: " if many else ""
            yield f"{place}{item.member}: expected {say(item.expected)}, came {say(item.came)}"
    if result.n_failures > len(result.failures):
        yield f"and {result.n_failures - len(result.failures)} more"
    yield from result.missing
    if result.explanation is not None:
        yield ""
        yield from explain_text.render(result.explanation, color).splitlines()


def printable(text: str) -> str:
    """The text on one line, safe to print: a file may have any name."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def say(value: Any) -> str:
    """A member's value."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return f"[{', '.join(value)}]"
    text = str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def render_problems(suite: SuiteResult) -> str:
    """Why the policy of a file does not load."""
    lines = [f"FAIL  {printable(suite.suite.path)}  its policy does not load"]
    lines += [f"    {printable(line)}" for problem in suite.problems for line in str(problem).split("\n")]
    return "\n".join(lines) + "\n"


def summary(suites: Sequence[SuiteResult], seconds: float) -> str:
    """The last line."""
    found = counts(suites)
    n = found["passed"] + found["failed"] + found["skipped"]
    packets = sum(result.n_packets for suite in suites for result in suite.results)
    parts = [f"{found['passed']} passed", f"{found['failed']} failed", f"{found['skipped']} skipped"]
    parts += [f"{found['deselected']} not selected"] if found["deselected"] else []
    parts += [f"{found['broken']} policies do not load"] if found["broken"] else []
    return (f"{_counted(n, 'case')} in {_counted(len(suites), 'file')}: {', '.join(parts)}; "
            f"{_counted(packets, 'packet')}, {seconds:.3f} s")  # fmt: skip


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def render_coverage(coverage: Mapping[str, Coverage]) -> str:
    """Filters that no case has hit, by policy and layer."""
    lines = []
    for path, item in coverage.items():
        told = item.document()
        lines.append(f"coverage of {printable(path)}: {told['hit']} of {_counted(told['filters'], 'filter')} hit")
        for layer in told["layers"]:
            missed = f", not {', '.join(layer['missed'])}" if layer["missed"] else ""
            lines.append(f"  {layer['layer']}: {layer['hit']} of {layer['filters']}{missed}")
    return "".join(f"{line}\n" for line in lines)
