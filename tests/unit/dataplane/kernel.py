"""A socket whose other end plays the kernel: what the real one cannot be made to say when asked."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import IP, UDP

from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._table import Snapshot

QUEUE = 3
PARKING = 4
PACKET, ERROR, VERDICT, BATCH = 0x0300, 2, 0x0301, 0x0303
DROP, ACCEPT = 0, 1
INPUT, FORWARD = 1, 2
TO_PARKING, BYPASS = 3 | PARKING << 16, 0x8000
"""NF_QUEUE, and its flag where on_error says permit."""


def message(kind: int, body: bytes, *, sequence: int = 0) -> bytes:
    """A netlink message."""
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute, padded."""
    raw = struct.pack("=HH", 4 + len(value), kind) + value
    return raw + bytes(-len(raw) % 4)


def packet(number: int, port: int = 5000, *, mark: int | None = None, more: bytes = b"", size: int = 0,
           data: bytes | None = None, queue: int = QUEUE, hook: int = FORWARD) -> bytes:  # fmt: skip
    """A UDP packet at the hook as the kernel tells of it."""
    data = data or bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=9, dport=port) / bytes(size))
    attributes = attribute(1, struct.pack(">IHB", number, 0x0800, hook))
    if mark is not None:
        attributes += attribute(3, struct.pack(">I", mark))
    return message(PACKET, struct.pack(">BBH", 2, 0, queue) + attributes + attribute(10, data) + more)


def refusal(error: int, kind: int) -> bytes:
    """The kernel's answer to a verdict that it could not give."""
    return message(ERROR, struct.pack("=i", -error) + struct.pack("=IHHII", 32, kind, 1, 0, 0))


class Kernel:
    """The other end of a queue's socket."""

    def __init__(self) -> None:
        self.sock, self.end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(5)
        self.sends: list[int] = []
        self.parking: Kernel | None = None

    def say(self, *messages: bytes) -> None:
        """One datagram."""
        self.sock.send(b"".join(messages))

    def hear(self) -> list[tuple[int, int, int]]:
        """(kind, verdict, id) of one send."""
        raw = self.sock.recv(1 << 17)
        self.sends.append(len(raw))
        found = []
        while raw:
            length, kind = struct.unpack_from("=IH", raw)
            verdict, number = struct.unpack_from(">II", raw, 24)
            found.append((kind, verdict, number))
            raw = raw[length:]
        return found


@contextlib.contextmanager
def serving(tmp_path: pathlib.Path, *, faults: str = "{}", callout: Any = None, batch: int = 64, parks: bool = False,
            late_after: float = 30, layer: str = "ipforward_v4") -> Iterator[Any]:  # fmt: skip
    """(engine, kernel): a worker that blocks port 5001, or asks a callout about everything.

    With `parks` there is a parking queue, of which `kernel.parking` is the other end.
    """
    action = "{callout: c}" if callout else "block"
    when = "" if callout else ", when: {ip_destination_port: 5001}"
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"version: 1\nfaults: {faults}\n" + ("callouts: [{name: c}]\n" if callout else "")
        + f"filters: [{{name: one, layer: {layer}, action: {action}{when}}}]\n"
    )  # fmt: skip
    policy = load_policy(str(path), trust="warn")
    words = {name: getattr(policy.faults, name) for name in ("on_error", "on_malformed", "on_late")}
    engine, kernel = Engine(1, batch=batch, late_after=late_after), Kernel()
    engine.swap(Snapshot(pack(policy), [callout] if callout else [], generation=1, flows_full=1, **words))
    engine.add_queue(QUEUE, 0, kernel.end.fileno(), "forward" if layer == "ipforward_v4" else "input")
    threads = [threading.Thread(target=engine.run_worker, args=(0,), daemon=True)]
    if parks:
        kernel.parking = Kernel()
        engine.add_parking(PARKING, kernel.parking.end.fileno(), capacity=64)
        threads.append(threading.Thread(target=engine.run_parking, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield engine, kernel, threads[0]
    finally:
        engine.stop()
        for thread in threads:
            thread.join(5)
        assert {state for state, _ in engine.progress()} == {"stopped"}
        for one in (kernel, kernel.parking):
            if one is not None:
                one.sock.close()
                one.end.close()
