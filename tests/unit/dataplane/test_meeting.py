"""The first look of an enumeration misses nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.oracle.matching import condition_holds, filter_holds
from wfpd.compiler.pack import pack
from wfpd.control.tables import Tables
from wfpd.dataplane import meeting
from wfpd.model.conditions import Condition
from wfpd.model.policy import Action, Policy, Word, default_key

SLOT = builders.slot()
WORDS = dict.fromkeys(("on_error", "on_malformed", "on_late", "flows_full"), int(Word.PERMIT))


def template(conditions: list[Condition]) -> Policy:
    return builders.a_policy([builders.a_filter("t", Action.PERMIT, *conditions)], sets=builders.value_sets())


@settings(max_examples=200, deadline=None)
@given(builders.policies(at=SLOT), st.data())
def test_whoever_matches_a_packet_that_the_template_matches_is_marked(policy: Policy, data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.sampled_from(builders.FIELDS_DRAWN), max_size=2, unique=True))
    asked = template([data.draw(builders.conditions(field, 4)) for field in fields])
    values: dict[str, Any] = data.draw(builders.field_values(4))
    if not all(condition_holds(one, asked, SLOT, values) for one in asked.filters[0].conditions):
        return
    snapshot = builders.snapshot(policy)
    marks = meeting(snapshot, pack(asked), SLOT)
    held = {item.name for item in policy.filters if filter_holds(item, policy, values)}
    marked = {snapshot.filter_name(index) for index in range(snapshot.n_filters) if marks[index]}
    assert held <= marked


def test_ranges_that_do_not_meet_are_told_apart_also_beside_the_base() -> None:
    def at(name: str, low: int, high: int) -> Any:
        return builders.a_filter(name, Action.BLOCK, builders.when("ip_source_port", builders.within(low, high)))

    tables = Tables(lambda snapshot: None, background=False)
    policy = builders.a_policy([at("low", 1, 10), at("high", 100, 200)])
    tables.replace(pack(policy), [], **WORDS)
    more = Policy(filters=(at("more", 5, 6), at("far", 9000, 9001)), sublayers=policy.sublayers)
    snapshot = tables.change(pack(more))
    asked = pack(template([builders.when("ip_source_port", builders.within(4, 90))]))
    marks = meeting(snapshot, asked, SLOT)
    names = {name for name in ("low", "high", "more", "far")
             if marks[snapshot.find(default_key("file", "filter", name).bytes) or 0]}  # fmt: skip
    assert names == {"low", "more"}
    assert not any(meeting(snapshot, pack(template([Condition(0, ())])), SLOT))
