"""Calling a Python callout: what it sees, what it may answer, and what an exception means."""

from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ, PyBuffer_FillInfo
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import ipaddress
import time

from wfpd.errors import ActionRefused
from wfpd.model.fields import FIELD, FIELD_ALIASES, FIELDS
from wfpd.errors import FwpError
from wfpd.model.layers import BY_SLOT, slot_name
from wfpd.model.metadata import metadata_of

from ._arbitrate cimport (
    ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, ANSWER_SKIP, STREAM_ALLOW_CONNECTION, STREAM_DEFER,
    STREAM_DROP_CONNECTION, STREAM_NEED_MORE, CalloutAnswer, answer_on_error,
)
from ._budget cimport (
    ADMITTED, SUSPENDED, Admission, CalloutSlot, watch_admits, watch_took, wfpd_budget_clock, wfpd_budget_write,
)
from ._batch cimport Worker
from ._flow cimport FlowKey, flow_is, flow_new_id
from ._flow_contexts cimport FlowContexts, contexts_flow_ended
from ._modify cimport MODIFY_OK, modify_replace, modify_write
from ._netlink cimport QueuedPacket
from ._modify import completed, refusal
from ._parking cimport ParkedPacket, Parking, parked_new
from ._parse cimport FRAGMENT_NONE, PacketView
from ._policy cimport CALLOUT_CONDITIONAL, CALLOUT_PASSES, FilterBrief
from ._reassembly cimport half_part_with_block, pool_give
from ._streams cimport Streams
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport (
    STREAM_FLAG_BUFFER_LIMIT, STREAM_FLAG_NO_MORE_DATA, STREAM_FLAG_RECEIVE, STREAM_FLAG_RECEIVE_ABORT,
    STREAM_FLAG_RECEIVE_DISCONNECT, STREAM_FLAG_RECEIVE_EXPEDITED, STREAM_FLAG_SEND, STREAM_FLAG_SEND_ABORT,
    STREAM_FLAG_SEND_DISCONNECT, STREAM_FLAG_SEND_EXPEDITED, GivenAnswer, MAX_ANSWERS, Visitor, visit_fill, visit_reauthorizes,
)

cdef enum:
    MOST_JOINED = 8192              # Then what is decided is looked for and let go.

_ACTIONS = (None, "permit", "block")
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_KINDS = {FILTER_CALLOUT_TERMINATING: "terminating", FILTER_CALLOUT_INSPECTION: "inspection",
          FILTER_CALLOUT_UNKNOWN: "unknown"}
_SLOTS = {slot_name(slot): slot for slot in BY_SLOT}
_REPLIES = {None: 0, "none": 0, "tcp_reset": 1, "icmp_unreachable": 2}

_STREAM_FLAGS = (
    (STREAM_FLAG_RECEIVE, "RECEIVE"), (STREAM_FLAG_RECEIVE_EXPEDITED, "RECEIVE_EXPEDITED"),
    (STREAM_FLAG_RECEIVE_DISCONNECT, "RECEIVE_DISCONNECT"), (STREAM_FLAG_RECEIVE_ABORT, "RECEIVE_ABORT"),
    (STREAM_FLAG_SEND, "SEND"), (STREAM_FLAG_SEND_EXPEDITED, "SEND_EXPEDITED"),
    (STREAM_FLAG_SEND_DISCONNECT, "SEND_DISCONNECT"), (STREAM_FLAG_SEND_ABORT, "SEND_ABORT"),
    (STREAM_FLAG_NO_MORE_DATA, "NO_MORE_DATA"), (STREAM_FLAG_BUFFER_LIMIT, "BUFFER_LIMIT_REACHED"),
)


cdef class StreamBytes:
    """Exports the bytes of an indication, and keeps count of the views."""

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void*>self.data, self.length, 1, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer* buffer):
        self.exports -= 1

    def __dealloc__(self):
        if self.block != NULL:
            pool_give(&self.streams.table.pool, self.block, self.block_class)


cdef class DeferredStream:
    """An inbound stream of which nothing passes; may be kept and resumed by any thread."""

    def __init__(self):
        raise TypeError("a deferred stream comes from a callout's defer()")

    def resume(self) -> bool:
        """Ask the callouts again when the peer sends again, as it does; False if it is resumed or over."""
        return self.streams.resume(self.flow_id, False)


class Values:
    """The layer's fields by name; None is FWP_EMPTY.  Valid while classify() runs.

    Integers are ints (host order), addresses `ipaddress` objects, texts str.
    """

    __slots__ = ("_context",)

    def __init__(self, context):
        self._context = context

    def __getitem__(self, name):
        return self._context.value(name)

    def __contains__(self, name):
        return name in self.keys()

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.keys())

    def keys(self):
        """Names of the layer's fields."""
        return self._context.field_names()

    def get(self, name, default=None):
        """The value, or `default` where the field is EMPTY or not the layer's."""
        value = self._context.value(name) if name in self else None
        return default if value is None else value

    def items(self):
        """(name, value) of every field."""
        return [(name, self[name]) for name in self.keys()]


class Metadata:
    """The layer's metadata fields by name (FWPS_METADATA_FIELD_*); None: absent.  Valid while classify() runs."""

    __slots__ = ("_context",)

    def __init__(self, context):
        self._context = context

    def __getitem__(self, name):
        return self._context.metadata_value(name)

    def __contains__(self, name):
        return name in self.keys()

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.keys())

    def keys(self):
        """Names of the layer's metadata fields."""
        return self._context.metadata_names()

    def items(self):
        """(name, value) of every field."""
        return [(name, self[name]) for name in self.keys()]


def _drop_decided(dict joined):
    cdef ParkedPacket handle
    for key, handle in list(joined.items()):
        if not handle.open():
            joined.pop(key, None)


def _let_go(view):
    try:
        view.release()
    except BufferError:
        pass                        # A slice was kept; it reads the receive buffer, whose memory stays valid.


cdef class ClassifyContext:
    """One indication, as a callout sees it.  One object serves all calls of a thread."""

    def __cinit__(self):
        self.visitor = NULL
        self.worker = NULL
        self.errors = {}
        self.durations = {}
        self.injections = None
        self.on_error = None
        self.joined = {}

    cdef ParkedPacket call(self, Visitor* visitor, Snapshot snapshot, CalloutAnswer* answer):
        cdef const FilterBrief* item = &snapshot.policy.briefs[visitor.arbitration.asked]
        cdef const CalloutSlot* slot = &snapshot.policy.callout_slots[item.callout]
        cdef Admission admission = ADMITTED
        cdef uint64_t began = 0
        cdef ParkedPacket parked
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.enforced = 0
        self.visitor = visitor
        self.snapshot = snapshot
        self.stream_bytes = None
        if snapshot.policy.callout_registered[item.callout] & CALLOUT_CONDITIONAL and self.flow_context is None:
            answer[0] = self.answer
            answer.kind = ANSWER_SKIP
            self._release()
            return None
        if visitor.input.mark and visitor.input.has_mark and self.injections is not None and self._passes_own(answer):
            self._release()
            return None
        if self.worker != NULL and slot.budget_ns:
            began = wfpd_budget_clock()
            admission = watch_admits(slot, began)
            if admission == SUSPENDED:
                answer_on_error(&snapshot.policy, visitor.arbitration.asked, answer)
                self._release()
                return None
            visitor.called = slot
            wfpd_budget_write(&visitor.called_ns, began)
        started = time.perf_counter_ns()
        name = snapshot.callout_name(item.callout)
        try:
            if not self._settled_elsewhere():
                snapshot.root.calls[item.callout](self)
        except BaseException as error:  # Whatever it is, the packet needs a verdict.
            if self.parked is not None:
                self._forget_parked()
            self.failed(name, error)
            answer_on_error(&snapshot.policy, visitor.arbitration.asked, &self.answer)
        self._timed(name, time.perf_counter_ns() - started)
        if began:
            wfpd_budget_write(&visitor.called_ns, 0)
            watch_took(slot, admission, began, wfpd_budget_clock())
        if self.stream_bytes is not None:
            self._release_stream()
        answer[0] = self.answer
        answer.enforced = 0 if self.answer.failed else self.enforced
        parked, self.parked = self.parked, None
        self._release()
        return parked

    def failed(self, name, error):
        """Count an exception of a callout, and tell of it."""
        self.errors[name] = self.errors.get(name, 0) + 1
        if self.on_error is not None:
            try:
                self.on_error(name, error)
            except Exception:
                self.errors[name] += 1  # A logger that fails must not lose the packet.

    def _timed(self, name, nanoseconds):
        entry = self.durations.get(name)
        if entry is None:
            entry = self.durations[name] = [0, 0, [0] * 24]
        entry[0] += 1
        entry[1] += nanoseconds
        entry[2][min(23, max(0, (nanoseconds - 1).bit_length() - 8))] += 1

    cdef int _release(self) except -1:
        self.visitor = NULL
        self.snapshot = None
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
        """The IP packet from its header on, read-only, without a copy."""
        cdef Visitor* visitor = self._live()
        if self.view is None:
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

    def permit(self, *, bint clear_right=False):
        """Answer PERMIT; with `clear_right` it is hard."""
        self._live()
        self.answer.kind = ANSWER_PERMIT
        self.answer.stream_action = 0
        self.answer.clear_right = clear_right
        self.answer.absorb = 0
        self.answer.reply = 0

    def block(self, *, bint clear_right=False, bint absorb=False, reply=None, reset_both=None):
        """Answer BLOCK; `absorb` hides it, `reply` is 'tcp_reset' or 'icmp_unreachable'.

        `reset_both`, with tcp_reset: the flow is cut, and its other end is reset by its own next packet.  By
        default it is, unless the packet opens the flow.
        """
        cdef Visitor* visitor = self._live()
        if reply not in _REPLIES:
            raise ValueError(f"reply={reply!r}: one of none, tcp_reset, icmp_unreachable")
        if absorb and not BY_SLOT[visitor.slot][0].absorb:
            raise ValueError(f"absorb is not possible at {self.layer} (FWP_E_INVALID_PARAMETER)")
        if absorb and _REPLIES[reply]:
            raise ValueError("an absorbed packet gets no reply (FWP_E_INVALID_PARAMETER)")
        if reset_both and reply != "tcp_reset":
            raise ValueError("reset_both goes with reply='tcp_reset'")
        self.answer.kind = ANSWER_BLOCK
        self.answer.stream_action = 0
        self.answer.clear_right = clear_right
        self.answer.absorb = absorb
        self.answer.reply = _REPLIES[reply]
        self.answer.cut = _REPLIES[reply] == REPLY_TCP_RESET and (reset_both is None or bool(reset_both))

    def pend(self):
        """Take the packet out of its queue, to be decided later by the handle's complete(); returns the handle.

        What else the callout answers in this call means nothing: its answer is what complete() says, and the visit goes
        on with it.  The packet waits at most `late_after`, counted from its receipt; then on_late decides it.  Raises
        FwpError STATUS_FWP_CANNOT_PEND in a reauthorization and at ale_flow_established, and RuntimeError where nothing
        can be parked: the callout does not say `parks = True`, there is no live queue, the packet is blocked
        already (at a discard layer) or modified, or as many packets or bytes as the parking queue holds are parked.
        """
        cdef Visitor* visitor = self._live()
        if self.parked is not None:
            return self.parked
        if visitor.layer == LAYER_STREAM:
            raise RuntimeError("pend(): at the stream layer bytes wait, not packets: need_more() or defer()")
        if self.replay_room == 0 and (self.parking is None or self.worker == NULL):
            raise RuntimeError("pend() needs a live queue, and a callout that says `parks = True`")
        if visitor.in_twin:
            raise RuntimeError("pend(): the packet is blocked already")
        if visitor.n_edited:
            raise RuntimeError("pend(): the packet is modified, and what waits comes back as it was")
        if visitor.layer == LAYER_ALE_FLOW_ESTABLISHED or visit_reauthorizes(visitor):
            raise FwpError("STATUS_FWP_CANNOT_PEND", "pend(): only the first authorization of a flow can wait")
        if visitor.n_answered >= MAX_ANSWERS:
            raise RuntimeError(f"pend(): {int(MAX_ANSWERS)} callouts have been asked about this packet")
        self.parked = self._park()
        if visitor.layer in (LAYER_ALE_AUTH_CONNECT, LAYER_ALE_AUTH_RECV_ACCEPT):
            if len(self.joined) >= MOST_JOINED:
                _drop_decided(self.joined)
            self.joined[self._authorization()] = self.parked
        return self.parked

    cdef ParkedPacket _park(self):
        """A handle of the packet, which has a place; RuntimeError if there is none."""
        cdef Decision decision
        cdef Visitor* visitor = self.visitor
        cdef const FilterBrief* item = &self.snapshot.policy.briefs[visitor.arbitration.asked]
        cdef ParkedPacket handle = parked_new(visitor, self.snapshot)
        if self.replay_room:
            if self.replay_room == 1:
                raise RuntimeError("as many packets as may be are parked")
            return handle
        memset(&decision, 0, sizeof(decision))
        decision.filter = visitor.arbitration.asked
        decision.callout = item.callout
        decision.slot = item.slot
        if not self.parking.take(handle, self.worker, &decision):
            raise RuntimeError("the parking queue is full")
        return handle

    cdef bytes _authorization(self):
        """What names the authorization that is asked for: the flow, and the filter in this policy."""
        cdef Visitor* visitor = self.visitor
        cdef uint64_t generation = self.snapshot.policy.generation
        return ((<const char*>&visitor.key)[:sizeof(FlowKey)] + (<const char*>&generation)[:sizeof(uint64_t)]
                + (<const char*>&visitor.arbitration.asked)[:sizeof(uint32_t)])

    cdef bint _settled_elsewhere(self) except -1:
        """Whether the callout need not be asked: complete() has given its answer, or waits for another packet of the flow."""
        cdef Visitor* visitor = self.visitor
        cdef ParkedPacket leader
        cdef ParkedPacket resumed = self.resumed
        cdef const GivenAnswer* last
        if resumed is not None and resumed.packet is not None:
            last = &resumed.resume.answers[resumed.resume.n - 1]
            if last.filter == visitor.arbitration.asked and not visitor.in_twin:
                self.modify(resumed.packet)
                self.answer = last.answer
                return True
        if not self.joined or visitor.in_twin or visitor.n_answered >= MAX_ANSWERS or visit_reauthorizes(visitor) or (
                visitor.layer != LAYER_ALE_AUTH_CONNECT and visitor.layer != LAYER_ALE_AUTH_RECV_ACCEPT):
            return False
        key = self._authorization()
        leader = self.joined.get(key)
        if leader is None:
            return False
        if not leader.open():
            self.joined.pop(key, None)
            return False
        if visitor.n_edited:
            raise RuntimeError("a packet of a flow whose authorization is parked is modified: it cannot wait")
        self.parked = self._park()
        self.parked.follow(leader)
        return True

    cdef int _forget_parked(self) except -1:
        if self.parked.parking is not None:
            self.parked.parking.forget(self.parked)
        self.parked.decided = True
        self.parked = None
        return 0

    def continue_(self, *, bint clear_right=False):
        """Answer CONTINUE: no decision.  `clear_right` has no effect without one."""
        self._live()
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.answer.kind = ANSWER_CONTINUE
        self.answer.clear_right = clear_right

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

    @property
    def flow_context(self):
        """What this callout keeps with the flow for this layer, or None."""
        cdef Visitor* visitor = self._live()
        cdef FlowContexts contexts
        if not visitor.tracked or visitor.pending.id == 0 or visitor.flows.contexts.n == 0:
            return None
        contexts = <FlowContexts><object>visitor.flows.contexts.owner
        return contexts.of(visitor.pending.id, visitor.slot, getattr(self._item(), "number", 0))

    def set_flow_context(self, layer, value):
        """Keep `value` with the flow, for this callout at `layer` (with or without its family).

        FwpError: FWP_E_INVALID_PARAMETER (no such layer, None, or the class has no flow_delete), FWP_E_NOT_FOUND (no
        flow is kept), FWP_E_ALREADY_EXISTS (remove the other one first), FWP_E_OUT_OF_BOUNDS (there are too many).
        """
        cdef Visitor* visitor = self._live()
        cdef uint64_t flow_id
        slot = self._slot_named(layer)
        item = self._item()
        if value is None or getattr(item, "flow_delete", None) is None:
            raise FwpError("FWP_E_INVALID_PARAMETER", "a flow context is not None, and needs a class with flow_delete")
        flow_id = self._flow()
        if flow_id == 0:
            raise FwpError("FWP_E_NOT_FOUND", "no flow is kept for this packet",
                           hint="flows are kept at input and output where a filter is at an ALE layer")
        contexts = <object>visitor.flows.contexts.owner
        status = contexts.add(flow_id, slot, item, value)
        if status == "exists":
            raise FwpError("FWP_E_ALREADY_EXISTS", f"this callout has a context for the flow at {slot_name(slot)}")
        if status == "full":
            raise FwpError("FWP_E_OUT_OF_BOUNDS", f"there are {contexts.capacity} flow contexts")
        if not visitor.flow_known:
            self.provisional = flow_id
        elif not flow_is(visitor.flows, &visitor.key, visitor.flow_hash, flow_id):
            contexts_flow_ended(visitor.flows.contexts, flow_id)    # Another worker has ended it meanwhile.

    def remove_flow_context(self, layer):
        """Let the context go; flow_delete is told of it soon, by another thread.  FwpError FWP_E_NOT_FOUND: there is none."""
        cdef Visitor* visitor = self._live()
        slot = self._slot_named(layer)
        flow_id = self._flow()
        if not flow_id or not (<object>visitor.flows.contexts.owner).remove(flow_id, slot, getattr(self._item(), "number", 0)):
            raise FwpError("FWP_E_NOT_FOUND", f"this callout has no context for the flow at {slot_name(slot)}")

    def _slot_named(self, layer):
        found = _SLOTS.get(layer)
        if found is None:
            base = str(layer)
            family = "_v6" if self._live().slot & 1 else "_v4"
            if base.endswith("_discard"):
                base, family = base.removesuffix("_discard"), family + "_discard"
            found = _SLOTS.get(base + family)
        if found is None:
            raise FwpError("FWP_E_INVALID_PARAMETER", f"there is no layer {layer!r}")
        return found

    cdef int settle_flow(self, Visitor* visitor) except -1:
        cdef uint64_t flow_id = self.provisional
        if flow_id == 0:
            return 0
        self.provisional = 0
        if not flow_is(visitor.flows, &visitor.key, visitor.flow_hash, flow_id):
            contexts_flow_ended(visitor.flows.contexts, flow_id)
        return 0

    cdef int keep_flow(self, Visitor* visitor, ParkedPacket parked) except -1:
        if self.provisional or visitor.provisional:
            parked.resume.flow_id = self.provisional or visitor.provisional
            parked.resume.provisional = 1
            self.provisional = visitor.provisional = 0
        return 0

    # ------------------------------------------------------------------------------- modifying

    cdef int _modified(self, int status) except -1:
        if status != MODIFY_OK:
            message, hint = refusal(status)
            raise ActionRefused(f"the packet cannot be modified: {message}", hint=hint)
        if self.part is not None:   # What is kept of them reads the bytes before.
            _let_go(self.part)
            self.part = None
        if self.view is not None:
            _let_go(self.view)
            self.view = None
        return 0

    def modify(self, const uint8_t[::1] packet not None):
        """The packet becomes these bytes, from the IP header on; lengths and checksums are set.

        What is asked after this callout sees the new packet, and it is written back if it is permitted.
        Raises ActionRefused, with what to do instead, and leaves the packet as it was: docs/actions.md.
        """
        cdef Visitor* visitor = self._live()
        cdef uint8_t nothing = 0
        self._modified(modify_replace(visitor, &packet[0] if packet.shape[0] else &nothing,
                                      <uint32_t>min(packet.shape[0], 0xFFFFFFFF)))

    def write(self, offset, const uint8_t[::1] data not None):
        """The packet has these bytes at `offset` from the IP header; as modify()."""
        cdef Visitor* visitor = self._live()
        cdef uint8_t nothing = 0
        if offset < 0:
            raise ValueError("write(): offsets count from the IP header's first byte, from 0 on")
        self._modified(modify_write(visitor, <uint32_t>min(offset, 0xFFFFFFFF), &data[0] if data.shape[0] else &nothing,
                                    <uint32_t>min(data.shape[0], 0xFFFFFFFF)))

    # ------------------------------------------------------------------------------------ injection

    cdef object _arrived(self):
        """The packet as it came, whatever callouts have made of it since; in replay as it is."""
        cdef const QueuedPacket* packet
        if self.worker == NULL:
            return bytes(self.packet)
        packet = &self.worker.packets[self.worker.next]
        return (<const char*>packet.data)[:packet.captured]

    cdef bint _passes_own(self, CalloutAnswer* answer) except -1:
        """What the callout has injected itself passes it without a call."""
        cdef Visitor* visitor = self.visitor
        if not self.injections.passes(self._item(), visitor.input.mark, self._arrived()):
            return False
        answer[0] = self.answer
        answer.kind = ANSWER_PERMIT
        if self.snapshot.policy.briefs[visitor.arbitration.asked].action == FILTER_CALLOUT_INSPECTION:
            answer.kind = ANSWER_CONTINUE
        return True

    @property
    def injection_state(self):
        """FWPS_PACKET_INJECTION_STATE: 'not_injected', 'injected_by_self', 'injected_by_other' or
        'previously_injected_by_self'; those of SELF come only to a class that says `sees_injected`."""
        cdef Visitor* visitor = self._live()
        if self.injections is None or not visitor.input.has_mark:
            return "not_injected"
        return self.injections.state(self._item(), visitor.input.mark, self._arrived())

    @property
    def injection_handle(self):
        """A handle for clones of this packet, and others: its inject(packet, direction=...) may be called by any thread
        as long as the callout is registered."""
        self._live()
        item = self._injecting()
        return self.injections.handle(item, completed, self._past(), interface=self._link(), silent=self._silent())

    def inject(self, packet, *, direction=None):
        """Inject a new IP packet, whose lengths and checksums are set; `direction` is outbound, inbound or forward.

        By default a packet is forwarded at the layers of `forward`, else outbound.  False, and counted, where the packet
        that is being classified has been injected too often.  Raises ActionRefused where it cannot be sent.
        """
        cdef Visitor* visitor = self._live()
        if direction is None:
            direction = "forward" if visitor.input.hook == HOOK_FORWARD else "outbound"
        if direction not in ("outbound", "inbound", "forward"):
            raise ValueError(f"direction={direction!r}: one of outbound, inbound, forward")
        return bool(self._inject(packet, direction, False))

    def reinject(self, packet=None):
        """Clone, drop and reinject: block and absorb this packet for good, and inject `packet` (or a clone) in its place.

        It may have another length or other addresses.  False where the packet was injected too often: it is blocked.  Raises
        ActionRefused, and leaves the packet as it was, where it cannot be sent or the action right is clear.
        """
        cdef Visitor* visitor = self._live()
        cdef bint sent
        if visitor.in_twin or visitor.layer == LAYER_STREAM or visitor.input.hook == HOOK_PREROUTING:
            raise ActionRefused(f"nothing can be reinjected at {self.layer} of {self.hook}",
                                hint="use a layer of input, output or forward, and modify() before")
        if self.snapshot.policy.briefs[visitor.arbitration.asked].action == FILTER_CALLOUT_INSPECTION:
            raise ActionRefused("a callout of kind inspection cannot drop a packet",
                                hint="name it by a filter of kind terminating or unknown")
        if not visitor.arbitration.right:
            raise ActionRefused("the action right is clear: another callout has taken the packet",
                                hint="look at c.write_right, and wait for what the other one injects")
        if packet is None and (visitor.view.truncated or visitor.view.captured < visitor.input.original):
            raise ActionRefused("the copy of the packet is cut", hint="say `modifies = True` in the callout's class")
        if visitor.input.gso:
            raise ActionRefused("a GSO packet is several packets", hint="use modify(), or a proxy")
        if self.parked is not None or (visitor.given != NULL and visitor.given[0]):
            raise ActionRefused("the packet has its verdict already", hint="answer within late_after, and without pend()")
        direction = "forward" if visitor.input.hook == HOOK_FORWARD else ("outbound" if visitor.outbound else "inbound")
        sent = self._inject(self.packet if packet is None else packet, direction, True)
        self.block(clear_right=True, absorb=BY_SLOT[visitor.slot][0].absorb)
        return bool(sent)

    cdef bint _inject(self, object packet, str direction, bint clone) except -1:
        item = self._injecting()
        whole = completed(packet)
        if self._silent():
            return True
        return self.injections.inject(item, whole, direction, past=self._past(), clone=clone, interface=self._link())

    cdef object _injecting(self):
        """What is registered for the callout, if it may inject."""
        item = self._item()
        if self.injections is None or not getattr(item, "injects", False):
            raise ActionRefused("nothing can be injected", hint="say `injects = True` in the callout's class")
        return item

    cdef object _past(self):
        return self.injections.past_of(self.visitor.input.mark if self.visitor.input.has_mark else 0, self._arrived())

    cdef uint32_t _link(self) noexcept:
        """The interface that an IPv6 link-local destination is taken to be at."""
        return self.visitor.input.out_interface or self.visitor.input.in_interface

    cdef bint _silent(self) noexcept:
        """In audit mode everything passes as it was."""
        return self.snapshot.policy.audit

    # ------------------------------------------------------------------------------- the stream layer

    cdef Visitor* _streaming(self) except NULL:
        cdef Visitor* visitor = self._live()
        if visitor.stream == NULL:
            raise RuntimeError(f"{self.layer} has no stream; only the layer `stream` does, and not its discard twin")
        return visitor

    cdef int _release_stream(self) except -1:
        """Let the callout's views have the block if it keeps any."""
        cdef StreamBytes given = self.stream_bytes
        cdef Visitor* visitor = self.visitor
        cdef uint8_t* block
        self.stream_bytes = None
        if given.exports == 0:
            given.data = NULL
            given.length = 0
            return 0
        block = visitor.stream.halves[visitor.outbound_stream].half.buffer
        given.block_class = visitor.stream.halves[visitor.outbound_stream].half.block_class
        if not half_part_with_block(&visitor.stream.halves[visitor.outbound_stream].half, &given.streams.table.pool):
            visitor.stream.lost = 1
        given.block = block
        return 0

    @property
    def stream(self):
        """The bytes indicated, read-only, without a copy; empty with a DISCONNECT or ABORT."""
        cdef Visitor* visitor = self._streaming()
        if self.stream_bytes is None:
            self.stream_bytes = StreamBytes.__new__(StreamBytes)
            self.stream_bytes.data = visitor.indication.data
            self.stream_bytes.length = visitor.indication.length if visitor.indication.data != NULL else 0
            self.stream_bytes.streams = <Streams>visitor.flows.streams.owner
        return memoryview(self.stream_bytes) if self.stream_bytes.length else memoryview(b"")

    @property
    def stream_direction(self):
        """'in' for bytes that the local end receives, 'out' for those it sends."""
        return "out" if self._streaming().indication.direction else "in"

    @property
    def stream_offset(self):
        """Offset of the first byte indicated, from the first byte after the SYN or the first that was seen."""
        return self._streaming().indication.offset

    @property
    def stream_flags(self):
        """Names of the flags: RECEIVE, SEND_DISCONNECT, NO_MORE_DATA and so on, as a set."""
        cdef uint32_t flags = self._streaming().indication.flags
        return {name for bit, name in _STREAM_FLAGS if flags & bit}

    @property
    def missed_bytes(self):
        """Bytes that passed this callout by since its last call, because nobody saw them or audit let them through."""
        return self._streaming().indication.missed

    cdef int _stream_action(self, uint8_t action) except -1:
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.answer.stream_action = action
        return 0

    def need_more(self, uint32_t n=1):
        """Decide nothing: be called again with these bytes and at least `n` more.

        RuntimeError where there are no more, or no more may be kept.
        """
        cdef uint32_t flags = self._streaming().indication.flags
        if flags & (STREAM_FLAG_NO_MORE_DATA | STREAM_FLAG_BUFFER_LIMIT):
            raise RuntimeError("need_more(): NO_MORE_DATA or BUFFER_LIMIT_REACHED is set, a decision is due")
        if n < 1:
            raise ValueError("need_more(n): n is at least 1")
        self._stream_action(STREAM_NEED_MORE)
        self.answer.required = n

    def enforce(self, uint32_t n):
        """Let permit() or block() stand for the first `n` bytes only; the rest is indicated again.  0: for all.

        Goes beside the answer, before or after it.
        """
        cdef Visitor* visitor = self._streaming()
        if n > visitor.indication.length:
            raise ValueError(f"enforce({n}): there are {visitor.indication.length} bytes")
        self.enforced = n

    def drop_connection(self):
        """End the connection.  Has an effect only for a filter of the kind `unknown`."""
        self._streaming()
        self._stream_action(STREAM_DROP_CONNECTION)

    def allow_connection(self):
        """Permit this and all that follows, in both directions: this filter does not call again for this flow."""
        self._streaming()
        self._stream_action(STREAM_ALLOW_CONNECTION)

    def defer(self):
        """Decide nothing and let nothing pass, so that nothing is acknowledged, until the handle's resume().

        Returns the handle.  RuntimeError for what is sent, for a callout that says `stream_mode = "pass"` or
        merely inspects, and at the end of the stream.
        """
        cdef Visitor* visitor = self._streaming()
        cdef DeferredStream handle
        cdef const FilterBrief* item = &self.snapshot.policy.briefs[visitor.arbitration.asked]
        if visitor.indication.direction:
            raise RuntimeError("defer(): only what is received can be deferred")
        if (item.action == FILTER_CALLOUT_INSPECTION
                or self.snapshot.policy.callout_registered[item.callout] & CALLOUT_PASSES):
            raise RuntimeError("defer(): packets do not wait for a callout that inspects or passes")
        if visitor.indication.flags & (STREAM_FLAG_NO_MORE_DATA | STREAM_FLAG_BUFFER_LIMIT):
            raise RuntimeError("defer(): NO_MORE_DATA or BUFFER_LIMIT_REACHED is set, a decision is due")
        handle = DeferredStream.__new__(DeferredStream)
        handle.streams = <Streams>visitor.flows.streams.owner
        handle.flow_id = visitor.stream.id
        self._stream_action(STREAM_DEFER)
        return handle


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
