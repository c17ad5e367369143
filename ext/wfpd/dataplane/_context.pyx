"""Calling a Python callout: what it sees, what it may answer, and what an exception means."""

from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import ipaddress
import time

from wfpd.model.fields import FIELD, FIELD_ALIASES, FIELDS
from wfpd.model.layers import BY_SLOT

from ._arbitrate cimport ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, CalloutAnswer, answer_on_error
from ._budget cimport (
    ADMITTED, SUSPENDED, Admission, CalloutSlot, watch_admits, watch_took, wfpd_budget_clock, wfpd_budget_write,
)
from ._batch cimport Worker
from ._parking cimport ParkedPacket, Parking
from ._policy cimport FilterBrief
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport Visitor, visit_fill

_ACTIONS = (None, "permit", "block")
_REPLIES = {None: 0, "none": 0, "tcp_reset": 1, "icmp_unreachable": 2}


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


cdef class ClassifyContext:
    """One indication, as a callout sees it.  One object serves all calls of a thread."""

    def __cinit__(self):
        self.visitor = NULL
        self.worker = NULL
        self.errors = {}
        self.durations = {}
        self.on_error = None

    cdef ParkedPacket call(self, Visitor* visitor, Snapshot snapshot, CalloutAnswer* answer):
        cdef const FilterBrief* item = &snapshot.policy.briefs[visitor.arbitration.asked]
        cdef const CalloutSlot* slot = &snapshot.policy.callout_slots[item.callout]
        cdef Admission admission = ADMITTED
        cdef uint64_t began = 0
        cdef ParkedPacket parked
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.visitor = visitor
        self.snapshot = snapshot
        self.view = None
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
            snapshot.root.callouts[item.callout](self)
        except BaseException as error:  # Whatever it is, the packet needs a verdict.
            if self.parked is not None:
                self.parking.forget(self.parked)
                self.parked = None
            self._failed(name, error)
            answer_on_error(&snapshot.policy, visitor.arbitration.asked, &self.answer)
        self._timed(name, time.perf_counter_ns() - started)
        if began:
            wfpd_budget_write(&visitor.called_ns, 0)
            watch_took(slot, admission, began, wfpd_budget_clock())
        answer[0] = self.answer
        parked, self.parked = self.parked, None
        self._release()
        return parked

    def _failed(self, name, error):
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
        view = self.view
        self.view = None
        if view is not None:
            try:
                view.release()
            except BufferError:
                pass  # A slice was kept; it reads the receive buffer, whose memory stays valid.
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
        self.answer.clear_right = clear_right
        self.answer.absorb = 0
        self.answer.reply = 0

    def block(self, *, bint clear_right=False, bint absorb=False, reply=None):
        """Answer BLOCK; `absorb` hides it, `reply` is 'tcp_reset' or 'icmp_unreachable'."""
        cdef Visitor* visitor = self._live()
        if reply not in _REPLIES:
            raise ValueError(f"reply={reply!r}: one of none, tcp_reset, icmp_unreachable")
        if absorb and not BY_SLOT[visitor.slot][0].absorb:
            raise ValueError(f"absorb is not possible at {self.layer} (FWP_E_INVALID_PARAMETER)")
        if absorb and _REPLIES[reply]:
            raise ValueError("an absorbed packet gets no reply (FWP_E_INVALID_PARAMETER)")
        self.answer.kind = ANSWER_BLOCK
        self.answer.clear_right = clear_right
        self.answer.absorb = absorb
        self.answer.reply = _REPLIES[reply]

    def park(self):
        """Take the packet out of its queue, to be decided later by the handle's complete(); returns the handle.

        This ends the packet's visit: what else the callout answers in this call means nothing.  It waits
        at most `late_after`, counted from its receipt; then on_late decides it.  Raises RuntimeError
        where nothing can be parked: the callout does not say `parks = True`, there is no live queue
        (replay), the packet is blocked already (at a discard layer), or as many packets as the parking
        queue holds are parked.
        """
        cdef Decision decision
        cdef const FilterBrief* item
        cdef Visitor* visitor = self._live()
        if self.parked is not None:
            return self.parked
        if self.parking is None or self.worker == NULL:
            raise RuntimeError("park() needs a live queue, and a callout that says `parks = True`")
        if visitor.in_twin:
            raise RuntimeError("park(): the packet is blocked already")
        item = &self.snapshot.policy.briefs[visitor.arbitration.asked]
        memset(&decision, 0, sizeof(decision))
        decision.filter = visitor.arbitration.asked
        decision.callout = item.callout
        decision.slot = item.slot
        self.parked = self.parking.take(self.worker, &decision)
        if self.parked is None:
            raise RuntimeError("the parking queue is full")
        return self.parked

    def continue_(self, *, bint clear_right=False):
        """Answer CONTINUE: no decision.  `clear_right` has no effect without one."""
        self._live()
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.answer.kind = ANSWER_CONTINUE
        self.answer.clear_right = clear_right
