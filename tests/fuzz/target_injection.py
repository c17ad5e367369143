"""What the injection helper is ordered to send, and what callouts want to inject."""

from __future__ import annotations

from wfpd.dataplane._modify import completed
from wfpd.errors import ActionRefused
from wfpd.injection import wire
from wfpd.injection.handles import identity


def injection_order(data: bytes) -> None:
    """Any bytes: an order that is these bytes again and has one whole IP packet, or a ValueError."""
    try:
        order = wire.decode(data)
    except ValueError:
        return
    assert order.encode() == data
    assert wire.whole_length(order.packet) == len(order.packet) and identity(order.packet) is not None


def completed_packet(data: bytes) -> None:
    """Any bytes: refused, or an IP packet of the same length that an order takes, the same when completed again."""
    try:
        packet = completed(data)
    except ActionRefused:
        return
    assert len(packet) == len(data) and completed(packet) == packet
    assert wire.decode(wire.Order(packet, 1).encode()).packet == packet


TARGETS = {"injection_order": injection_order, "completed_packet": completed_packet}
