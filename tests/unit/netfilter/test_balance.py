"""The BPF program of `balance: flows`, run by an interpreter that knows only what it uses."""

from __future__ import annotations

import random
import struct

import pytest

from wfpd.netfilter.balance import Instruction, flow_match, share_program


def interpret(program: list[Instruction], packet: bytes) -> int:
    """Classic BPF by linux/filter.h; a load beyond the packet ends with 0, as in the kernel."""
    a = x = at = 0
    memory = [0] * 16
    loads = {0x20: (4, 0), 0x28: (2, 0), 0x30: (1, 0), 0x48: (2, 1)}
    while True:
        code, true, false, k = program[at]
        at += 1
        if code in loads:
            size, indexed = loads[code]
            start = k + (x if indexed else 0)
            if start + size > len(packet):
                return 0
            a = int.from_bytes(packet[start : start + size], "big")
        elif code == 0xB1:
            x = 4 * (packet[k] & 0xF)
        elif code == 0x02:
            memory[k] = a
        elif code == 0x61:
            x = memory[k]
        elif code == 0x60:
            a = memory[k]
        elif code == 0x0C:
            a = (a + x) & 0xFFFFFFFF
        elif code == 0x24:
            a = (a * k) & 0xFFFFFFFF
        elif code == 0x74:
            a >>= k
        elif code == 0x94:
            a %= k
        elif code == 0x15:
            at += true if a == k else false
        elif code == 0x45:
            at += true if a & k else false
        elif code == 0x06:
            return k
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


def packet(
    family: int, source: int, destination: int, ports: tuple[int, int], protocol: int = 6, fragment: int = 0
) -> bytes:
    tail = struct.pack("!HHI", *ports, 0)
    if family == 4:
        return (
            struct.pack("!BBHHHBBHII", 0x46, 0, 32, 0, fragment, 64, protocol, 0, source, destination)
            + b"\1\1\1\0"
            + tail
        )
    return (
        struct.pack("!IHBB", 6 << 28, 8, protocol, 64)
        + source.to_bytes(16, "big")
        + destination.to_bytes(16, "big")
        + tail
    )


def share_of(data: bytes, family: int, shares: int) -> int:
    """The first share whose program says yes; the last takes the rest."""
    for share in range(shares - 1):
        if interpret(list(share_program(family, share, shares)), data):
            return share
    return shares - 1


@pytest.mark.parametrize("family", [4, 6])
def test_both_directions_of_a_flow_have_one_share_and_ports_spread(family: int) -> None:
    chance = random.Random(1)
    counts = [0] * 4
    for _ in range(400):
        a, b = (chance.getrandbits(32 if family == 4 else 128) for _ in range(2))
        p, q = (chance.getrandbits(16) for _ in range(2))
        there, back = packet(family, a, b, (p, q)), packet(family, b, a, (q, p))
        assert share_of(there, family, 4) == share_of(back, family, 4)
    for port in range(1000, 1400):
        counts[share_of(packet(family, 1, 2, (port, 80)), family, 4)] += 1
    assert min(counts) > 60


@pytest.mark.parametrize("family", [4, 6])
def test_protocols_without_ports_go_by_addresses(family: int) -> None:
    shares = {share_of(packet(family, 1, 2, (port, 80), protocol=47), family, 4) for port in range(50)}
    assert len(shares) == 1


def test_all_fragments_of_a_datagram_go_by_addresses() -> None:
    first = {share_of(packet(4, 1, 2, (port, 80), 17, fragment=0x2000), 4, 4) for port in range(50)}
    later = share_of(packet(4, 1, 2, (7, 7), 17, fragment=185), 4, 4)
    assert first == {later}


def test_the_last_share_takes_the_rest_without_a_match() -> None:
    assert flow_match(4, 3, 4) == ""
    assert flow_match(6, 0, 2).startswith('-m bpf --bytecode "')
