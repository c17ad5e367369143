"""What the stream layer indicates is what tshark's "follow TCP stream" shows, on real captures."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from tests.streams import a_snapshot
from wfpd.capture import read_capture
from wfpd.dataplane import Flows, Replayer

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "data" / "streams"
CAPTURES = sorted(path for path in FOLDER.glob("*/*") if path.suffix in (".pcap", ".pcapng"))
SYN, FIN, RST, ACK = 2, 1, 4, 16


def followed(path: pathlib.Path) -> dict[tuple[Any, ...], list[bytes]]:
    """By the ends as tshark names them: the bytes of the first end and of the second."""
    found: dict[tuple[Any, ...], list[bytes]] = {}
    ids = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "tcp.stream"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for number in sorted(set(ids), key=int):
        text = subprocess.run(
            ["tshark", "-n", "-r", str(path), "-q", "-z", f"follow,tcp,raw,{number}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        ends, sides = [], [bytearray(), bytearray()]
        for line in text.splitlines():
            if line.startswith("Node "):
                host, _, port = line.split(": ", 1)[1].rpartition(":")
                ends.append((host.strip("[]"), int(port)))
            elif line and set(line.strip()) <= set("0123456789abcdef"):
                sides[line.startswith("\t")] += bytes.fromhex(line.strip())
        found[tuple(ends)] = [bytes(side) for side in sides]
    return found


def indicated(path: pathlib.Path) -> tuple[dict[tuple[Any, ...], bytes], dict[str, int]]:
    """The bytes of each (source, destination), with the higher port as the client, and what was counted."""
    found: dict[tuple[Any, ...], bytes] = {}

    def take(c: Any) -> None:
        values = c.values
        local = (str(values["ip_local_address"]), values["ip_local_port"])
        remote = (str(values["ip_remote_address"]), values["ip_remote_port"])
        key = (local, remote) if c.stream_direction == "out" else (remote, local)
        assert c.stream_offset == len(found.get(key, b""))
        found[key] = found.get(key, b"") + bytes(c.stream)
        c.permit()

    replayer = Replayer(a_snapshot(take), Flows(64))
    for packet in read_capture(str(path)):
        if not packet.is_ip:
            continue
        data = packet.data
        header = (data[0] & 15) * 4 if data[0] >> 4 == 4 else 40
        source, destination = (int.from_bytes(data[header + i : header + i + 2], "big") for i in (0, 2))
        hook = "output" if source < destination else "input"
        replayer.visit(data, hook, packet.timestamp_ns, original=packet.original_length)
    return found, replayer.flows.streams.counters()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not there")
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_the_bytes_are_those_that_tshark_follows(path):
    ours, counted = indicated(path)
    theirs = followed(path)
    assert any(side for sides in theirs.values() for side in sides)
    for (first, second), (forth, back) in theirs.items():
        assert ours.get((first, second), b"") == forth
        assert ours.get((second, first), b"") == back
    assert counted["inconsistent"] == counted["limit"] == counted["lost"] == 0
