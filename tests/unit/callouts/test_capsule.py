"""Capsules that are no compiled callout of this version are refused, with what to do."""

from __future__ import annotations

import pytest

from tests.builders import a_filter, a_policy, callout
from wfpd.callouts._capsule import Broken, check_capsule
from wfpd.callouts.counting import Counting
from wfpd.callouts.registry import load_callouts
from wfpd.compiler.pack import pack
from wfpd.dataplane._table import Snapshot
from wfpd.errors import PolicyError
from wfpd.model.policy import Action


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Broken(abi=2), "abi 2 .* this wfpd has abi 1"),
        (Broken(size=8), "struct of 8 bytes"),
        (Broken(), "has no classify"),
    ],
)
def test_what_cannot_be_called_is_refused(made: Broken, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_capsule(made.native)


def test_what_is_no_capsule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no capsule named wfpd\.callout\.1"):
        check_capsule(object())


def test_one_of_this_version_is_taken() -> None:
    made = Counting()
    check_capsule(made.native)


def test_a_wrong_abi_is_an_error_of_the_policy() -> None:
    with pytest.raises(PolicyError, match=r"callout is compiled for abi 7 .*: compile it against this wfpd"):
        load_callouts([callout("c", "wfpd.callouts._capsule:Broken", abi=7)])


def test_a_wrong_abi_never_gets_into_the_tables() -> None:
    policy = a_policy([a_filter("one", Action.CALLOUT_UNKNOWN, callout="c")], callouts=[callout("c")])
    with pytest.raises(ValueError, match="abi 7"):
        Snapshot(pack(policy), [Broken(abi=7)], generation=1, on_error=1, on_malformed=1, on_late=1, flows_full=1)
