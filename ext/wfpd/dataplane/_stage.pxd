"""A second policy beside the active one: decides the same packets and enforces nothing."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._replay cimport Replayer
from ._stage_ring cimport StageRings, StageSlot

# Packets that the two policies decide differently, of one pair of deciding filters.
cdef struct StageRow:
    uint64_t generation             # Of the active policy that `active` is an index of.
    uint32_t active                 # Filter, NO_FILTER if none decided.
    uint32_t staged
    uint8_t active_slot             # NO_SLOT if no layer decided.
    uint8_t staged_slot
    uint8_t active_reason           # Reason; 0 where a filter decided.
    uint8_t staged_reason
    uint8_t staged_verdict          # ActionKind; the active one is the other.
    uint64_t packets
    uint64_t octets
    uint64_t older                  # Of the packets, those mid-stream.
    uint64_t first_ns               # CLOCK_MONOTONIC
    uint64_t last_ns
    StageSlot example               # The first packet.

cdef class Stage:
    cdef StageRings* rings          # What the engine publishes.
    cdef readonly Replayer replayer
    cdef StageRow* rows             # [most]
    cdef uint32_t n_rows
    cdef uint32_t most
    cdef uint32_t* places           # [mask + 1] Hash table of row number + 1.
    cdef uint32_t mask
    cdef StageRow other             # What found no row: its counts alone.
    cdef uint8_t* answers           # [callouts] AnswerKind + 1; 0: nothing is said.
    cdef uint64_t* undecided_by     # [callouts]
    cdef uint32_t n_callouts
    cdef uint64_t compared
    cdef uint64_t same
    cdef uint64_t differing[3]      # By the staged verdict.
    cdef uint64_t undecided
    cdef uint64_t unparsable
    cdef uint64_t older
    cdef uint64_t now_ns            # The clock of its flows: it never goes back.

    # Before the rings are published: which hooks have queues.
    cdef void attach(self, uint8_t hooks) noexcept
    cdef uint32_t _take(self, uint32_t limit) noexcept nogil
    cdef void _compare(self, const StageSlot* slot) noexcept nogil
    cdef bint _decided(self, const StageSlot* slot) noexcept nogil
    cdef bint _was_cut(self, const StageSlot* slot) noexcept nogil
    cdef void _differ(self, const StageSlot* slot) noexcept nogil
    cdef StageRow* _row_of(self, const StageRow* wanted) noexcept nogil
    cdef dict _row(self, const StageRow* row)
