"""JUnit XML: the members that CI services read, and nothing that XML cannot hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.testing.files import ran
from wfpd.testing.junit import clean, render

CASES = """\
  - {name: "a < b & 'c'", expect: permit}
  - {name: bad, dst: '198.51.100.2:23', expect: {verdict: permit, filter: web}}
  - {name: later, skip: 'not "yet"', expect: permit}
"""


def test_every_case_is_a_testcase_with_its_place(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, CASES)
    text = render([found], 0.25)
    assert text.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("skipped"), root.get("errors")) == (
        "testsuites", "3", "1", "1", "0",
    )  # fmt: skip
    (suite,) = root
    assert suite.tag == "testsuite" and suite.get("name") == found.suite.path and suite.get("tests") == "3"
    assert [(case.get("name"), case.get("line"), case.get("file")) for case in suite] == [
        (name, line, found.suite.path) for name, line in (("a < b & 'c'", "5"), ("bad", "6"), ("later", "7"))
    ]
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["skipped"]]
    assert suite[1][0].get("message") == "verdict: expected permit, came block"
    assert "ip_destination_port is 23" in (suite[1][0].text or "") and suite[2][0].get("message") == 'not "yet"'
    assert all(float(case.get("time", "x")) >= 0 for case in suite)


def test_a_policy_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, CASES, policy="version: 9\n")
    root = ElementTree.fromstring(render([found], 0))
    assert (root.get("errors"), root.get("tests")) == ("1", "1")
    assert "newer" in (root[0][0][0].text or "")


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_path_becomes_xml(text: str) -> None:
    element = ElementTree.Element("a", b=clean(text))
    element.text = clean(text)
    ElementTree.fromstring(ElementTree.tostring(element, encoding="unicode").encode())


def test_a_path_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, CASES)
    odd = dataclasses.replace(found, suite=dataclasses.replace(found.suite, path="a\udcff\x1b<"))
    assert ElementTree.fromstring(render([odd], 0))[0].get("name") == "a\\xdcff\\x1b<"
