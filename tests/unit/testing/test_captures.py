"""A test's packets as a capture that is read back."""

from __future__ import annotations

from pathlib import Path

from scapy.layers.inet import IP, UDP

from wfpd.replay import read_capture
from wfpd.testing.captures import write_capture


def test_packets_are_read_back_a_millisecond_apart(tmp_path: Path) -> None:
    packets = [bytes(IP() / UDP(dport=port)) for port in (1, 2)]
    assert write_capture(tmp_path / "a.pcap", packets) == 2
    found = list(read_capture(str(tmp_path / "a.pcap")))
    assert [one.data for one in found] == packets
    assert [one.timestamp_ns for one in found] == [1_000_000, 2_000_000]
    assert write_capture(str(tmp_path / "none.pcap"), []) == 0
    assert list(read_capture(str(tmp_path / "none.pcap"))) == []
