"""The ways to refuse a packet that the callouts shipped share."""

from __future__ import annotations

from typing import Any

from wfpd.callouts._packet import tcp_segment
from wfpd.model.layers import LAYERS

REFUSALS = ("block", "absorb", "reset", "tcp_reset", "icmp_unreachable")
"""absorb: dropped silently; reset: a TCP reset for TCP, an ICMP error for the rest."""

ANSWERS = ("continue", "permit", *REFUSALS)
STREAM = frozenset({"stream_v4", "stream_v6"})
"""Layers of bytes, not of packets: there a connection is allowed or dropped as a whole."""

WRITABLE = tuple(layer.name for layer in LAYERS if layer.served and not layer.twin and layer.name != "stream")
"""Where a packet can be changed: at discard layers it is blocked already, and at `stream` its bytes are asked about."""
ABSORBING = frozenset(layer.full_name(family) for layer in LAYERS if layer.absorb for family in (4, 6))
"""Where a block may be absorbed.  Elsewhere one without a reply is as silent on the wire, but discard layers see it."""


def refuse(c: Any, how: str, *, clear_right: bool = False) -> None:
    """Answer BLOCK in one of the ways of REFUSALS."""
    if how == "absorb":
        c.block(absorb=c.layer in ABSORBING, clear_right=clear_right)
    elif how == "block":
        c.block(clear_right=clear_right)
    elif how == "reset":
        c.block(reply="icmp_unreachable" if tcp_segment(c.packet) is None else "tcp_reset", clear_right=clear_right)
    else:
        c.block(reply=how, clear_right=clear_right)


def answer(c: Any, how: str) -> None:
    """Give one of ANSWERS to a packet."""
    if how == "continue":
        c.continue_()
    elif how == "permit":
        c.permit()
    else:
        refuse(c, how)


def is_last(c: Any) -> bool:
    """At stream: whether no more bytes can be asked for."""
    return not c.stream_flags.isdisjoint(("NO_MORE_DATA", "BUFFER_LIMIT_REACHED"))


def answer_stream(c: Any, how: str) -> None:
    """Give one of ANSWERS to a connection, once for all of its data; the layer resets both ends of a dropped one."""
    if how in REFUSALS:
        c.drop_connection()
    else:
        c.allow_connection()
