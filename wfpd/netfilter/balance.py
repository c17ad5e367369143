"""`balance: flows` on iptables: a packet's share of the queues by addresses and ports, as classic BPF.

HMARK would overwrite the packet's whole mark, the bits of others included; the kernel's own
balance hash knows no ports.  The hash is symmetric, so both directions of a flow meet on one
queue.  Only TCP, UDP, UDP-Lite, SCTP and DCCP without IPv6 extension headers, and no fragment
of IPv4, have ports here; all else is spread by addresses.
"""

from __future__ import annotations

from collections.abc import Sequence

# linux/filter.h: class | size | mode, or class | operation | source.
_LD_W_ABS, _LD_H_ABS, _LD_B_ABS = 0x20, 0x28, 0x30
_LD_H_IND, _LDX_B_MSH = 0x48, 0xB1
_ST, _LDX_MEM, _LDX_IMM, _LD_MEM = 0x02, 0x61, 0x01, 0x60
_ADD_X, _MUL_K, _MOD_K, _RSH_K, _XOR_X = 0x0C, 0x24, 0x94, 0x74, 0xAC
_JEQ_K, _JSET_K = 0x15, 0x45
_RET_K = 0x06
_PORT_PROTOCOLS = (6, 17, 136, 132, 33)
_GOLDEN = 0x9E3779B1
"""Knuth's multiplicative hash: spreads neighbouring ports over all shares."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


def flow_match(family: int, share: int, shares: int) -> str:
    """The match for one share of `shares`, with its blank behind; "" for the last, which takes the rest."""
    if share == shares - 1:
        return ""
    program = share_program(family, share, shares)
    text = ",".join(" ".join(map(str, instruction)) for instruction in program)
    return f'-m bpf --bytecode "{len(program)},{text}" '


def share_program(family: int, share: int, shares: int) -> Sequence[Instruction]:
    """Returns 1 if the packet's hash modulo `shares` is `share`, else 0."""
    addresses = (12, 16) if family == 4 else tuple(range(8, 40, 4))
    head: list[Instruction] = [(_LD_W_ABS, 0, 0, addresses[0])]
    for offset in addresses[1:]:
        # A = X + A, symmetric in source and destination.
        head += [(_ST, 0, 0, 0), (_LDX_MEM, 0, 0, 0), (_LD_W_ABS, 0, 0, offset), (_ADD_X, 0, 0, 0)]
    head.append((_ST, 0, 0, 0))
    ports = _ports(family)
    tail: list[Instruction] = [
        (_LD_MEM, 0, 0, 0),
        (_MUL_K, 0, 0, _GOLDEN),
        (_RSH_K, 0, 0, 16),
        (_MOD_K, 0, 0, shares),
        (_JEQ_K, 0, 1, share),
        (_RET_K, 0, 0, 1),
        (_RET_K, 0, 0, 0),
    ]
    return [*head, *ports, *tail]


def _ports(family: int) -> list[Instruction]:
    """M[0] += source port + destination port, where the packet has ports."""
    if family == 4:
        # X = header length; both ports lie behind it.
        add: list[Instruction] = [(_LDX_B_MSH, 0, 0, 0), (_LD_H_IND, 0, 0, 0), (_ST, 0, 0, 1), (_LD_H_IND, 0, 0, 2)]
    else:
        add = [(_LD_H_ABS, 0, 0, 40), (_ST, 0, 0, 1), (_LD_H_ABS, 0, 0, 42)]
    add += [(_LDX_MEM, 0, 0, 1), (_ADD_X, 0, 0, 0), (_LDX_MEM, 0, 0, 0), (_ADD_X, 0, 0, 0), (_ST, 0, 0, 0)]
    tests: list[Instruction] = [(_LD_B_ABS, 0, 0, 9 if family == 4 else 6)]
    n = len(_PORT_PROTOCOLS)
    fragment: list[Instruction] = []
    if family == 4:
        # More fragments or an offset: all parts go by addresses alone.
        fragment = [(_LD_H_ABS, 0, 0, 6), (_JSET_K, len(add), 0, 0x3FFF)]
    for index, protocol in enumerate(_PORT_PROTOCOLS):
        last = index == n - 1
        tests.append((_JEQ_K, n - 1 - index, len(fragment) + len(add) if last else 0, protocol))
    return tests + fragment + add
