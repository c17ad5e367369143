"""The search itself: order, early ends, merging of leaves, and its doors."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from array import array
from pathlib import Path

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when, within
from wfpd.dataplane import _classify
from wfpd.dataplane._probe import classify_many, table_stats
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag

RANKS = (sublayer("high", 0x9000), sublayer("low", 0x1000))


def found(filters, values, **members):
    taken = snapshot(a_policy(filters, RANKS, **members))
    return [taken.filter_name(index) for index in taken.match(slot(), values)]


def test_a_layer_without_filters_matches_nothing():
    taken = snapshot(a_policy([]))
    assert taken.match(slot(), {}) == []
    assert table_stats(taken, slot()) == {}


def test_an_ending_filter_hides_only_its_own_sublayer():
    filters = [
        a_filter("a", Action.PERMIT, weight=2, sublayer="high"),
        a_filter("b", Action.BLOCK, weight=1, sublayer="high"),
        a_filter("c", Action.BLOCK, sublayer="low"),
    ]
    assert found(filters, {}) == ["a", "c"]


def test_audit_and_callouts_hide_nothing():
    filters = [
        a_filter("audit", Action.BLOCK, weight=4, flags=FilterFlag.AUDIT),
        a_filter("inspect", Action.CALLOUT_INSPECTION, weight=3, callout="c"),
        a_filter("unknown", Action.CALLOUT_UNKNOWN, weight=2, callout="c"),
        a_filter("ask", Action.CALLOUT_TERMINATING, weight=1, callout="c"),
        a_filter("permit", Action.PERMIT),
    ]
    assert found(filters, {}, callouts=[callout("c")]) == ["audit", "inspect", "unknown", "ask", "permit"]


def test_a_filter_whose_residual_fails_hides_nothing():
    text = Condition(FIELD["interface_name"].id, (Term((Atom(Op.TEXT_EQUAL, text=b"eth0"),)),))
    filters = [a_filter("named", Action.BLOCK, text, weight=1), a_filter("all", Action.PERMIT)]
    assert found(filters, {"interface_name": b"eth0"}) == ["named"]
    assert found(filters, {"interface_name": b"eth1"}) == ["all"]
    assert found(filters, {}) == ["all"]


def test_a_match_all_filter_does_not_hide_others_when_its_field_is_absent():
    wide = when("ip_source_address", within(0, 2**32 - 1))
    filters = [a_filter("addressed", Action.BLOCK, wide, weight=1), a_filter("all", Action.PERMIT)]
    assert found(filters, {"ip_source_address": 0}) == ["addressed"]
    assert found(filters, {}) == ["all"]


def test_matches_of_many_leaves_come_in_order_and_all_of_them():
    fields = ("ip_source_port", "ip_destination_port", "ip_protocol")
    filters = [
        a_filter(f"f{index}", Action.CALLOUT_INSPECTION, when(fields[index % 3], within(index % 7, 200)), callout="c")
        for index in range(3000)
    ]
    taken = snapshot(a_policy(filters, callouts=[callout("c")]))
    values = {"ip_source_port": 3, "ip_destination_port": 100, "ip_protocol": 5}
    answer = taken.match(slot(), values)
    assert answer == taken.matches_slow(slot(), values)
    assert len(answer) > 2000


def test_more_sublayers_than_are_tracked_all_end_by_themselves():
    ranks = [sublayer(f"s{index}", 0x9000 - index) for index in range(40)]
    filters = [
        a_filter(f"f{index}", Action.BLOCK, when("ip_source_port", within(index % 50, 60000)),
                 sublayer=f"s{index % 40}", weight=index)
        for index in range(2000)
    ]  # fmt: skip
    taken = snapshot(a_policy(filters, ranks))
    answer = taken.match(slot(), {"ip_source_port": 500})
    assert len(answer) == 40
    assert answer == sorted(answer)


def test_every_port_list_finds_its_own_filter():
    filters = [
        a_filter(f"f{index}", Action.BLOCK, when("ip_source_port", *(equal(index + 100 * k) for k in range(30))))
        for index in range(90)
    ]
    taken = snapshot(a_policy(filters))
    ids = (FIELD["ip_source_port"].id,)
    rows = memoryview(array("Q", [word for port in range(3000) for word in (0, port)])).cast("B").cast("Q", (3000, 2))
    answers = classify_many(taken, slot(), ids, rows)
    names = [[taken.filter_name(index) for index in answer] for answer in answers]
    assert names == [[f"f{port % 100}"] if port % 100 < 90 else [] for port in range(3000)]


# --- the machine code --------------------------------------------------------------------------


def functions(path: str) -> dict[str, str]:
    """Disassembled functions by name."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
    ).stdout
    return {match[1]: match[2] for match in re.finditer(r"^[0-9a-f]+ <([^>]+)>:\n(.*?)(?:\n\n|\Z)", text, re.M | re.S)}


@pytest.mark.skipif(
    platform.machine() != "x86_64" or os.environ.get("WFPD_BUILD", "release") != "release",
    reason="the two forms of a leaf's search are told apart in the release build for x86-64 only",
)
def test_wide_vectors_are_used_in_the_function_for_them_and_nowhere_else():
    """One build has to run on any x86-64: the choice is made by the CPU that loads it."""
    found = functions(_classify.__file__)
    wide = {name for name, body in found.items() if "%ymm" in body}
    assert wide == {"leaf_next_avx2", "leaf_masks_avx2"}
    for name in ("leaf_next", "leaf_masks"):
        assert "vpcmpgtd" in found[f"{name}_avx2"]
        assert "pcmpgtd" in found[f"{name}_plain"]
    assert "leaf_level" not in wide


def test_both_forms_of_a_leafs_search_give_the_same_lanes(tmp_path):
    """`_leaf.h` compiled by itself: random leaves of up to five blocks, both forms against the definition."""
    program = tmp_path / "leaf.c"
    program.write_text(LEAF_PROGRAM)
    folder = Path(__file__).resolve().parents[3] / "ext" / "wfpd" / "dataplane"
    subprocess.run(["cc", "-O2", "-I", folder, "-o", tmp_path / "leaf", program], check=True)
    assert subprocess.run([tmp_path / "leaf"], check=False).returncode == 0


LEAF_PROGRAM = """
#include <stdlib.h>
#include <string.h>
#include "_leaf.h"

static uint32_t draw(void) {
    static const uint32_t few[] = {0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF};
    return rand() % 2 ? few[rand() % 7] : (uint32_t)rand() * 2654435761u;
}

int main(void) {
    static uint32_t memory[8 + 40 * 16 * 7 + 8] __attribute__((aligned(64)));
    for (int turn = 0; turn < 20000; turn++) {
        uint32_t n = 1 + rand() % 40, n_dims = rand() % 6, blocks = (n + 7) / 8, words = 16 * (n_dims + 1);
        uint32_t lo[40][6], hi[40][6], x[24];
        memset(memory, 0, sizeof memory);
        memory[0] = n;
        memory[1] = n_dims;
        for (uint32_t d = 0; d < n_dims; d++) ((uint8_t *)(memory + 2))[d] = (uint8_t)(d * 3);
        for (uint32_t d = 0; d < 24; d++) x[d] = draw();
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t d = 0; d < n_dims; d++) {
                uint32_t a = draw(), b = draw();
                lo[i][d] = a < b ? a : b;
                hi[i][d] = rand() % 3 ? (a < b ? b : a) : lo[i][d];
                uint32_t *pair = memory + LEAF_HEADER + i / 8 * words + 16 * d;
                pair[i % 8] = lo[i][d] + LEAF_BIAS;
                pair[8 + i % 8] = hi[i][d] - lo[i][d] + LEAF_BIAS;
            }
        for (int level = 0; level <= leaf_level(); level++) {
            uint64_t wanted = 0;
            for (uint32_t i = 0; i < n; i++) {
                int inside = 1;
                for (uint32_t d = 0; d < n_dims; d++) inside &= lo[i][d] <= x[3 * d] && x[3 * d] <= hi[i][d];
                wanted |= (uint64_t)inside << i;
            }
            for (uint32_t b = 0; b < blocks; b++) {
                for (uint32_t until = b + 1; until <= blocks; until++) {
                    uint32_t at = b, first = b, count = until - b;
                    uint32_t lanes = leaf_next(memory, x, &at, until, level);
                    uint64_t mask = count < 8 ? ~(~0ull << 8 * count) : ~0ull;
                    while (first < until && !(wanted >> 8 * first & 0xFF)) first++;
                    if (at != first || lanes != (first < until ? wanted >> 8 * first & 0xFF : 0)) return 1;
                    if (leaf_masks(memory, x, b, count, level) != (wanted >> 8 * b & mask)) return 2;
                }
            }
        }
    }
    return 0;
}
"""
