import json
import pathlib
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wfpd.observe
from wfpd.observe.counters import DROP_REASONS
from wfpd.observe.events import Encoder, format_timestamp
from wfpd.observe.record import EventRecord, FlowTotals, Suspension

SCHEMA = json.loads((pathlib.Path(wfpd.observe.__file__).parent / "event_schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ENCODER = Encoder(offset=lambda seconds: 3600)

SYN = EventRecord(
    timestamp_ns=1_700_000_000_123_456_789, verdict="block", reason="filter", layer="ipforward_v4",
    sublayer="perimeter", filter="telnet", generation=3, in_iface="eth0", packet_count=7,
    source=bytes((192, 0, 2, 1)), destination=bytes((198, 51, 100, 2)), protocol=6, source_port=40000,
    destination_port=23, length=60, tos=16, ttl=63, ip_id=4711, tcp_seq=1, tcp_ack=0, tcp_window=64240, tcp_flags=2,
)  # fmt: skip


def encoded(record: EventRecord) -> dict:
    line = ENCODER.line(record)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    event = json.loads(line)
    VALIDATOR.validate(event)
    return event


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_blocked_syn_is_a_drop_with_suricatas_object() -> None:
    event = encoded(SYN)
    assert event["event_type"] == "drop"
    assert event["timestamp"] == "2023-11-14T23:13:20.123456+0100"
    assert (event["src_ip"], event["src_port"], event["dest_ip"], event["dest_port"]) == (
        "192.0.2.1", 40000, "198.51.100.2", 23)  # fmt: skip
    assert (event["proto"], event["ip_v"], event["direction"], event["pcap_cnt"]) == ("TCP", 4, "to_server", 7)
    assert event["verdict"] == {"action": "drop"}
    assert event["drop"] == {"len": 60, "tos": 16, "ttl": 63, "ipid": 4711, "tcpseq": 1, "tcpack": 0,
                             "tcpwin": 64240, "fin": False, "syn": True, "rst": False, "psh": False, "ack": False,
                             "urg": False, "ece": False, "cwr": False, "reason": "rules"}  # fmt: skip
    assert event["wfp"] == {"verdict": "block", "reason": "filter", "layer": "ipforward_v4", "sublayer": "perimeter",
                            "filter": "telnet", "callout": None, "veto": False, "generation": 3,
                            "suppressed": 0}  # fmt: skip


def test_a_logged_permit_is_a_wfp_event_that_passes() -> None:
    event = encoded(replace(SYN, verdict="permit"))
    assert (event["event_type"], event["verdict"]) == ("wfp", {"action": "pass"})
    assert "drop" not in event


def test_a_block_that_audit_let_pass_says_what_would_have_been() -> None:
    event = encoded(replace(SYN, audit=True))
    assert (event["event_type"], event["verdict"]["action"], event["wfp"]["verdict"]) == ("wfp", "pass", "block")


def test_a_reply_is_a_reject_with_its_target() -> None:
    verdict = encoded(replace(SYN, reply="tcp_reset"))["verdict"]
    assert verdict == {"action": "drop", "reject": ["tcp-reset"], "reject_target": "to_client"}


UDP = replace(SYN, protocol=17, tcp_flags=None)
ECHO = replace(SYN, protocol=1, tcp_flags=None, source_port=None, destination_port=None, icmp_type=8, icmp_code=0)


@pytest.mark.parametrize(
    ("record", "reply", "kind"),
    [
        (SYN, "tcp_reset", "tcp-reset"),
        (SYN, "icmp_unreachable", "icmp-prohib"),
        (UDP, "icmp_unreachable", "icmp-prohib"),
        (ECHO, "icmp_unreachable", "icmp-prohib"),
        (UDP, "tcp_reset", None),
        (ECHO, "tcp_reset", None),
        (replace(SYN, tcp_flags=0x14), "tcp_reset", None),
        (replace(SYN, tcp_flags=None), "tcp_reset", None),
        (replace(ECHO, icmp_type=3), "icmp_unreachable", None),
        (replace(UDP, source_port=None), "icmp_unreachable", None),
        (replace(UDP, destination=bytes((224, 0, 0, 1))), "icmp_unreachable", None),
        (replace(UDP, destination=b"\xff" * 4), "icmp_unreachable", None),
        (replace(UDP, source=bytes(16), destination=bytes(15) + b"\1"), "icmp_unreachable", None),
        (replace(UDP, source=bytes(15) + b"\2", destination=b"\xff\2" + bytes(14)), "icmp_unreachable", None),
    ],
)
def test_a_reply_that_the_kernel_does_not_send_is_no_reject(record: EventRecord, reply: str, kind: str | None) -> None:
    verdict = encoded(replace(record, reply=reply))["verdict"]
    assert verdict["action"] == "drop" and verdict.get("reject") == ([kind] if kind else None)


@pytest.mark.parametrize(("reason", "word"), [("callout", "rules"), ("veto", "rules"), ("malformed", "decode_error"),
                                              ("limit", "flow_memcap"), ("late", "late")])  # fmt: skip
def test_drop_reasons_use_suricatas_words_where_it_has_one(reason: str, word: str) -> None:
    assert encoded(replace(SYN, reason=reason))["drop"]["reason"] == word


def test_every_reason_of_a_block_fits_the_schema() -> None:
    for reason in DROP_REASONS:
        encoded(replace(SYN, reason=reason))


def test_both_directions_of_a_packet_without_a_flow_share_a_flow_id() -> None:
    there = encoded(SYN)
    back = encoded(replace(SYN, source=SYN.destination, destination=SYN.source, source_port=23,
                           destination_port=40000))  # fmt: skip
    assert there["flow_id"] == back["flow_id"] > 0
    assert there["community_id"] == back["community_id"]


def test_ipv6_uses_the_names_of_its_own_header() -> None:
    event = encoded(EventRecord(1, "block", "filter", source=bytes(15) + b"\1", destination=bytes(15) + b"\2",
                                protocol=58, icmp_type=128, icmp_code=0, length=104, tos=0, ttl=64,
                                flow_label=5))  # fmt: skip
    assert event["drop"] == {"len": 64, "tc": 0, "hoplimit": 64, "flowlbl": 5, "reason": "rules"}
    assert (event["proto"], event["icmp_type"]) == ("IPV6-ICMP", 128)


def test_a_flows_end_has_its_totals_and_no_verdict() -> None:
    event = encoded(replace(SYN, flow=FlowTotals(SYN.timestamp_ns - 2_500_000_000, SYN.timestamp_ns, 3, 2, 300, 200)))
    assert event["event_type"] == "flow"
    assert (event["flow"]["age"], event["flow"]["pkts_toserver"]) == (2, 3)
    assert event["flow"]["end"] == event["timestamp"] and event["wfp"]["end"] == "timeout"


def test_the_zone_is_numeric_east_and_west() -> None:
    assert format_timestamp(0, lambda s: -5400) == "1969-12-31T22:30:00.000000-0130"


def test_hostile_names_stay_inside_one_ascii_line() -> None:
    line = ENCODER.line(replace(SYN, in_iface='a"\n\x1b[31m\u2028'))
    assert line.isascii() and line.count(b"\n") == 1 and b"\x1b" not in line


addresses = st.sampled_from([4, 16]).flatmap(lambda n: st.tuples(st.binary(min_size=n, max_size=n),
                                                                 st.binary(min_size=n, max_size=n)))  # fmt: skip


@given(addresses, st.none() | st.integers(0, 255), st.none() | st.integers(0, 65535), st.none() | st.integers(0, 255),
       st.integers(0, 2**63), st.sampled_from(["permit", "block"]), st.integers(0, 2**63))  # fmt: skip
def test_any_record_is_one_line_that_the_schema_accepts(ends, protocol, port, icmp, when, verdict, flow_id) -> None:
    encoded(EventRecord(when, verdict, "filter", source=ends[0], destination=ends[1], protocol=protocol,
                        source_port=port, destination_port=port, icmp_type=icmp, flow_id=flow_id))  # fmt: skip


def test_a_packet_that_is_not_ip_has_no_addresses() -> None:
    assert "src_ip" not in encoded(EventRecord(1, "block", "malformed", malformed="ip_version"))


def test_a_packet_of_no_flow_goes_to_the_server() -> None:
    assert encoded(replace(SYN, to_server=False))["direction"] == "to_server"
    assert encoded(replace(SYN, to_server=False, flow_id=5))["direction"] == "to_client"


@pytest.mark.parametrize(("suspended", "state"), [(True, "suspended"), (False, "back")])
def test_a_suspended_callout_is_an_event_of_no_packet(suspended: bool, state: str) -> None:
    event = encoded(EventRecord(0, "permit", suspension=Suspension("slow", suspended, 5, 7)))
    assert event == {
        "timestamp": "1970-01-01T01:00:00.000000+0100", "event_type": "callout",
        "callout": {"name": "slow", "state": state, "slow_calls": 5, "skipped": 7},
    }  # fmt: skip


def test_the_schema_keeps_packets_and_callouts_apart() -> None:
    callout = encoded(EventRecord(0, "permit", suspension=Suspension("slow", True, 5, 7)))
    bare = {"timestamp": callout["timestamp"], "event_type": "drop"}
    for wrong in (callout | {"flow_id": 3}, encoded(SYN) | {"callout": callout["callout"]}, bare):
        assert not VALIDATOR.is_valid(wrong)
