"""The forest's bounds: copies, depth, leaves, and what is left out."""

from __future__ import annotations

import itertools
from array import array

import pytest

from bench import hostile_rules, workloads
from tests.builders import a_filter, a_policy, equal, slot, snapshot, sublayer, when, within
from wfpd.dataplane._probe import classify_many, table_stats
from wfpd.model.conditions import Atom, Op
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag


def test_eight_filters_are_one_leaf():
    filters = [a_filter(f"f{port}", Action.BLOCK, when("ip_source_port", equal(port))) for port in range(8)]
    taken = table_stats(snapshot(a_policy(filters)), slot())
    assert (taken["nodes"], taken["leaves"], taken["largest_leaf"]) == (0, 1, 8)


def test_filters_behind_a_match_all_are_left_out_but_kept_apart():
    filters = [a_filter(f"f{port}", Action.BLOCK, when("ip_source_port", equal(port))) for port in range(40)]
    filters.insert(10, a_filter("all", Action.PERMIT))
    taken = table_stats(snapshot(a_policy(filters)), slot())
    assert (taken["copies"], taken["hidden"]) == (11, 30)


def test_filters_that_nothing_separates_are_one_large_leaf():
    filters = [a_filter(f"f{number}", Action.BLOCK, when("ip_source_port", equal(9))) for number in range(300)]
    taken = table_stats(snapshot(a_policy(filters)), slot())
    assert taken["largest_leaf"] <= 300
    assert taken["depth"] <= 40


@pytest.mark.parametrize("sublayers", [1, 8])
@pytest.mark.parametrize("shape", workloads.SHAPES)
def test_copies_and_depth_are_bounded(shape: str, sublayers: int) -> None:
    rules = workloads.rules(shape, 3000)
    taken = table_stats(snapshot(workloads.policy(rules, sublayers=sublayers)), slot())
    assert taken["copies"] <= 1.5 * taken["boxes"]
    assert taken["depth"] <= 40


@pytest.mark.parametrize("kind", hostile_rules.KINDS)
def test_hostile_sets_keep_to_the_bounds(kind: str) -> None:
    rules = hostile_rules.rules(kind, 4000)
    taken = table_stats(snapshot(workloads.policy(rules)), slot())
    assert taken["copies"] <= 1.5 * taken["boxes"]
    assert taken["depth"] <= 40
    assert taken["bytes"] <= 300 * 4000


def test_filters_that_differ_in_a_residual_test_only_are_one_leaf_and_all_answer() -> None:
    filters = [
        a_filter(f"f{number}", Action.BLOCK, when("flags", Atom(Op.ALL_SET, number)), flags=FilterFlag.AUDIT)
        for number in range(1, 3000)
    ]
    taken = snapshot(a_policy(filters))
    sizes = table_stats(taken, slot())
    assert (sizes["leaves"], sizes["largest_leaf"], sizes["copies"]) == (1, 2999, 2999)
    assert taken.match(slot(), {"flags": 0b101}) == [0, 3, 4]
    assert taken.match(slot(), {}) == []


def test_products_of_lists_make_no_more_than_sixteen_boxes_a_filter() -> None:
    names = ("ip_source_port", "ip_destination_port", "ip_source_address", "ip_protocol")
    filters = [
        a_filter(f"f{number}", Action.BLOCK, *(when(name, *(equal(number % 7 + 20 * k) for k in range(10)))
                                               for name in names), flags=FilterFlag.AUDIT)
        for number in range(200)
    ]  # fmt: skip
    taken = snapshot(a_policy(filters))
    assert table_stats(taken, slot())["boxes"] <= 16 * 200
    for first, second in ((0, 40), (3, 63), (5, 5), (6, 7)):
        values = dict(zip(names, (first, second, first, second), strict=True))
        assert taken.match(slot(), values) == taken.matches_slow(slot(), values)


@pytest.mark.parametrize("audited", [False, True])
@pytest.mark.parametrize("ranks", [1, 3, 4, 5])
def test_a_forks_second_tree_is_left_out_only_where_nothing_in_it_is_needed(ranks: int, audited: bool) -> None:
    """Three fields, each filter narrow in one of them: forks.  Which of them is the more important alternates."""
    names = ("ip_source_port", "ip_destination_port", "ip_protocol")
    filters = [
        a_filter(f"f{number}", Action.BLOCK, when(names[number // 100 % 3], within(number % 97, number % 97 + 2)),
                 sublayer=f"s{number % ranks}", weight=1000 - number,
                 flags=FilterFlag.AUDIT if audited and number % 4 else FilterFlag(0))
        for number in range(900)
    ]  # fmt: skip
    taken = snapshot(a_policy(filters, [sublayer(f"s{rank}", 0x9000 - rank) for rank in range(ranks)]))
    assert table_stats(taken, slot())["forks"] >= 2
    for first, second, third in itertools.product((0, 3, 50, 98, 500), repeat=3):
        values = dict(zip(names, (first, second, third % 256), strict=True))
        wanted, ended = [], set()
        for index in taken.matches_slow(slot(), values):
            info = taken.filter_info(index)
            if info["sublayer"] not in ended:
                wanted.append(index)
                if not info["flags"] & FilterFlag.AUDIT:
                    ended.add(info["sublayer"])
        assert taken.match(slot(), values) == wanted


@pytest.mark.parametrize("period", [2, 3, 5, 7])
def test_copies_are_bounded_where_filters_have_the_period_of_a_plain_sample(period: int) -> None:
    """Every `period`-th filter, all that a look at each `period`-th sees, is one port; the others are wide."""
    count = 1024 * period - 5
    spans = [
        (number, number) if number % period == 0 else (number % 900, 65535 - number % 700) for number in range(count)
    ]
    filters = [
        a_filter(f"f{number}", Action.BLOCK, when("ip_source_port", within(*span)), flags=FilterFlag.AUDIT)
        for number, span in enumerate(spans)
    ]  # fmt: skip
    taken = table_stats(snapshot(a_policy(filters)), slot())
    assert taken["copies"] <= 1.5 * count


def test_a_box_over_the_edge_of_a_cut_goes_only_to_the_parts_at_that_edge():
    """A choice looks at every third of these boxes, so ranges in between lie over its window's edges."""
    low, count = 20000, 3000
    spans = [(low + number, low + number) for number in range(count)]
    for number in range(40):
        spans[3 * number + 1] = (0, low + number)
        spans[3 * number + 2] = (low + count - 40 + number, 65535)
    filters = [
        a_filter(f"f{number}", Action.BLOCK, when("ip_source_port", within(*span)), flags=FilterFlag.AUDIT)
        for number, span in enumerate(spans)
    ]
    taken = snapshot(a_policy(filters))
    sizes = table_stats(taken, slot())
    assert sizes["nodes"] <= 100
    assert sizes["copies"] <= 1.1 * count
    ports = [0, low - 1, *range(low, low + 80), *range(low + count - 80, low + count), low + count, 65535]
    rows = memoryview(array("Q", [word for port in ports for word in (0, port)])).cast("B").cast("Q", (len(ports), 2))
    answers = classify_many(taken, slot(), [FIELD["ip_source_port"].id], rows)
    for port, answer in zip(ports, answers, strict=True):
        assert answer == [number for number, span in enumerate(spans) if span[0] <= port <= span[1]]


@pytest.mark.parametrize("sublayers", [1, 4])
def test_nodes_of_more_boxes_than_are_sampled_agree_with_the_linear_search(sublayers: int) -> None:
    rules = workloads.rules("access", 2500)
    taken = snapshot(workloads.policy(rules, sublayers=sublayers, audit=True))
    packets = workloads.packets(rules, 60)
    answers = classify_many(taken, slot(), workloads.FIELD_IDS, workloads.table(packets))
    for packet, answer in zip(packets, answers, strict=True):
        assert answer == taken.matches_slow(slot(), dict(zip(workloads.FIELDS, packet, strict=True)))
