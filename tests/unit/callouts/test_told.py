"""The compiled callouts of the tests before they are asked; what they hear is in test_visit_native.py and beside it."""

from __future__ import annotations

import pytest

from wfpd.callouts._capsule import check_capsule
from wfpd.callouts._told import Chooses, Told


def test_it_has_heard_nothing_and_can_be_called() -> None:
    told = Told()
    check_capsule(told.native)
    assert told.values() == {} and told.call()["size"] == 0


def test_one_that_chooses_has_chosen_nothing_and_chooses_of_ten_answers() -> None:
    chooses = Chooses(without=9)
    check_capsule(chooses.native)
    assert [chooses.chosen(kind) for kind in range(10)] == [0] * 10
    with pytest.raises(ValueError, match="0 to 9"):
        chooses.chosen(10)
    with pytest.raises(ValueError, match="0 to 9"):
        Chooses(without=10)
