import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.observe.replay_events import ReplayEvents, dissect

scapy = pytest.importorskip("scapy.all")


NOTED = {"name": "f", "layer": "ipforward_v4", "sublayer": "s", "action": "permit", "callout": None, "audit": False,
         "reason": "filter"}  # fmt: skip


def line(verdict: str, reason: str = "filter", filter: str | None = "f", layers: tuple = ()) -> dict:
    return {"verdict": verdict, "reason": reason, "layer": "ipforward_v4", "sublayer": "s", "filter": filter,
            "veto": False, "layers": list(layers)}  # fmt: skip


def events(rows: list[tuple[bytes, dict]], **told: object) -> list[dict]:
    out = io.BytesIO()
    writer = ReplayEvents(out)
    for number, (packet, decided) in enumerate(rows, 1):
        writer.add(number, number, packet, "", decided, told)
    writer.close()
    return [json.loads(text) for text in out.getvalue().splitlines()]


def syn(source: str = "192.0.2.1", port: int = 1000) -> bytes:
    return bytes(scapy.IP(src=source, dst="198.51.100.1", id=7) / scapy.TCP(sport=port, dport=23, seq=5, window=99))


def test_a_blocked_packet_is_a_drop_with_its_number() -> None:
    (event,) = events([(syn(), line("block"))])
    assert (event["event_type"], event["pcap_cnt"], event["src_port"], event["dest_port"]) == ("drop", 1, 1000, 23)
    assert (event["drop"]["tcpseq"], event["drop"]["tcpwin"], event["drop"]["syn"]) == (5, 99, True)
    assert event["drop"]["len"] == 40


def test_repeated_drops_of_a_flow_are_counted_in_the_first() -> None:
    found = events([(syn(), line("block")), (syn(), line("block")), (syn(port=2000), line("block"))])
    assert [(e["pcap_cnt"], e["wfp"]["suppressed"]) for e in found] == [(1, 1), (3, 0)]


def test_a_permit_is_an_event_only_where_its_filter_logs() -> None:
    assert events([(syn(), line("permit"))]) == []
    (event,) = events([(syn(), line("permit"))], noted=[NOTED])
    assert (event["event_type"], event["wfp"]["filter"], event["wfp"]["verdict"]) == ("wfp", "f", "permit")
    assert events([(syn(), line("block"))], noted=[NOTED])[0]["event_type"] == "drop"


@pytest.mark.parametrize(("verdict", "action"), [("permit", "pass"), ("block", "drop")])
def test_a_filter_in_audit_mode_that_matched_is_told_beside_what_happened(verdict: str, action: str) -> None:
    found = events([(syn(), line(verdict, filter="other"))], noted=[NOTED | {"audit": True, "action": "block"}])
    assert [event["event_type"] for event in found] == (["drop", "wfp"] if verdict == "block" else ["wfp"])
    assert (found[-1]["verdict"]["action"], found[-1]["wfp"]["verdict"], found[-1]["wfp"]["filter"]) == (
        action, "block", "f")  # fmt: skip
    assert found[-1]["wfp"]["audit"] is True


def test_a_packet_of_a_flow_has_the_flow_s_id_and_direction() -> None:
    (event,) = events([(syn(), line("block"))], flow_id=77, to_server=False, reply="tcp_reset")
    assert (event["flow_id"], event["direction"]) == (77, "to_client")
    assert event["verdict"]["reject"] == ["tcp-reset"]


def test_the_answer_goes_to_the_client() -> None:
    back = bytes(scapy.IP(src="198.51.100.1", dst="192.0.2.1") / scapy.TCP(sport=23, dport=1000))
    found = events([(syn(), line("permit")), (back, line("block"))])
    assert found[0]["direction"] == "to_client"


def test_the_deciding_callout_is_named() -> None:
    row = {"layer": "ipforward_v4", "callouts": ["watch"]}
    (event,) = events([(syn(), line("block", "callout", layers=(row,)))])
    assert event["wfp"]["callout"] == "watch"


def test_the_transport_stands_behind_ipv6_extension_headers() -> None:
    head = scapy.IPv6(src="::1", dst="::2", fl=9, tc=4) / scapy.IPv6ExtHdrDestOpt()
    packet = bytes(head / scapy.UDP(sport=1, dport=2))
    found = dissect(packet)
    assert (found["protocol"], found["source_port"], found["udp_length"], found["flow_label"], found["tos"]) == (
        17, 1, 8, 9, 4)  # fmt: skip


def test_a_later_fragment_has_no_ports() -> None:
    packet = bytearray(syn())
    struct.pack_into("!H", packet, 6, 100)
    assert "source_port" not in dissect(bytes(packet))


@given(st.binary(max_size=120))
def test_any_bytes_are_dissected_without_an_error(data: bytes) -> None:
    dissect(data)
    dissect(b"\x45" + data)
    dissect(b"\x60" + data)
