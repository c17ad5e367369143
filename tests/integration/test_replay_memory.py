"""Replay reads a large capture in the memory of a small one."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=1, dport=53) / Raw(b"x" * 1400))


def capture(path: Path, size: int) -> None:
    """A raw-IP capture of about `size` bytes."""
    record = struct.pack("<IIII", 1, 0, len(PACKET), len(PACKET)) + PACKET
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        block = record * 512
        for _ in range(size // len(block) + 1):
            file.write(block)


def peak_kib(policy: Path, path: Path) -> int:
    """Largest memory of one `wfpd replay`."""
    argv = [sys.executable, "-m", "wfpd", "replay", "--policy", str(policy), "--json", str(path)]
    pid = os.posix_spawn(
        argv[0], argv, os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)],
    )  # fmt: skip
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss


def test_a_capture_thirty_times_as_large_takes_no_more_memory(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nfilters: [{name: dns, layer: ipforward, action: block}]\n")
    small, large = tmp_path / "small.pcap", tmp_path / "large.pcap"
    capture(small, 5 << 20)
    capture(large, 150 << 20)
    assert peak_kib(policy, large) <= 1.2 * peak_kib(policy, small)
