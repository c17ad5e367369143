"""Whose an injected packet is, and how often one may be injected."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from wfpd.dataplane._modify import completed
from wfpd.errors import ActionRefused
from wfpd.injection.handles import (
    BY_OTHER,
    BY_SELF,
    NOT_INJECTED,
    NOTHING,
    PREVIOUSLY,
    History,
    Injections,
    Past,
    identity,
)  # fmt: skip
from wfpd.injection.wire import Order
from wfpd.netfilter.marks import Marks, Way

PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2", id=7, ttl=9) / UDP(sport=5, dport=53) / b"question")
OTHER = bytes(IP(src="192.0.2.1", dst="198.51.100.2", id=7, ttl=9) / UDP(sport=5, dport=53) / b"another")
SIX = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=9) / TCP(sport=5, dport=53) / b"question")

MARK = Marks().injected(63, Way.OUTBOUND)


class Callout:
    injects = True


def made() -> tuple[Injections, list[Order], list[str]]:
    sent: list[Order] = []
    counted: list[str] = []
    return Injections(sent.append, count=counted.append), sent, counted


def test_what_changes_on_a_packets_way_is_no_part_of_its_identity() -> None:
    later = bytes(IP(src="192.0.2.1", dst="198.51.100.2", id=99, ttl=1, tos=8, flags="DF", proto=17) / PACKET[20:])
    assert identity(PACKET) == identity(later + b"padding") != identity(OTHER)
    assert identity(SIX) == identity(SIX[:7] + b"\x01" + SIX[8:] + b"!") != identity(SIX[:-1] + b"!")


@given(st.binary(max_size=60))
def test_whatever_comes_has_an_identity_or_none(packet: bytes) -> None:
    name = identity(packet)
    assert name is None or len(name) <= len(packet)
    assert identity(PACKET[:-1]) is None and identity(b"") is None


def test_a_packet_is_of_self_of_another_or_of_both() -> None:
    injections, sent, _ = made()
    one, two = Callout(), Callout()
    assert injections.state(one, 0, PACKET) == NOT_INJECTED
    assert injections.inject(one, PACKET, "outbound")
    first = sent[-1].mark
    assert injections.state(one, first, PACKET) == BY_SELF
    assert injections.state(two, first, PACKET) == BY_OTHER
    assert injections.inject(two, OTHER, "outbound", past=injections.past_of(first, PACKET), clone=True)
    second = sent[-1].mark
    assert injections.state(two, second, OTHER) == BY_SELF
    assert injections.state(one, second, OTHER) == PREVIOUSLY
    assert injections.state(one, second, PACKET[:-1] + b"!") == BY_OTHER  # Not known: the mark alone speaks.
    assert injections.state(one, 0x00100000 * 0x300, PACKET) == NOT_INJECTED  # A reply mark.


def test_an_answer_to_an_injected_packet_is_not_that_packet() -> None:
    injections, sent, _ = made()
    one, two = Callout(), Callout()
    injections.inject(one, PACKET, "outbound")
    injections.inject(two, OTHER, "outbound", past=injections.past_of(sent[0].mark, PACKET))
    assert injections.state(one, sent[1].mark, OTHER) == BY_OTHER


def test_own_packets_pass_a_callout_unless_it_wants_to_see_them() -> None:
    injections, sent, _ = made()
    one = Callout()
    injections.inject(one, PACKET, "forward")
    assert injections.passes(one, sent[0].mark, PACKET) and not injections.passes(Callout(), sent[0].mark, PACKET)
    one.sees_injected = True  # type: ignore[attr-defined]
    assert not injections.passes(one, sent[0].mark, PACKET)
    assert not injections.passes(lambda c: None, sent[0].mark, PACKET)


@pytest.mark.parametrize("clone", [True, False])
def test_two_that_answer_each_other_come_to_an_end(clone: bool) -> None:
    injections, sent, counted = made()
    pair: list[Any] = [Callout(), Callout()]
    pair[0].injects_at_most, pair[1].injects_at_most = 6, 5
    packets, mark, turn = [PACKET, OTHER], 0, 0
    while injections.inject(pair[turn % 2], packets[turn % 2], "outbound",
                            past=injections.past_of(mark, packets[(turn + 1) % 2]), clone=clone):  # fmt: skip
        mark, turn = sent[-1].mark, turn + 1
    assert (turn, len(sent), counted) == (5, 5, ["loop"])


def test_numbers_are_given_back_and_used_again_late_and_there_are_63() -> None:
    injections, _, _ = made()
    kept: list[Any] = [Callout() for _ in range(62)]
    assert [injections.number(one) for one in kept] == list(range(1, 63))
    del kept[0]
    gc.collect()
    kept += [Callout(), Callout()]
    assert [injections.number(one) for one in kept[-2:]] == [63, 1]
    with pytest.raises(ActionRefused, match="63"):
        injections.number(Callout())
    assert injections.state(Callout(), MARK, PACKET) == BY_OTHER and not injections.passes(Callout(), MARK, PACKET)
    assert injections.number(kept[0]) == 2


def test_the_history_is_bounded_in_number_and_time() -> None:
    now = 0.0
    history = History(most=3, seconds=5, clock=lambda: now)
    packets = [PACKET[:-1] + bytes([number]) for number in range(5)]
    for number, packet in enumerate(packets):
        history.remember(packet, Past(frozenset({number}), 1))
    assert [history.of(packet).handles for packet in packets] == [frozenset()] * 2 + [{2}, {3}, {4}]
    now = 5.0
    assert history.of(packets[4]) == NOTHING
    history.remember(PACKET, Past())
    assert len(history) == 1


def test_nothing_is_injected_before_the_rules_stand() -> None:
    injections, sent, counted = made()
    injections.armed = False
    with pytest.raises(ActionRefused, match="rules"):
        injections.inject(Callout(), PACKET, "outbound")
    assert (sent, counted) == ([], ["no_helper"])


def test_what_is_for_many_would_leave_the_host_and_is_refused() -> None:
    injections, sent, _ = made()
    for packet in (PACKET[:16] + b"\xe0\0\0\xfb" + PACKET[20:], SIX[:24] + b"\xff\x02" + SIX[26:]):
        with pytest.raises(ActionRefused, match="many"):
            injections.inject(Callout(), packet, "inbound")
        assert injections.inject(Callout(), packet, "outbound")
    assert [order.local for order in sent] == [False, False]


def test_a_kept_handle_injects_as_long_as_its_callout_is_there() -> None:
    injections, sent, _ = made()
    callout = Callout()
    handle = injections.handle(callout, completed)
    assert handle.inject(PACKET[:10] + b"\0\0" + PACKET[12:], direction="inbound")
    assert sent[0].packet == PACKET and sent[0].local and injections.marks.injected_by(sent[0].mark) == 1
    with pytest.raises(ValueError, match="direction"):
        handle.inject(PACKET, direction="up")
    with pytest.raises(ActionRefused):
        handle.inject(b"", direction="inbound")
    assert injections.handle(callout, completed, silent=True).inject(PACKET, direction="outbound")
    del callout
    gc.collect()
    with pytest.raises(ActionRefused, match="gone"):
        handle.inject(PACKET, direction="inbound")
    assert len(sent) == 1


def test_clones_that_are_injected_later_have_the_past_of_their_packets() -> None:
    injections, sent, counted = made()
    pair = [Callout(), Callout()]
    mark, turns = 0, 0
    while injections.handle(pair[turns % 2], completed, injections.past_of(mark, PACKET)).inject(
        PACKET, direction="forward"
    ):
        mark, turns = sent[-1].mark, turns + 1
        assert injections.state(pair[turns % 2], mark, PACKET) == (BY_OTHER if turns == 1 else PREVIOUSLY)
    assert (turns, counted) == (8, ["loop"])


class Ends:
    """Injects at its end, which a collection of garbage brings."""

    def __init__(self, inject: Callable[[], object]) -> None:
        self.me, self.inject = self, inject

    def __del__(self) -> None:
        self.inject()


class Collects(Callout):
    """Is looked up by what collects garbage."""

    def __hash__(self) -> int:
        gc.collect()
        return 7


def test_what_a_collection_of_garbage_ends_may_inject_from_within_another_injection() -> None:
    injections, sent, _ = made()
    callouts, times = [Callout(), Collects()], [0.0]

    def clock() -> float:
        gc.collect()
        times[0] += 1
        return times[0]

    injections._history = History(most=2, seconds=60, clock=clock)
    done: list[bool] = []

    def work() -> None:
        for number, callout in enumerate(callouts):
            packet = OTHER[:-1] + bytes([number])
            Ends(lambda packet=packet: done.append(injections.inject(callouts[0], packet, "outbound")))  # type: ignore[misc]
            done.append(injections.inject(callout, PACKET[:-1] + bytes([number]), "outbound"))

    thread = threading.Thread(target=work, daemon=True)
    gc.collect()
    thread.start()
    thread.join(20)
    assert done == [True] * 4 and not thread.is_alive()
    assert len(sent) == 4 and len(injections._history) == 2
    assert sorted({injections.marks.injected_by(order.mark) for order in sent}) == [1, 2]


def test_a_handle_injects_a_new_packet_where_it_is_no_clone() -> None:
    injections, sent, _ = made()
    callout, other = Callout(), Callout()
    injections.inject(callout, PACKET, "outbound")
    handle = injections.handle(other, completed, injections.past_of(sent[-1].mark, PACKET))
    for clone, state in ((False, BY_OTHER), (True, PREVIOUSLY)):
        assert handle.inject(OTHER, direction="outbound", clone=clone)
        assert injections.state(callout, sent[-1].mark, OTHER) == state
