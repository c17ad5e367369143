"""A staged comparison is what replaying both policies says, packet by packet."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import snapshot
from tests.property.test_explain_replay import hosts, packets
from wfpd.capture import CapturedPacket
from wfpd.dataplane import Flows, Stage
from wfpd.explaining import KINDS, answers_of
from wfpd.replay import Replay

Key = tuple[Any, ...]


@settings(max_examples=300, deadline=None)
@given(hosts(), hosts(), st.lists(packets(), min_size=1, max_size=12), st.sampled_from(KINDS))
def test_the_rows_and_totals_are_those_of_both_replays(
    active: tuple[Any, str], staged: tuple[Any, str], sent: list[CapturedPacket], kind: str
) -> None:
    hook = staged[1]
    replays = []
    for policy in (active[0], staged[0]):
        tables = snapshot(policy)
        said = answers_of(tables, {item.name: kind for item in policy.callouts})
        replays.append(Replay(policy, hook=hook, snapshot=tables, answers=said, live=True))
    answers = dict.fromkeys(range(len(staged[0].callouts)), kind)
    one = Stage(snapshot(staged[0]), Flows(1024), workers=1, answers=answers)
    expected: Counter[Key] = Counter()
    for number, packet in enumerate(sent, 1):
        visits = [replay.replayer.visit(packet.data, hook, number, original=packet.original_length,
                                        answers=replay._answers) for replay in replays]  # fmt: skip
        ran = visits[0]
        one.put(packet.data, hook, number, verdict=ran["verdict"], filter=ran["filter"], slot=ran["slot"],
                reason=ran["reason"], original=packet.original_length)  # fmt: skip
        if ran["verdict"] != visits[1]["verdict"]:
            expected[(visits[1]["verdict"], *deciding(ran), *deciding(visits[1]))] += 1
    assert one.turn() == len(sent)
    rows = list(map(one.difference, range(one.n_differences)))
    found = {
        (row["verdict"], row["active"], row["active_slot"], row["active_reason"], row["staged"], row["staged_slot"],
         row["staged_reason"]): row["packets"] for row in rows
    }  # fmt: skip
    assert found == expected
    totals = one.totals()
    assert totals["compared"] == len(sent) == totals["same"] + sum(expected.values())
    assert totals["not_decided"] == totals["unparsable"] == 0


def deciding(visit: dict[str, Any]) -> Key:
    return visit["filter"], visit["slot"], None if visit["filter"] is not None else visit["reason"]
