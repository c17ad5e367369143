"""The compiled callout that counts, called by the visit itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import a_filter, a_policy, callout
from wfpd.callouts.counting import Counting
from wfpd.compiler.pack import pack
from wfpd.dataplane._replay import Replayer
from wfpd.dataplane._table import Snapshot
from wfpd.model.policy import Action

PACKET = bytes.fromhex("4500001c00010000401100000a0000010a000002000900350008ffff")


def decide(counting: Counting, action: Action = Action.CALLOUT_UNKNOWN, on_error: int = 2) -> dict[str, Any]:
    policy = a_policy([a_filter("one", action, callout="c")], callouts=[callout("c")])
    snapshot = Snapshot(
        pack(policy), [counting], generation=1, on_error=on_error, on_malformed=1, on_late=1, flows_full=1
    )
    result: dict[str, Any] = Replayer(snapshot).visit(PACKET, "forward", 1)
    return result


def test_it_counts_what_it_is_asked_about_and_continues() -> None:
    counting = Counting()
    result = decide(counting)
    assert (counting.packets, counting.octets) == (1, len(PACKET))
    assert (result["verdict"], result["reason"]) == ("permit", "no_match")


@pytest.mark.parametrize("answer", ["permit", "block"])
def test_it_gives_the_answer_it_was_made_for(answer: str) -> None:
    result = decide(Counting(answer=answer, clear_right=True))
    assert (result["verdict"], result["reason"]) == (answer, "callout")
    assert [row[1:3] for row in result["rows"]] == [(answer, "clear")]


@pytest.mark.parametrize(("on_error", "verdict"), [(1, "permit"), (2, "block")])
def test_a_failure_is_decided_by_on_error(on_error: int, verdict: str) -> None:
    result = decide(Counting(answer="fail"), on_error=on_error)
    assert (result["verdict"], result["reason"]) == (verdict, "error")


def test_an_inspection_callout_decides_nothing_whatever_it_says() -> None:
    counting = Counting(answer="block")
    assert decide(counting, Action.CALLOUT_INSPECTION)["verdict"] == "permit"
    assert counting.packets == 1


def test_an_answer_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="none of"):
        Counting(answer="perhaps")
