"""The compiled callout of the tests, before it is asked; what it hears is in test_visit_native.py."""

from __future__ import annotations

from wfpd.callouts._capsule import check_capsule
from wfpd.callouts._told import Told


def test_it_has_heard_nothing_and_can_be_called() -> None:
    told = Told()
    check_capsule(told.native)
    assert told.values() == {} and told.call()["size"] == 0
