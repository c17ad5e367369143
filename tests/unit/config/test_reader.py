"""Typed access to nodes."""

import pytest

from wfpd.config import reader
from wfpd.config.limits import DEFAULT
from wfpd.config.nodes import Broken, Mapping, Scalar, Sequence
from wfpd.config.report import Report, Speaker


@pytest.fixture
def speaker():
    return Speaker(Report(100), "f")


def plain(text):
    return Scalar(text, 3, 4, True)


def messages(speaker):
    return [problem.message for problem in speaker.report.errors]


def test_broken_nodes_are_passed_over_silently(speaker):
    node = Broken(1, 1)
    assert reader.scalar(speaker, node, "x") is None
    assert reader.mapping(speaker, node, "x") is None
    assert reader.sequence(speaker, node, "x") == []
    assert messages(speaker) == []


def test_the_wrong_shape_is_reported_with_what_was_there(speaker):
    reader.scalar(speaker, Sequence(1, 1), "a")
    reader.mapping(speaker, plain("x"), "b")
    reader.sequence(speaker, Mapping(1, 1), "c")
    reader.mapping(speaker, plain(""), "d")
    assert messages(speaker) == [
        "a: one value is needed, not a list",
        'b: a mapping is needed, not "x"',
        "c: a list is needed, not a mapping",
        "d: a mapping is needed, not nothing",
    ]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (plain("true"), True),
        (plain("3"), 3),
        (plain("-3"), -3),
        (plain("0x10"), 16),
        (plain("0.5"), 0.5),
        (plain("1_0"), "1_0"),
        (plain("012"), "012"),
        (plain("1e3"), 1000.0),
        (plain("1."), "1."),
        (plain(""), None),
        (plain("word"), "word"),
        (plain("nan"), "nan"),
        (Scalar("3", 1, 1, False), "3"),
    ],
)
def test_free_data_is_typed_where_it_is_plain(node, expected):
    assert reader.natural(node) == expected
    assert type(reader.natural(node)) is type(expected)


@pytest.mark.parametrize("text", ["", "a\nb", "x" * 5000, "\x7f"])
def test_texts_are_bounded_and_without_control_characters(speaker, text):
    assert reader.text(speaker, plain(text), "x", DEFAULT) is None
    assert len(messages(speaker)) == 1


def test_a_word_of_a_choice_gets_the_nearest_or_all(speaker):
    assert reader.choice(speaker, plain("permt"), "x", ("permit", "block")) is None
    assert reader.choice(speaker, plain("zzz"), "x", ("permit", "block")) is None
    assert [problem.hint for problem in speaker.report.errors] == ['did you mean "permit"?', "one of: permit, block"]
