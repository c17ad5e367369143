"""Problems are collected, bounded, sorted and escaped."""

import pytest

from wfpd.config.report import Report, TooManyProblems, shown
from wfpd.errors import Location, PolicyError


def test_errors_are_sorted_by_reading_order_and_line():
    report = Report(10)
    report.add_file("z")
    report.add_file("a")
    for place in (Location("a", 1), Location("z", 9), Location("z", 2)):
        report.error("x", place)
    with pytest.raises(PolicyError) as caught:
        report.raise_errors()
    assert [str(problem.location) for problem in caught.value.problems] == ["z:2", "z:9", "a:1"]


def test_no_errors_raise_nothing():
    Report(10).raise_errors()


def test_the_limit_ends_the_reading():
    report = Report(2)
    report.error("x", Location())
    with pytest.raises(TooManyProblems):
        report.error("y", Location())


def test_hints_are_bounded_in_number_and_length():
    report = Report(10)
    assert report.nearest("blokc", ["block"]) == 'did you mean "block"?'
    assert report.nearest("x" * 100, ["x" * 99]) == ""
    for _ in range(300):
        report.nearest("a", ["b"])
    assert report.nearest("blokc", ["block"]) == ""


def test_text_is_escaped_and_cut():
    assert shown('\x1b[31m\n"é') == '"\\x1b[31m\\n\\"\\xe9"'
    assert shown("x" * 100) == '"' + "x" * 60 + '..."'
