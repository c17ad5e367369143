"""A staged policy: the consumer of the workers' rings.

Workers leave every packet and what became of it in rings (_stage_ring).  turn(), called by one thread, takes them in
the order of their receipt, decides them by the staged policy with a flow table of its own on replay's visitor, and
counts where the verdicts differ.  Callouts are never called: what one answers is given, or the packet is not decided.

The order: only packets received before turn() has begun are taken, and the rings' ends are read after that.  A packet
is in its ring before its verdict is sent, so whatever it led to (its answer, in another worker's ring) comes after it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import os

from ._arbitrate import REASON_NAMES
from ._arbitrate cimport ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, CalloutAnswer
from ._clock cimport wfpd_monotonic
from ._flow cimport Flows
from ._host cimport Host
from ._netlink cimport QueuedPacket
from ._parse cimport FRAGMENT_LATER, PARSE_OK, PARSE_WHOLE_LENGTH_KNOWN, parse_packet, PacketView
from ._replay cimport Replayer
from ._stage_ring cimport (
    STAGE_BYTES, StageRings, StageSlot, stage_pop, stage_rings_create, stage_rings_free, stage_slot, stage_write,
    stage_written,
)
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport VISIT_CALLOUT, VisitInput, VisitStep, Visitor, visit_abandon, visit_answer, visit_begin

cdef enum:
    MOST_WORKERS = 1025             # Of an engine, with the parking queue's thread.
    HEADERS_END = 64                # A transport header that begins here or before is in the copy, with all behind it
                                    # that conditions look at (TCP options, the packet that an ICMP error quotes).

_ACTIONS = ("none", "permit", "block")
_KINDS = {"continue": ANSWER_CONTINUE, "permit": ANSWER_PERMIT, "block": ANSWER_BLOCK}
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


cdef inline uint8_t _verdict(const Decision* decision) noexcept nogil:
    """What the policy wants; the daemon's audit mode permits it all the same."""
    return ACTION_BLOCK if decision.would_block else decision.verdict


cdef inline uint64_t _mix(uint64_t a, uint64_t b) noexcept nogil:
    a = (a ^ b) * <uint64_t>0x9E3779B97F4A7C15
    return a ^ (a >> 29)


cdef inline uint64_t _hash(const StageRow* row) noexcept nogil:
    cdef uint64_t key = _mix(_mix(row.generation, row.active), row.staged)
    return _mix(key, <uint64_t>row.active_slot << 32 | <uint64_t>row.staged_slot << 24
                | <uint64_t>row.active_reason << 16 | <uint64_t>row.staged_reason << 8 | row.staged_verdict)


cdef inline bint _is_row(const StageRow* row, const StageRow* wanted) noexcept nogil:
    return (row.generation == wanted.generation and row.active == wanted.active and row.staged == wanted.staged
            and row.active_slot == wanted.active_slot and row.staged_slot == wanted.staged_slot
            and row.active_reason == wanted.active_reason and row.staged_reason == wanted.staged_reason
            and row.staged_verdict == wanted.staged_verdict)


cdef class Stage:
    """One staged policy with its rings, flows and counts.

    `workers`: how many rings, the parking queue's included; `slots` a ring; `sample`: one flow in so many; `rows`: pairs
    of filters that are told apart; `answers`: callout index to permit, block or continue.
    """

    def __cinit__(self, Snapshot snapshot not None, Flows flows not None, *, uint32_t workers, uint32_t slots=8192,
                  uint32_t sample=1, uint32_t rows=512, answers=None):
        cdef uint32_t i
        if not 1 <= workers <= MOST_WORKERS or not 1 <= slots <= 1 << 20 or sample < 1 or not 1 <= rows <= 1 << 16:
            raise ValueError("Stage: workers 1 to 1025, slots to 1048576, sample from 1, rows 1 to 65536")
        self.replayer = Replayer(snapshot, flows, None, live=True)
        self.replayer.visitor.trace = NULL
        self.most = rows
        self.mask = (1 << rows.bit_length()) * 2 - 1
        self.n_callouts = snapshot.n_callouts
        self.rings = stage_rings_create(workers, slots, sample, int.from_bytes(os.urandom(8), "little"))
        self.rows = <StageRow*>calloc(rows, sizeof(StageRow))
        self.places = <uint32_t*>calloc(self.mask + 1, sizeof(uint32_t))
        self.answers = <uint8_t*>calloc(self.n_callouts + 1, 1)
        self.undecided_by = <uint64_t*>calloc(self.n_callouts + 1, sizeof(uint64_t))
        if (self.rings == NULL or self.rows == NULL or self.places == NULL or self.answers == NULL
                or self.undecided_by == NULL):
            raise MemoryError
        for callout, kind in (answers or {}).items():
            if not 0 <= callout < self.n_callouts:
                raise IndexError(f"callout {callout}")
            i = callout
            self.answers[i] = _KINDS[kind] + 1

    def __dealloc__(self):
        stage_rings_free(self.rings)
        free(self.rows)
        free(self.places)
        free(self.answers)
        free(self.undecided_by)

    cdef void attach(self, uint8_t hooks) noexcept:
        self.replayer.visitor.hooks_attached = hooks

    def turn(self, Host host=None, *, uint32_t limit=65536) -> int:
        """Take up to `limit` packets, as this host has it, and compare; how many were taken.  By one thread."""
        cdef uint32_t n
        self.replayer.host = host
        self.replayer.visitor.host = &host.table if host is not None else NULL
        with nogil:
            n = self._take(limit)
        return n

    cdef uint32_t _take(self, uint32_t limit) noexcept nogil:
        cdef uint64_t ends[MOST_WORKERS]
        cdef uint64_t begun = wfpd_monotonic()
        cdef const StageSlot* slot
        cdef const StageSlot* oldest
        cdef uint32_t i, from_ring = 0, n = 0
        for i in range(self.rings.n_rings):
            ends[i] = stage_written(self.rings, i)
        while n < limit:
            oldest = NULL
            for i in range(self.rings.n_rings):
                if self.rings.rings[i].read == ends[i]:
                    continue
                slot = stage_slot(self.rings, i, self.rings.rings[i].read)
                if slot.received_ns < begun and (oldest == NULL or slot.received_ns < oldest.received_ns):
                    oldest, from_ring = slot, i
            if oldest == NULL:
                break
            self._compare(oldest)
            stage_pop(self.rings, from_ring)
            n += 1
        return n

    cdef bint _decided(self, const StageSlot* slot) noexcept nogil:
        """Visit the packet; False where a callout would have to answer."""
        cdef Visitor* visitor = &self.replayer.visitor
        cdef VisitInput given
        cdef CalloutAnswer answer
        cdef VisitStep step
        cdef uint32_t callout
        memset(&given, 0, sizeof(given))
        given.data = <const uint8_t*>&slot.bytes[0]
        given.captured = slot.n_bytes
        given.original = slot.original
        given.hook = slot.hook
        given.has_mark = slot.has_mark
        given.mark = slot.mark
        given.in_interface = slot.in_interface
        given.out_interface = slot.out_interface
        given.physical_in = slot.physical_in
        given.physical_out = slot.physical_out
        given.parse_flags = PARSE_WHOLE_LENGTH_KNOWN
        given.now_ns = self.now_ns
        memset(&answer, 0, sizeof(answer))
        step = visit_begin(visitor, &given)
        while step == VISIT_CALLOUT:
            callout = visitor.policy.briefs[visitor.arbitration.asked].callout
            answer.kind = ANSWER_CONTINUE
            if self.answers[callout]:
                answer.kind = self.answers[callout] - 1
            elif visitor.policy.briefs[visitor.arbitration.asked].action != FILTER_CALLOUT_INSPECTION:
                if visit_abandon(visitor):
                    return True     # Asked at a discard twin: the verdict is a block whatever it says.
                self.undecided_by[callout] += 1
                return False
            step = visit_answer(visitor, &answer)
        return True

    cdef bint _was_cut(self, const StageSlot* slot) noexcept nogil:
        """Whether the worker may have seen headers that are not in the slot."""
        cdef const PacketView* view = &self.replayer.visitor.view
        if slot.n_bytes == slot.captured:
            return False
        if view.status != PARSE_OK:
            return True
        return view.fragment != FRAGMENT_LATER and not 0 < view.transport_offset <= HEADERS_END

    cdef void _compare(self, const StageSlot* slot) noexcept nogil:
        cdef Visitor* visitor = &self.replayer.visitor
        cdef bint decided
        self.now_ns = max(self.now_ns, slot.received_ns)
        decided = self._decided(slot)
        if self._was_cut(slot):
            self.unparsable += 1
            return
        if not decided:
            self.undecided += 1
            return
        self.compared += 1
        self.older += visitor.midstream
        if visitor.decision.verdict == _verdict(&slot.decision):
            self.same += 1
            return
        self.differing[visitor.decision.verdict] += 1
        self._differ(slot)

    cdef void _differ(self, const StageSlot* slot) noexcept nogil:
        cdef const Decision* staged = &self.replayer.visitor.decision
        cdef StageRow wanted
        cdef StageRow* row
        memset(&wanted, 0, sizeof(StageRow) - sizeof(StageSlot))
        wanted.generation = slot.generation
        wanted.active, wanted.active_slot = slot.decision.filter, slot.decision.slot
        wanted.staged, wanted.staged_slot = staged.filter, staged.slot
        wanted.active_reason = slot.decision.reason if wanted.active == NO_FILTER else 0
        wanted.staged_reason = staged.reason if wanted.staged == NO_FILTER else 0
        wanted.staged_verdict = staged.verdict
        row = self._row_of(&wanted)
        if row.packets == 0:
            row.first_ns = slot.received_ns
        row.packets += 1
        row.octets += slot.original
        row.older += self.replayer.visitor.midstream
        row.last_ns = slot.received_ns
        if row != &self.other and row == &self.rows[self.n_rows]:
            row.example = slot[0]
            self.n_rows += 1        # Readers see it from here on.

    cdef StageRow* _row_of(self, const StageRow* wanted) noexcept nogil:
        """Its row, the next free one filled with its key, or `other`."""
        cdef uint32_t place = <uint32_t>_hash(wanted) & self.mask
        while self.places[place]:
            if _is_row(&self.rows[self.places[place] - 1], wanted):
                return &self.rows[self.places[place] - 1]
            place = (place + 1) & self.mask
        if self.n_rows == self.most:
            return &self.other
        self.places[place] = self.n_rows + 1
        memcpy(&self.rows[self.n_rows], wanted, sizeof(StageRow) - sizeof(StageSlot))
        return &self.rows[self.n_rows]

    # ---------------------------------------------------------------------------------- reading

    def totals(self) -> dict:
        """What was counted: packets.  Read while turn() goes on: each number is a recent one."""
        cdef uint32_t i
        seen = left_out = full = waiting = 0
        for i in range(self.rings.n_rings):
            seen += self.rings.rings[i].seen
            left_out += self.rings.rings[i].left_out
            full += self.rings.rings[i].full
            waiting += stage_written(self.rings, i) - self.rings.rings[i].read
        return {
            "seen": seen, "left_out": left_out, "ring_full": full, "waiting": waiting, "unparsable": self.unparsable,
            "not_decided": self.undecided, "compared": self.compared, "same": self.same,
            "would_block": self.differing[<int>ACTION_BLOCK], "would_permit": self.differing[<int>ACTION_PERMIT],
            "older_flows": self.older, "other": {"packets": self.other.packets, "bytes": self.other.octets},
        }

    def not_decided(self) -> dict:
        """Packets by the name of the callout that would have had to answer."""
        cdef uint32_t i
        return {self.replayer.snapshot.callout_name(i): self.undecided_by[i]
                for i in range(self.n_callouts) if self.undecided_by[i]}

    @property
    def n_differences(self) -> int:
        """How many rows there are."""
        return self.n_rows

    def difference(self, uint32_t number) -> dict:
        """Row `number`, in the order in which they came up; its filters are indexes, its times monotonic."""
        if number >= self.n_rows:
            raise IndexError(number)
        return self._row(&self.rows[number])

    cdef dict _row(self, const StageRow* row):
        cdef const StageSlot* example = &row.example
        return {
            "generation": row.generation, "verdict": _ACTIONS[row.staged_verdict],
            "active": None if row.active == NO_FILTER else row.active,
            "active_slot": None if row.active_slot == NO_SLOT else row.active_slot,
            "active_reason": None if row.active != NO_FILTER else REASON_NAMES[row.active_reason],
            "staged": None if row.staged == NO_FILTER else row.staged,
            "staged_slot": None if row.staged_slot == NO_SLOT else row.staged_slot,
            "staged_reason": None if row.staged != NO_FILTER else REASON_NAMES[row.staged_reason],
            "packets": row.packets, "bytes": row.octets, "older_flows": row.older,
            "first_ns": row.first_ns, "last_ns": row.last_ns,
            "example": {
                "bytes": (<const char*>example.bytes)[:example.n_bytes], "length": example.original,
                "hook": HOOKS[example.hook], "mark": example.mark if example.has_mark else None,
                "in_interface": example.in_interface, "out_interface": example.out_interface,
            },
        }

    # ------------------------------------------------------------------------------------ tests

    def put(self, bytes data not None, str hook, uint64_t now_ns, *, str verdict, uint32_t ring=0,
            uint64_t generation=1, filter=None, slot=None, str reason="filter", bint would_block=False,
            original=None, mark=None, uint32_t in_interface=0, uint32_t out_interface=0) -> None:
        """As a worker does: leave a packet that the active policy has decided so.  Cold door for tests and benches."""
        cdef QueuedPacket packet
        cdef Decision decision
        cdef PacketView view
        memset(&packet, 0, sizeof(packet))
        memset(&decision, 0, sizeof(decision))
        packet.data = <const uint8_t*><const char*>data
        packet.captured = <uint32_t>len(data)
        packet.original = packet.captured if original is None else original
        packet.hook = HOOKS.index(hook)
        packet.has_mark = mark is not None
        packet.mark = mark or 0
        packet.in_interface, packet.out_interface = in_interface, out_interface
        decision.verdict = _ACTIONS.index(verdict)
        decision.reason = REASON_NAMES.index(reason)
        decision.filter = NO_FILTER if filter is None else filter
        decision.slot = NO_SLOT if slot is None else slot
        decision.would_block = would_block
        parse_packet(packet.data, packet.captured, packet.original, PARSE_WHOLE_LENGTH_KNOWN, &view)
        stage_write(self.rings, ring, &packet, &view, &decision, generation, now_ns)
