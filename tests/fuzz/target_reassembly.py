"""TCP reassembly of one direction."""

from __future__ import annotations

from tests.oracle.reassembly import Reassembly
from wfpd.dataplane._reassembly import Reassembler


def reassemble_any(data: bytes) -> None:
    """Any segments: the same facts and bytes as the slow twin gives."""
    fast, slow = Reassembler(2**32 - 64, history=32, window=160), Reassembly(2**32 - 64, history=32, window=160)
    while len(data) >= 4:
        at, flags, length = data[0] - 32, data[1], data[2] & 63
        sequence, payload = (2**32 - 64 + slow.next + at) % 2**32, data[3 : 3 + length]
        given = {"syn": flags & 7 == 1, "fin": flags & 7 == 2, "take": flags & 8 != 0}
        assert fast.segment(sequence, payload, **given) == slow.segment(sequence, payload, **given)
        assert (fast.next, fast.fin) == (slow.next, slow.fin)
        data = data[3 + length :]


TARGETS = {"reassembly": reassemble_any}
