"""The search over a base and added parts: one order of arbitration, however the filters are spread."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.builders import a_filter, a_policy, slot, sublayer
from wfpd.compiler.pack import pack
from wfpd.dataplane import Added, Part, Root, Snapshot
from wfpd.model.policy import Action, Filter, FilterFlag

RANKS = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
WORDS: dict[str, Any] = {"on_error": 1, "on_malformed": 1, "on_late": 1, "flows_full": 1}


def spread(filters: list[list[Filter]]) -> list[str]:
    """Names of what is needed, where the first list is the base and each further one is a part."""
    parts = [Part(pack(a_policy(some, RANKS))) for some in filters]
    root = Root(parts[0], [])
    added = tuple(Added(part, root.add(part, [])) for part in parts[1:])
    taken = Snapshot(root, [], generation=1, added=added, **WORDS)
    return [taken.filter_name(index) for index in taken.match(slot(), {})]


def test_weights_decide_across_parts_and_the_older_filter_wins_a_tie() -> None:
    base = [a_filter("base", Action.PERMIT, weight=5, flags=FilterFlag.AUDIT)]
    one = [a_filter("heavier", Action.PERMIT, weight=6, flags=FilterFlag.AUDIT),
           a_filter("tie", Action.PERMIT, weight=5, flags=FilterFlag.AUDIT)]  # fmt: skip
    two = [a_filter("lighter", Action.PERMIT, weight=4), a_filter("behind", Action.BLOCK, weight=3),
           a_filter("above", Action.BLOCK, sublayer="high")]  # fmt: skip
    assert spread([base, one, two]) == ["above", "heavier", "base", "tie", "lighter"]


def test_an_end_in_one_part_leaves_out_what_stands_behind_it_in_another() -> None:
    base = [a_filter("b1", Action.BLOCK, weight=1), a_filter("low", Action.BLOCK, sublayer="low")]
    assert spread([base, [a_filter("first", Action.PERMIT, weight=9)]]) == ["first", "low"]


@pytest.mark.parametrize("count", [3, 40, 400])
def test_many_matches_of_all_parts_come_in_order(count: int) -> None:
    """More than insertion sorts, too."""
    rng = random.Random(count)
    filters = [a_filter(f"f{number}", Action.PERMIT, weight=rng.randrange(20), flags=FilterFlag.AUDIT,
                        sublayer=rng.choice(("high", "universal", "low"))) for number in range(count)]  # fmt: skip
    parts = [filters[start::5] for start in range(5)]
    order = {item.name: number for number, item in enumerate(item for part in parts for item in part)}
    ranks = {"high": 0, "universal": 1, "low": 2}
    # Equal weights of one part stand as in its policy, which is by age.
    wanted = sorted(filters, key=lambda item: (ranks[item.sublayer], -item.weight, order[item.name]))
    found = spread(parts)
    assert [(item.sublayer, item.weight) for item in wanted] == [
        (by_name.sublayer, by_name.weight) for by_name in (next(f for f in filters if f.name == name) for name in found)
    ]
    assert sorted(found) == sorted(order)
