"""One indication as a callout sees it: what is read of it.  What may be answered: `_context`."""

from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from libc.stdint cimport uint64_t

import ipaddress

from wfpd.model.fields import FIELD, FIELD_ALIASES
from wfpd.model.layers import BY_SLOT
from wfpd.model.metadata import metadata_of

from ._batch cimport Worker
from ._flow cimport flow_new_id
from ._parse cimport FRAGMENT_NONE, PacketView
from ._policy cimport FilterBrief
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport Visitor, visit_fill

_ACTIONS = (None, "permit", "block")
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_KINDS = {FILTER_CALLOUT_TERMINATING: "terminating", FILTER_CALLOUT_INSPECTION: "inspection",
          FILTER_CALLOUT_UNKNOWN: "unknown"}


class _Fields:
    """Fields of the layer by name, each read when it is asked for; what has them says which there are."""

    __slots__ = ("_context",)

    def __init__(self, context):
        self._context = context

    def __contains__(self, name):
        return name in self.keys()

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.keys())

    def items(self):
        """(name, value) of every field."""
        return [(name, self[name]) for name in self.keys()]


class Values(_Fields):
    """The layer's fields by name; None is FWP_EMPTY.  Valid while classify() runs.

    Integers are ints (host order), addresses `ipaddress` objects, texts str.
    """

    __slots__ = ()

    def __getitem__(self, name):
        return self._context.value(name)

    def keys(self):
        """Names of the layer's fields."""
        return self._context.field_names()

    def get(self, name, default=None):
        """The value, or `default` where the field is EMPTY or not the layer's."""
        value = self._context.value(name) if name in self else None
        return default if value is None else value


class Metadata(_Fields):
    """The layer's metadata fields by name (FWPS_METADATA_FIELD_*); None: absent.  Valid while classify() runs."""

    __slots__ = ()

    def __getitem__(self, name):
        return self._context.metadata_value(name)

    def keys(self):
        """Names of the layer's metadata fields."""
        return self._context.metadata_names()


def _let_go(view):
    try:
        view.release()
    except BufferError:
        pass                        # A slice was kept; it reads the receive buffer, whose memory stays valid.


cdef class Indication:
    """One indication: the packet, its filter and its flow.  One object serves all calls of a thread."""

    cdef int _forget_views(self) except -1:
        """What the callout keeps of them reads the receive buffer, whose memory stays valid."""
        if self.part is not None:
            _let_go(self.part)
            self.part = None
        if self.view is not None:
            _let_go(self.view)
            self.view = None
        return 0

    cdef Visitor* _live(self) except NULL:
        if self.visitor == NULL:
            raise RuntimeError("a callout's context is valid only while classify() runs")
        return self.visitor

    @property
    def action(self):
        """The action so far: None, 'permit' or 'block'."""
        return _ACTIONS[self._live().arbitration.action]

    @property
    def write_right(self):
        """Whether FWPS_RIGHT_ACTION_WRITE is set; if not, only a veto has an effect."""
        return self._live().arbitration.right != 0

    @property
    def filter(self):
        """Name of the filter that names this callout."""
        cdef Visitor* visitor = self._live()
        return self.snapshot.filter_name(visitor.arbitration.asked)

    @property
    def layer(self):
        """Name of the layer, `ipforward_v4`."""
        layer, family = BY_SLOT[self._live().slot]
        return layer.full_name(family)

    @property
    def packet(self):
        """The IP packet from its header on, read-only; a copy in replay and of what was parked."""
        cdef Visitor* visitor = self._live()
        if self.view is None and (self.worker == NULL or self.worker.resumed_ns):
            # Replay's bytes and what was parked are freed after the visit.
            self.view = memoryview((<const char*>visitor.view.data)[:visitor.view.captured])
        elif self.view is None:
            self.view = PyMemoryView_FromMemory(<char*>visitor.view.data, visitor.view.captured, PyBUF_READ)
        return self.view

    @property
    def values(self):
        """The layer's fields by name (None = EMPTY)."""
        self._live()
        return Values(self)

    def field_names(self):
        """Names of the layer's fields."""
        return BY_SLOT[self._live().slot][0].fields

    def value(self, name):
        """One field's value; KeyError if the layer has no such field."""
        cdef Visitor* visitor = self._live()
        cdef uint64_t needed[2]
        layer, family = BY_SLOT[visitor.slot]
        name = dict(layer.aliases).get(name, FIELD_ALIASES.get(name, name))
        if name not in layer.fields:
            raise KeyError(name)
        field = FIELD[name]
        cdef unsigned int id_ = field.id
        needed[0] = needed[1] = 0
        needed[id_ >> 6] = (<uint64_t>1) << (id_ & 63)
        visit_fill(visitor, needed)
        if not value_present(&visitor.values, id_):
            return None
        if field.type.is_text:
            return (<const char*>visitor.values.hi[id_])[:visitor.values.lo[id_]].decode(errors="surrogateescape")
        if field.is_address:
            if family == 4:
                return ipaddress.IPv4Address(visitor.values.lo[id_])
            return ipaddress.IPv6Address((int(visitor.values.hi[id_]) << 64) | visitor.values.lo[id_])
        return visitor.values.lo[id_]

    # ------------------------------------------------------------------------------- the filter

    @property
    def kind(self):
        """The filter's action: 'terminating', 'inspection' or 'unknown'."""
        return _KINDS[self.snapshot.policy.briefs[self._live().arbitration.asked].action]

    @property
    def clear_action_right(self):
        """Whether the filter has the flag clear_action_right: a permit then is to clear the right."""
        return self.snapshot.policy.briefs[self._live().arbitration.asked].flags & FLAG_CLEAR_ACTION_RIGHT != 0

    @property
    def filter_context(self):
        """What notify() has set for the filter, or None."""
        return self.snapshot.root.filter_contexts.get(self._live().arbitration.asked)

    @property
    def provider_context(self):
        """The data of the filter's provider context, or None."""
        return self.snapshot.provider_context(self._live().arbitration.asked)

    @property
    def error_word(self):
        """What the filter's on_error says, 'permit' or 'block'."""
        cdef const FilterBrief* item = &self.snapshot.policy.briefs[self._live().arbitration.asked]
        word = item.on_error if item.on_error != WORD_DEFAULT else self.snapshot.policy.on_error
        return "block" if word == WORD_BLOCK else "permit"

    @property
    def late_ns(self):
        """CLOCK_MONOTONIC in ns at which on_late decides the packet; None in replay, which knows it by the clock."""
        self._live()
        return None if self.worker == NULL else self.worker.received_ns + self.worker.shared.late_after_ns

    # ------------------------------------------------------------------------------- the packet

    @property
    def now_ns(self):
        """When the packet was received: nanoseconds of the monotonic clock, in replay of the capture's own."""
        return self._live().input.now_ns

    @property
    def hook(self):
        """Name of the hook, 'input'."""
        return _HOOKS[self._live().input.hook]

    @property
    def direction(self):
        """'inbound', 'outbound', or None for what is forwarded."""
        cdef Visitor* visitor = self._live()
        if visitor.input.hook == HOOK_FORWARD:
            return None
        return "outbound" if visitor.outbound else "inbound"

    @property
    def payload(self):
        """What follows the transport header, as far as it was handed over, read-only, without a copy; empty if nothing."""
        cdef Visitor* visitor = self._live()
        cdef uint64_t first = visitor.view.payload_offset, end
        if self.part is None:
            end = min(first + visitor.view.payload_length, <uint64_t>visitor.view.captured)
            self.part = self.packet[first:end] if first and visitor.view.status == 0 else self.packet[:0]
        return self.part

    @property
    def payload_offset(self):
        """Where `payload` begins in `packet`; None if nothing of it is known."""
        return self._live().view.payload_offset or None

    def scapy(self):
        """A copy of the packet as Scapy sees it; dear: tens of microseconds."""
        cdef Visitor* visitor = self._live()
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6
        return (IPv6 if visitor.view.family == 6 else IP)(bytes(self.packet))

    @property
    def metadata(self):
        """The layer's metadata by name (None: absent)."""
        self._live()
        return Metadata(self)

    def metadata_names(self):
        """Names of the layer's metadata fields."""
        return metadata_of(BY_SLOT[self._live().slot][0].name)

    def metadata_value(self, name):
        """One field; KeyError if the layer has no such one."""
        self._live()
        if name not in self.metadata_names():
            raise KeyError(name)
        return self._meta(name)

    cdef object _meta(self, str name):
        cdef Visitor* visitor = self.visitor
        cdef const PacketView* view = &visitor.view
        if name == "flow_handle":
            return self.flow_id
        if name == "ip_header_size":
            return view.transport_offset or None
        if name == "transport_header_size":
            return view.payload_offset - view.transport_offset if view.payload_offset and view.transport_offset else None
        if name == "compartment_id":
            return visitor.host.compartment or None if visitor.host != NULL else None
        if name == "packet_direction":
            return self.direction
        if name == "ale_classify_required":
            return bool(visitor.tracked and (not visitor.flow_known or visitor.reauthorizing))
        if name == "source_interface_index":
            return visitor.input.in_interface or None
        if name == "destination_interface_index":
            return visitor.input.out_interface or None
        if name == "discard_reason":
            return ("general", "firewall_policy")
        if name == "icmp_id_and_sequence":
            at = view.transport_offset
            known = view.has_icmp_id and at + 8 <= view.captured
            return (view.icmp_id, int.from_bytes(self.packet[at + 6:at + 8], "big")) if known else None
        if name == "fragment_data":
            return _fragment(self.packet, view.family) if view.fragment != FRAGMENT_NONE else None
        return None                 # Of what Linux does not tell.

    # --------------------------------------------------------------------------------- the flow

    cdef uint64_t _flow(self) except? 0:
        """The flow's id, 0 without one; a flow that this packet is about to make gets its id here."""
        cdef Visitor* visitor = self._live()
        if not visitor.tracked:
            return 0
        if visitor.pending.id == 0:
            visitor.pending.id = flow_new_id(visitor.flows)
        return visitor.pending.id

    cdef object _item(self):
        """What is registered for the callout that is called."""
        return self.snapshot.root.callouts[self.snapshot.policy.briefs[self._live().arbitration.asked].callout]

    @property
    def flow_id(self):
        """The flow's id, also of one that this packet is about to make; None where no flow is kept."""
        return self._flow() or None


def _fragment(packet, family):
    """(identification, offset in bytes, whether more follow)."""
    if family == 4:
        word = int.from_bytes(packet[6:8], "big")
        return int.from_bytes(packet[4:6], "big"), (word & 0x1FFF) * 8, bool(word & 0x2000)
    kind, at = packet[6], 40
    while kind in (0, 43, 60, 51) and at + 8 <= len(packet):    # What may stand before the fragment header.
        size = (packet[at + 1] + 2) * 4 if kind == 51 else (packet[at + 1] + 1) * 8
        kind, at = packet[at], at + size
    if kind != 44 or at + 8 > len(packet):
        return None
    word = int.from_bytes(packet[at + 2:at + 4], "big")
    return int.from_bytes(packet[at + 4:at + 8], "big"), word & 0xFFF8, bool(word & 1)
