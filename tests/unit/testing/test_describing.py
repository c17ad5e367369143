"""Described packets: lists, conversations, hooks, and every way to describe none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.testing.files import case
from wfpd.dataplane import parse_of
from wfpd.errors import PolicyError
from wfpd.testing.cases import Step


def steps(directory: Path, text: str) -> tuple[Step, ...]:
    return case(directory, f"{text}, expect: permit").steps


def told(step: Step) -> tuple[int, int, int, int]:
    view = parse_of(step.packet.data)
    return view["protocol"], view["source_port"], view["destination_port"], view["tcp_flags"]


def test_the_case_stands_before_the_defaults(tmp_path: Path) -> None:
    (step,) = steps(
        tmp_path, "src: 192.0.2.9:7, flags: [syn, ack], hook: input, mark: 0x10, interface: eth0, payload: 3"
    )
    assert told(step) == (6, 7, 80, 0x12)
    assert (step.hooks, step.mark, step.packet.interface_name, len(step.packet.data)) == (("input",), 16, b"eth0", 43)


def test_lists_are_every_combination_of_one_family(tmp_path: Path) -> None:
    found = steps(tmp_path, 'proto: [tcp, udp], src: [192.0.2.1, "2001:db8::1"], '
                            'dst: ["198.51.100.2:53", "198.51.100.2:54", "[2001:db8::2]:53"]')  # fmt: skip
    assert [told(step)[::2] for step in found] == [(6, 53), (6, 54), (6, 53), (17, 53), (17, 54), (17, 53)]
    assert [step.packet.data[0] >> 4 for step in found] == [4, 4, 6] * 2


def test_flags_of_the_defaults_are_for_tcp_only(tmp_path: Path) -> None:
    found = case(tmp_path, "flags: ack, each: [{proto: tcp}, {proto: icmp, dst: 192.0.2.1, icmp: 3/1}], expect: permit")
    assert found.steps and not found.together
    with pytest.raises(PolicyError, match="udp has no flags"):
        case(tmp_path, "each: [{proto: udp, flags: ack}], expect: permit")


@pytest.mark.parametrize(("ends", "hooks"), [
    ("src: 10.0.0.1, dst: '192.0.2.1:1'", ("output",)), ("src: 192.0.2.1, dst: '10.0.0.1:1'", ("input",)),
    ("src: 10.0.0.1, dst: '10.0.0.2:1'", ("output", "input")), ("src: 192.0.2.1, dst: '192.0.2.2:1'", ("forward",)),
])  # fmt: skip
def test_local_addresses_say_the_hook(tmp_path: Path, ends: str, hooks: tuple[str, ...]) -> None:
    (step,) = steps(tmp_path, f"local: [10.0.0.0/24], {ends}")
    assert step.hooks == hooks


def test_a_reply_is_the_packet_before_with_its_ends_exchanged(tmp_path: Path) -> None:
    found = case(tmp_path, "hook: input, expect: permit, packets: [{}, {reply: true}, {flags: ack, after: 5s}, "
                           "{reply: true, flags: fin}]").steps  # fmt: skip
    assert [told(step)[1:] for step in found] == [
        (50000, 80, 2), (80, 50000, 0x12), (50000, 80, 0x10), (80, 50000, 1),
    ]  # fmt: skip
    assert [step.hooks for step in found] == [("input",), ("output",)] * 2
    stamps = [step.packet.timestamp_ns for step in found]
    assert [step.packet.number for step in found] == [1, 2, 3, 4]
    assert [late - early for early, late in pairwise(stamps)] == [10**6, 10**6 + 5 * 10**9, 10**6]


@pytest.mark.parametrize(
    ("ends", "reply"), [("192.0.2.1, dst: 192.0.2.2", 0), ("'2001:db8::1', dst: '2001:db8::2'", 129)]
)
def test_a_ping_is_answered_by_an_echo(tmp_path: Path, ends: str, reply: int) -> None:
    found = case(tmp_path, f"proto: icmp, src: {ends}, expect: permit, packets: [{{}}, {{reply: true}}]").steps
    assert parse_of(found[1].packet.data)["icmp_type"] == reply


BYTES = "4500 0014 00000000 40fd0000 c0000201 0a000001"


def test_a_packet_may_be_given_by_its_bytes(tmp_path: Path) -> None:
    (step,) = steps(tmp_path, f"bytes: {BYTES}, local: 10.0.0.0/8, interface: e, mark: 3")
    assert (step.packet.data[9], step.hooks, step.packet.interface_name, step.mark) == (253, ("input",), b"e", 3)
    found = case(tmp_path, "expect: permit, packets: [{bytes: '45'}, {}]").steps
    assert [step.packet.original_length for step in found] == [1, 40]


@pytest.mark.parametrize(("text", "says"), [
    ("bytes: 4x", "is not hexadecimal"), ("bytes: ''", "1-65535 bytes"),
    ("bytes: 45, src: 192.0.2.1", "the whole packet"),
    ("bytes: [45]", "one value is needed"), ("packets: [{bytes: 45}, {reply: true}]", "no packet before"),
    ("src: here", "'here' is no address"), ("proto: tpc", "there is no protocol"),
    ("dst: 192.0.2.1", "tcp goes to a port"),
    ("flags: loud", "no TCP flag"), ("src: ['2001:db8::1']", "different families"), ("src: []", "an empty list"),
    ("src: ['2001:db8::1', '2001:db8::2']", "no src and dst are of one family"), ("hook: sideways", "is not known"),
    ("payload: 1401", "outside 0-1400"), ("mark: x", "is not an integer"), ("src: {}", "one value is needed"),
    ("icmp: echo_request", "tcp has no ICMP types"), ("local: [nowhere]", "local: "),
    ("src: 192.0.2.1, prot: x", "unknown key"),
    (f"src: [{', '.join(['192.0.2.1'] * 101)}], proto: [{', '.join(['tcp'] * 101)}]", "more than 10000 packets"),
    ("packets: [{reply: true}]", "no packet before"), ("packets: [{}, {reply: true, dst: 192.0.2.1}]", "unknown key"),
    ("packets: [{}, {reply: true, icmp: 0}]", "the packet before has none"),
    ("packets: [{after: soon}]", "not a duration"),
    ("packets: [{src: [192.0.2.1, 192.0.2.2]}]", "one pair of ends at a time"), ("packets: []", "no packet is said"),
    ("each: [{after: 5s}]", "unknown key"), ("each: [x]", "a mapping is needed"), ("each: {}", "a list is needed"),
    ("packets: [{}, {reply: true, flags: loud}]", "no TCP flag"), ("interface: ''", "is empty"),
])  # fmt: skip
def test_what_is_no_packet_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        steps(tmp_path, text)
    assert says in str(caught.value) and "a.test.yaml:5" in str(caught.value)
