"""From the ring's dicts to event records."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from wfpd.daemon.records import (
    FORGOTTEN_AT_ONCE,
    KEPT_BASES,
    KEPT_FILTERS,
    KEPT_GENERATIONS,
    RecordMaker,
    packet_members,
)


class FakeSnapshot:
    def __init__(self, generation: int, n_filters: int = 1, root: object = None) -> None:
        self.generation = generation
        self.root = root or object()
        self.n_filters = n_filters

    def filter_info(self, index: int) -> dict[str, Any]:
        return {"name": f"filter-{self.generation}-{index}", "sublayer": "universal", "sublayer_weight": 7,
                "callout": None}  # fmt: skip

    def callout_name(self, index: int) -> str:
        return f"callout-{index}"


def event(**changes: Any) -> dict[str, Any]:
    data = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=9, dport=23, flags="S"))
    return {
        "timestamp_ns": 5, "generation": 1, "kind": "drop", "hook": "forward", "family": 4, "protocol": 6,
        "in_interface": 2, "out_interface": 3, "length": len(data), "suppressed": 4, "bytes": data,
        "verdict": "block", "reason": "filter", "malformed": None, "slot": 24, "filter": 0, "callout": None,
        "veto": False, "absorb": False, "reply": None, "would_block": False, "flow_id": 0, "to_server": True,
    } | changes  # fmt: skip


def test_names_come_from_the_generation_that_decided() -> None:
    maker = RecordMaker()
    maker.learn(FakeSnapshot(1))  # type: ignore[arg-type]
    maker.learn(FakeSnapshot(2))  # type: ignore[arg-type]
    record = maker.record(event(callout=3), "eth0")
    assert (record.filter, record.callout, record.layer) == ("filter-1-0", "callout-3", "ipforward_v4")
    assert (record.in_iface, record.suppressed, record.destination_port) == ("eth0", 4, 23)
    assert maker.record(event(generation=2), "").filter == "filter-2-0"


def test_a_filter_is_named_by_generation_and_number_while_it_is_known() -> None:
    maker = RecordMaker()
    maker.learn(FakeSnapshot(1))  # type: ignore[arg-type]
    info = maker.info(1, 4)
    assert info is not None and (info["name"], info["sublayer"]) == ("filter-1-4", "universal")
    assert maker.info(2, 4) is None


def test_every_generation_of_a_base_is_named_by_its_last_snapshot() -> None:
    maker, root = RecordMaker(), object()
    maker.learn(FakeSnapshot(1))  # type: ignore[arg-type]
    for generation in range(2, 500):
        maker.learn(FakeSnapshot(generation, root=root))  # type: ignore[arg-type]
    assert maker.record(event(generation=2), "").filter == "filter-499-0"
    assert maker.record(event(generation=1), "").filter == "filter-1-0"


def test_of_large_policies_only_the_last_two_are_kept_and_one_while_the_next_is_built() -> None:
    maker = RecordMaker()
    for generation in (1, 2, 3):
        maker.learn(FakeSnapshot(generation, KEPT_FILTERS))  # type: ignore[arg-type]
    kept = [maker.record(event(generation=generation), "").filter for generation in (1, 2, 3)]
    assert kept == [None, "filter-2-0", "filter-3-0"]
    maker.make_room()
    kept = [maker.record(event(generation=generation), "").filter for generation in (2, 3)]
    assert kept == [None, "filter-3-0"]


def test_a_generation_long_gone_leaves_the_name_out() -> None:
    maker = RecordMaker()
    for generation in range(KEPT_BASES + 2):
        maker.learn(FakeSnapshot(generation))  # type: ignore[arg-type]
    assert maker.record(event(generation=1), "").filter is None


def test_what_the_recorder_holds_keeps_its_names_though_its_policy_is_forgotten() -> None:
    maker = RecordMaker(lambda: {(1, 5), (1, 6), (KEPT_BASES, 5)})
    for generation in range(1, KEPT_BASES + 6):
        maker.learn(FakeSnapshot(generation))  # type: ignore[arg-type]
    assert maker.names(1, 5) == {
        "filter": "filter-1-5", "sublayer": "universal", "sublayer_weight": 7, "callout": None,
    }  # fmt: skip
    assert (maker.names(1, 6)["filter"], maker.names(1, 7), maker.names(2, 5)) == ("filter-1-6", {}, {})
    assert maker.names(KEPT_BASES, 5)["filter"] == f"filter-{KEPT_BASES}-5"


def test_names_that_the_recorder_does_not_hold_any_more_go() -> None:
    held = [(1, number) for number in range(3)]
    maker = RecordMaker(lambda: held)
    for generation in range(1, KEPT_BASES + 2):
        maker.learn(FakeSnapshot(generation))  # type: ignore[arg-type]
    assert [bool(maker.names(1, number)) for number in range(3)] == [True] * 3
    del held[1:]
    maker.learn(FakeSnapshot(KEPT_BASES + 2))  # type: ignore[arg-type]
    assert [bool(maker.names(1, number)) for number in range(3)] == [True, False, False]


def test_generations_beyond_those_kept_go_and_what_is_recorded_of_them_keeps_its_names() -> None:
    maker, root = RecordMaker(lambda: [(3, 0)]), object()
    for generation in range(1, KEPT_GENERATIONS + 2):
        maker.learn(FakeSnapshot(generation, root=root))  # type: ignore[arg-type]
    assert maker.names(3, 0)["filter"].startswith("filter-")
    assert (maker.names(4, 0), maker.names(FORGOTTEN_AT_ONCE, 0)) == ({}, {})
    assert maker.names(FORGOTTEN_AT_ONCE + 1, 0)["filter"] == f"filter-{KEPT_GENERATIONS + 1}-0"


def test_a_block_that_audit_mode_let_pass_is_a_block_marked_audit() -> None:
    record = RecordMaker().record(event(verdict="permit", would_block=True), "")
    assert record.verdict == "block" and record.audit


def test_a_filter_in_audit_mode_says_what_it_would_have_done_and_what_happened() -> None:
    class Audited(FakeSnapshot):
        def filter_info(self, index: int) -> dict[str, str]:
            return super().filter_info(index) | {"action": "block"}

    maker = RecordMaker()
    maker.learn(Audited(1))  # type: ignore[arg-type]
    record = maker.record(event(kind="audit", verdict="permit"), "")
    assert (record.verdict, record.audit, record.passed) == ("block", True, True)
    assert not maker.record(event(kind="audit"), "").passed


def test_a_block_at_postrouting_has_no_reply() -> None:
    maker = RecordMaker()
    assert maker.record(event(reply="tcp_reset"), "").reply == "tcp_reset"
    assert maker.record(event(reply="tcp_reset", hook="postrouting"), "").reply == "none"


def test_packet_members_are_those_that_the_packet_has() -> None:
    tcp = packet_members(bytes(IP(id=7) / TCP(seq=8, window=9)), 40)
    assert tcp["tcp_seq"] == 8 and tcp["tcp_window"] == 9 and tcp["ip_id"] == 7
    icmp = packet_members(bytes(IP() / ICMP(type=3, code=1)), 28)
    assert icmp["icmp_type"] == 3 and "source_port" not in icmp
    v6 = packet_members(bytes(IPv6(fl=5) / UDP(sport=1, dport=2)), 48)
    assert len(v6["source"]) == 16 and v6["flow_label"] == 5
    assert packet_members(b"\x00", 1) == {"length": 1}
