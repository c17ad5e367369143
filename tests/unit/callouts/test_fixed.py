"""The callout that always answers the same."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from wfpd.callouts.fixed import Fixed


@pytest.mark.parametrize(("answer", "method"), [("permit", "permit"), ("block", "block"), ("continue", "continue_")])
def test_it_gives_its_answer(answer: str, method: str) -> None:
    c = Mock()
    Fixed(answer, clear_right=True).classify(c)
    getattr(c, method).assert_called_once_with(clear_right=True)


def test_none_does_not_answer_and_raise_fails() -> None:
    c = Mock()
    Fixed("none").classify(c)
    assert c.method_calls == []
    with pytest.raises(RuntimeError):
        Fixed("raise").classify(c)


def test_options_may_be_text_as_a_file_spells_them() -> None:
    fixed = Fixed("sleep", clear_right="false", seconds="0.001")
    fixed.classify(Mock())
    assert fixed.clear_right is False and fixed.seconds == 0.001
    with pytest.raises(ValueError, match="none of"):
        Fixed("perhaps")
