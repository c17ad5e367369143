"""Root and Added: what is beside a base, what is gone of it, and how much of either fits."""

from __future__ import annotations

import dataclasses
import gc
import json
import uuid
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from tests.builders import a_filter, a_policy, callout, equal, slot, sublayer, when
from wfpd.callouts._told import Told
from wfpd.compiler.pack import pack
from wfpd.dataplane import Added, Flows, Part, Replayer, Root, Snapshot
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Filter, Policy, ProviderContext

PERMIT, BLOCK = Action.PERMIT, Action.BLOCK
WORDS: dict[str, Any] = {"on_error": 1, "on_malformed": 1, "on_late": 1, "flows_full": 1}


def a_part(*filters: Filter, **members: Any) -> Part:
    return Part(pack(a_policy(filters, **members)))


def over(root: Root, generation: int, *added: Added, previous: Snapshot | None = None) -> Snapshot:
    return Snapshot(root, [], generation=generation, previous=previous, added=added, **WORDS)


def names(taken: Snapshot) -> list[str]:
    return [taken.filter_name(index) for index in taken.match(slot(), {})]


def test_what_is_removed_is_gone_for_later_snapshots_only() -> None:
    a, b = a_filter("a", BLOCK, weight=2), a_filter("b", PERMIT, weight=1)
    root = Root(a_part(a, b), [])
    first = over(root, 1)
    index = root.find(a.key.bytes)
    assert index == 0
    root.remove(index)
    second = over(root, 2, previous=first)
    assert (names(first), names(second)) == (["a"], ["b"])
    assert (first.n_filters, second.n_filters) == (2, 1)
    assert root.find(a.key.bytes) is None and root.n_gone == 1
    with pytest.raises(KeyError):
        root.remove(index)
    root.restore(index)
    assert names(over(root, 3)) == ["a"]
    with pytest.raises(KeyError):
        root.restore(index)
    with pytest.raises(IndexError):
        root.remove(7)


def test_what_is_added_gets_the_next_numbers_and_keeps_its_name_when_it_is_gone() -> None:
    root = Root(a_part(a_filter("a", PERMIT)), [])
    part = a_part(a_filter("b", BLOCK, weight=5), a_filter("c", BLOCK, weight=4))
    numbers = root.add(part, [])
    added = Added(part, numbers)
    taken = over(root, 2, added)
    assert numbers.cast("I").tolist() == [1, 2]
    assert names(taken) == ["b"] and taken.filter_ids() == [0, 1, 2]
    less = added.without([0])
    assert (added.live(), less.live(), less.gone_places()) == (2, 1, [0])
    later = over(root, 3, less)
    assert names(later) == ["c"]
    assert later.filter_name(1) == "b"  # For events of packets before.
    with pytest.raises(KeyError):
        less.without([0])
    assert less.find(a_filter("b", BLOCK).key.bytes) is None
    assert less.find(a_filter("c", BLOCK).key.bytes) == 1


def test_a_key_that_is_none_is_refused() -> None:
    root = Root(a_part(a_filter("a", PERMIT)), [])
    with pytest.raises(ValueError, match="16 bytes"):
        root.find(b"short")


def test_there_is_room_for_so_many_filters_and_no_more() -> None:
    root = Root(a_part(), [])
    assert root.room == 16384
    part = Part(pack(a_policy(a_filter(f"f{n}", PERMIT) for n in range(10000))), search=False)
    root.add(part, [])
    assert root.room == 6384
    with pytest.raises(MemoryError, match="no room"):
        root.add(part, [])
    assert root.n_ids == 10000


def test_sublayers_and_callouts_of_the_same_key_are_the_same() -> None:
    asked: list[str] = []
    one = a_part(a_filter("a", Action.CALLOUT_UNKNOWN, callout="c", sublayer="high"),
                 sublayers=[sublayer("high", 0x9000)], callouts=[callout("c")])  # fmt: skip
    root = Root(one, [lambda context: asked.append("first")])
    two = a_part(a_filter("b", Action.CALLOUT_UNKNOWN, callout="c", sublayer="high"),
                 a_filter("d", Action.CALLOUT_UNKNOWN, callout="d", sublayer="new"),
                 sublayers=[sublayer("high", 0x9000), sublayer("new", 0x9500)],
                 callouts=[callout("c"), callout("d")])  # fmt: skip
    taken = over(root, 2, Added(two, root.add(two, [None, None])))
    assert names(taken) == ["d", "a", "b"]
    assert taken.n_callouts == 2 and len(root.callouts) == 2
    assert root.callable_of(callout("c").key.bytes) is root.callouts[0] is not None
    assert root.callable_of(callout("d").key.bytes) is None
    assert taken.filter_info(1)["callout"] == "d" and taken.filter_info(2)["sublayer"] == "high"


FOUND, KEEPS_NOTHING, NO_CALLOUT = 11, 10, 15
"""Statuses: that there is no flow is found out when the callout is known."""


class Named:
    """A compiled callout that tries to give contexts to those of three names."""

    def __init__(self, number: int, *, keeps: bool = True) -> None:
        steps = [("set_of", LAYER["datagram_data"].index, (name, 1)) for name in ("c", "d", "giver")]
        self.told, self.number, self.over = Told(steps=steps, keeps=keeps), number, bytearray(1)
        self.native = self.told.native

    def statuses(self, taken: Snapshot) -> list[int]:
        """Of a packet that it is asked about."""
        Replayer(taken, Flows(16)).visit(bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP()), "input", 1)
        return self.told.statuses


def a_giver() -> Part:
    asking = a_filter("a", Action.CALLOUT_UNKNOWN, at=slot("inbound_ippacket"), callout="giver")
    return a_part(asking, callouts=[callout("giver"), callout("c")])


def test_a_callout_is_found_by_its_name_as_it_is_registered_last_and_until_it_is_over() -> None:
    giver, keepless, second = Named(1), Named(3, keeps=False), Named(4)
    root = Root(a_giver(), [giver, Named(2)])
    taken = over(root, 1)
    assert giver.statuses(taken) == [FOUND, NO_CALLOUT, FOUND]
    more = a_part(a_filter("b", Action.CALLOUT_UNKNOWN, callout="c"), callouts=[callout("c"), callout("d")])
    root.register(more, 0, keepless)
    assert giver.statuses(taken)[0] == FOUND, "what runs goes on with the one that it had"
    later = over(root, 2, Added(more, root.add(more, [keepless, second])))
    assert giver.statuses(later) == [KEEPS_NOTHING, FOUND, FOUND]
    second.over[0] = 1
    assert giver.statuses(later) == [KEEPS_NOTHING, NO_CALLOUT, FOUND]


def test_of_two_callouts_with_one_name_the_first_has_it() -> None:
    giver, other = Named(1), dataclasses.replace(callout("c"), key=uuid.UUID(int=5))
    root = Root(a_giver(), [giver, None])
    two = a_part(a_filter("b", Action.CALLOUT_UNKNOWN, callout="c"), callouts=[other])
    taken = over(root, 1, Added(two, root.add(two, [Named(2)])))
    assert taken.n_callouts == 3
    assert giver.statuses(taken)[0] == NO_CALLOUT, "the policy file's has the name, and it is not registered"


def test_texts_of_provider_contexts_are_made_of_filters_as_they_come() -> None:
    told = Told()

    class Owner:
        native = told.native

    def text(taken: Snapshot, port: int) -> object:
        packet = IP(src="192.0.2.1", dst="198.51.100.2") / UDP(dport=port)
        Replayer(taken, Flows(16)).visit(bytes(packet), "forward", 1)
        return told.call()["provider_context"]

    def asks(name: str, port: int, context: str) -> Filter:
        return a_filter(name, Action.CALLOUT_UNKNOWN, when("ip_destination_port", equal(port)), callout="c",
                        provider_context=context)  # fmt: skip

    def part_of(*filters: Filter) -> Part:
        known = tuple(ProviderContext(name, uuid.uuid4()) for name in ("p", "q", "none"))
        policy = a_policy(filters, callouts=[callout("c")])
        return Part(pack(dataclasses.replace(policy, provider_contexts=known)))

    root = Root(part_of(asks("a", 1, "p")), [Owner()])
    first = over(root, 1)
    root.provider_contexts = {"p": [1]}
    assert text(first, 1) == b"[1]"
    part = part_of(asks("b", 2, "q"), asks("d", 3, "none"))
    second = over(root, 2, Added(part, root.add(part, [None])))
    root.provider_contexts = {"p": [2], "q": "käse \ud800"}
    assert [text(second, port) for port in (1, 2, 3)] == [b"[1]", '"käse \\ud800"'.encode(), None]
    assert json.loads(text(second, 2)) == "käse \ud800"  # type: ignore[arg-type]


def test_a_callout_that_is_not_callable_is_refused() -> None:
    root = Root(a_part(), [])
    part = a_part(a_filter("a", Action.CALLOUT_UNKNOWN, callout="c"), callouts=[callout("c")])
    with pytest.raises(ValueError, match="'c' is not callable"):
        root.add(part, [1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="1 callouts"):
        root.add(part, [])


def test_counters_go_on_where_filters_move_to_another_root() -> None:
    a, b, c = (a_filter(name, PERMIT) for name in "abc")
    root = Root(a_part(a, b), [])
    part = a_part(c)
    first = over(root, 2, Added(part, root.add(part, [])))
    moved = Snapshot(pack(a_policy([c, a])), [], generation=3, previous=first, **WORDS)
    assert sorted(moved.counter_slots()) == [0, 2]
    assert moved.new_counter_slots() == ()


def test_a_layers_generation_changes_with_what_is_added_or_gone_and_with_the_numbers() -> None:
    a, b = a_filter("a", PERMIT), a_filter("b", PERMIT, at=slot(family=6))
    root = Root(a_part(a), [])
    first = over(root, 5)
    part = a_part(b)
    second = over(root, 6, Added(part, root.add(part, [])), previous=first)
    assert [second.layer_generation(slot(family=family)) for family in (4, 6)] == [5, 6]
    same = over(root, 7, *second.added, previous=second)
    assert [same.layer_generation(slot(family=family)) for family in (4, 6)] == [5, 6]
    moved = Snapshot(pack(a_policy([a, b])), [], generation=8, previous=same, **WORDS)
    assert [moved.layer_generation(slot(family=family)) for family in (4, 6)] == [5, 8]


def test_an_empty_policy_is_a_base_like_others() -> None:
    root = Root(Part(pack(Policy())), [])
    part = a_part(a_filter("a", PERMIT))
    assert names(over(root, 1, Added(part, root.add(part, [])))) == ["a"]


def test_a_base_in_a_circle_of_references_gives_its_counters_back() -> None:
    class Watch:
        def classify(self, context: object) -> None: ...

    watch = Watch()
    policy = a_policy([a_filter("a", Action.CALLOUT_UNKNOWN, callout="c")], callouts=[callout("c")])
    first = Snapshot(pack(policy), [watch.classify], generation=1, **WORDS)
    slots, watch.of = first.slots, first  # type: ignore[attr-defined]
    del first, watch
    gc.collect()
    again = Snapshot(pack(a_policy([a_filter("b", PERMIT)])), [], generation=2, **WORDS)
    assert slots.size == 1 and again.slots.size == 1
