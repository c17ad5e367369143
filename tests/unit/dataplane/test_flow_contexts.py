"""Values kept with flows: one a flow, layer and callout, until the flow or the callout goes."""

from __future__ import annotations

import gc
import pathlib
import sys
import threading
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP

from tests.oracle.contexts import PlainContexts
from tests.registering import Decided
from wfpd.callouts._told import Told
from wfpd.dataplane._flow_contexts import FlowContexts
from wfpd.dataplane._replay import Replayer
from wfpd.model.layers import slot_name

POLICY = """version: 1
callouts: [{name: c, use: "m:C"}]
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit}
  - {name: new, layer: ale_flow_established, action: {callout: c}}
"""


class Item:
    """A registration."""

    def __init__(self, number: int, fails: bool = False) -> None:
        self.number, self.name, self.told, self.fails = number, f"c{number}", [], fails

    told: list[tuple[int, str, object]]

    def flow_delete(self, f: Any) -> None:
        self.told.append((f.flow_id, f.layer, f.context))
        if self.fails:
            raise ValueError("no")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "remove", "end_flow", "retire", "drain"]),
        st.sampled_from([1, 9, 128 * 9 + 1, 1 << 50 | 1]), st.integers(0, 1), st.integers(1, 3),
    ), max_size=40,
)  # fmt: skip


@given(STEPS)
def test_contexts_are_those_of_a_plain_dict(steps: list[tuple[str, int, int, int]]) -> None:
    fast, plain, items = FlowContexts(4096), PlainContexts(), {n: Item(n) for n in (1, 2, 3)}
    expected: dict[int, list[Any]] = {1: [], 2: [], 3: []}
    for place, (step, flow, slot, callout) in enumerate(steps):
        value = (callout, place)
        if step == "add":
            assert fast.add(flow, slot, items[callout], value) == plain.add(flow, slot, callout, value)
        elif step == "remove":
            assert fast.remove(flow, slot, callout) == plain.remove(flow, slot, callout)
        elif step == "end_flow":
            fast.end_flow(flow)
            plain.end_flow(flow)
        elif step == "retire":
            fast.retire([items[n] for n in items if n != callout])
            plain.retire({n for n in items if n != callout})
        else:
            fast.drain()
        assert len(fast) == len(plain.kept)
        assert fast.count_of(callout) == sum(key[2] == callout for key in plain.kept)
        assert fast.find(flow, slot, callout) == plain.kept.get((flow, slot, callout))
    fast.drain()
    for ended in plain.drain():
        expected[ended[2][0]].append((ended[0], slot_name(ended[1]), ended[2]))  # type: ignore[index]
    assert {n: sorted(item.told) for n, item in items.items()} == {n: sorted(told) for n, told in expected.items()}


def test_a_full_table_refuses_and_counts_and_has_room_again_after_an_end() -> None:
    contexts, item = FlowContexts(16), Item(1)
    assert contexts.add(1, 0, item, "a") == "ok"
    assert contexts.add(1, 1, item, "b") == "full"
    assert contexts.refused == 1
    assert contexts.remove(1, 0, 1)
    assert contexts.add(1, 1, item, "b") == "full", "its flow_delete has not been called yet"
    assert contexts.drain() == 1
    assert contexts.add(1, 1, item, "b") == "ok"


def test_a_flow_delete_that_raises_is_counted_and_the_others_are_called() -> None:
    contexts, item, said = FlowContexts(), Item(1, fails=True), []
    contexts.on_error = lambda name, error: said.append((name, str(error)))
    for flow in (1, 3, 5):
        contexts.add(flow, 0, item, flow)
    contexts.end_all()
    assert contexts.drain(2) == 2 and contexts.drain() == 1
    assert (len(item.told), contexts.errors, said[0]) == (3, {"c1": 3}, ("c1", "no"))


def test_a_value_is_let_go_after_its_flow_delete_or_with_the_table() -> None:
    class Value:
        pass

    contexts, item = FlowContexts(), Item(1)
    first, second = Value(), Value()
    gone = [weakref.ref(first), weakref.ref(second)]
    contexts.add(1, 0, item, first)
    contexts.add(3, 0, item, second)
    assert sys.getrefcount(first) == 3
    del first, second
    contexts.end_flow(1)
    contexts.drain()
    item.told.clear()
    assert (gone[0](), gone[1]() is None) == (None, False)
    del contexts
    gc.collect()
    assert gone[1]() is None


def test_a_callout_that_goes_loses_its_contexts_and_is_let_go() -> None:
    contexts, stays, goes = FlowContexts(), Item(1), Item(2)
    contexts.add(1, 0, stays, "a")
    contexts.add(1, 0, goes, "b")
    contexts.retire([stays])
    assert (goes.told, len(contexts), list(contexts.callouts)) == ([(1, slot_name(0), "b")], 1, [1])
    heir = Item(1)
    contexts.retire([heir])
    contexts.end_flow(1)
    contexts.drain()
    assert (stays.told, heir.told) == ([], [(1, slot_name(0), "a")])


@pytest.mark.parametrize("capacity", [1, 16, 1000])
def test_no_more_than_the_capacity_is_kept(capacity: int) -> None:
    contexts, item = FlowContexts(capacity), Item(1)
    kept = sum(contexts.add(flow * 8, 0, item, flow) == "ok" for flow in range(2000))
    assert kept == len(contexts) <= capacity + 16


def test_a_number_is_kept_beside_objects_and_told_as_one() -> None:
    contexts, item = FlowContexts(), Item(1)
    assert contexts.find_number(1, 0, 1) == 0
    contexts.add(1, 1, item, "object")
    assert [contexts.add_number(1, 0, 1, 1 << 63), contexts.add_number(1, 0, 1, 2)] == ["ok", "exists"]
    assert (contexts.find_number(1, 0, 1), contexts.find(1, 0, 1), contexts.find_number(1, 1, 1)) == (
        1 << 63,
        1 << 63,
        0,
    )
    contexts.end_flow(1)
    contexts.drain()
    assert sorted(one[2] for one in item.told if one[2] != "object") == [1 << 63]


def test_what_another_gives_is_a_value_in_python_and_a_number_for_compiled_code() -> None:
    contexts, item, told = FlowContexts(), Item(1), Told()

    class Compiled:
        number, name, native = 2, "c2", told.native

    class Keepless:
        number, name = 3, "c3"

    assert [contexts.give(1, 0, item, value) for value in ("x", 5)] == ["ok", "exists"]
    assert [contexts.give(1, 0, Compiled(), value) for value in (None, "x", 0, 1 << 64, 7, 7)] == [
        "refused", "refused", "refused", "refused", "ok", "exists",
    ]  # fmt: skip
    assert [contexts.give(1, 0, Keepless(), 5), contexts.give(3, 0, item, None)] == ["refused", "refused"]
    contexts.end_all()
    assert contexts.drain() == 2 and len(contexts) == 0
    assert (item.told, told.ended) == ([(1, slot_name(0), "x")], [(1, 7)])


def test_compiled_code_may_give_numbers_to_every_callout_that_keeps_something() -> None:
    told, python, compiled = Told(keeps=False), Item(1), type("Compiled", (), {"number": 2, "name": "c2"})()
    contexts = FlowContexts()
    contexts.expect([python, None])
    assert list(contexts.callouts) == [], "nobody is there who cannot ask for memory"
    compiled.native = told.native
    contexts.expect([python, compiled, None])
    assert list(contexts.callouts) == [1]
    assert contexts.add_number(1, 0, 1, 9) == "ok"
    contexts.retire([compiled], [python])
    assert python.told == [(1, slot_name(0), 9)]


def test_workers_that_set_and_end_at_once_lose_no_context(tmp_path: pathlib.Path) -> None:
    """Several threads visit over one small flow table while another drains: each that was set is told of once."""
    n_set, told = [0, 0, 0], []

    class Keeps:
        def classify(self, c: Any) -> None:
            index, number = c.values["ip_local_port"] - 1, c.values["ip_remote_port"]
            c.set_flow_context("datagram_data", (index, number, n_set[index]))
            n_set[index] += 1

        def flow_delete(self, f: Any) -> None:
            told.append(f.context)

    decided = Decided(tmp_path, POLICY, {"c": Keeps()}, flows_max=16)
    flows, over = decided.replay.flows, threading.Event()

    def visit(index: int) -> None:
        replayer = Replayer(decided.snapshot, flows)
        for number in range(600):
            data = bytes(IP(src="198.51.100.9", dst="192.0.2.1") / UDP(sport=number % 97, dport=index + 1))
            replayer.visit(data, "input", number + 1)

    def drain() -> None:
        while not over.is_set():
            flows.contexts.drain()

    threads = [threading.Thread(target=visit, args=(index,), daemon=True) for index in range(3)]
    drainer = threading.Thread(target=drain, daemon=True)
    for thread in (*threads, drainer):
        thread.start()
    for thread in threads:
        thread.join(60)
    over.set()
    drainer.join(60)
    assert len(flows.contexts) <= 16
    flows.contexts.end_all()
    while flows.contexts.drain():
        pass
    assert len(told) == len(set(told)) == sum(n_set) > 600
    assert flows.contexts.errors == {}
