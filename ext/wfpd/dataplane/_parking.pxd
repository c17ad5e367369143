"""Packets that wait for a decision outside the packet queues: their tickets, and the queue they wait in."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._batch cimport Shared, Worker
from ._flow cimport FlowTable
from ._netlink cimport QueuedPacket
from ._recorder cimport RECORD_ROWS
from ._stats cimport WorkerStats
from ._table cimport Snapshot
from ._types cimport Decision
from ._visit cimport Resume, TraceRow, Visitor

cdef enum TicketState:
    TICKET_FREE = 0
    TICKET_SENT = 1                 # Its packet is not seen in the parking queue yet.
    TICKET_PARKED = 2               # It is, as `parked_id`.
    TICKET_VISITED = 3              # Its visit goes on.

cdef enum TicketDecision:
    TICKET_WAITS = 0
    TICKET_COMPLETED = 1            # Its callout has answered: the visit is to go on.
    TICKET_LATE = 2                 # `decision` is final.

# One packet that is parked.  It keeps what is needed to count it and to tell of it when it is decided.
cdef struct Ticket:
    uint64_t epoch                  # Of this use of the place; rises for ever.
    uint64_t received_ns            # CLOCK_MONOTONIC, of its first receipt.
    uint64_t generation             # Of the policy whose callout parked it.
    const uint64_t* batch           # The parking worker's epoch, and what it was in that batch.
    uint64_t batch_epoch
    QueuedPacket packet             # As received first, with a copy of its bytes.
    Resume* resume                  # The handle's, which lives as long as the ticket is used.
    Decision decision
    uint32_t parked_id
    uint16_t queue                  # Where it came from.
    uint8_t state                   # TicketState
    uint8_t decided                 # TicketDecision
    uint8_t calling                 # The call that parks it goes on.
    uint8_t given                   # It has its verdict, and is still to be counted.
    uint8_t batch_over              # Whatever its batch sent has been sent.
    uint8_t blocked                 # complete() has blocked it for good: late, it does not pass either.
    uint32_t held                   # Bytes of it that count in `Lot.bytes`: the copy, and what callouts have made of it.
    uint32_t n_rows                 # Layers decided before it was parked.
    TraceRow rows[RECORD_ROWS]

# The parking queue.  `worker` is its thread's alone; the tickets are guarded by `lock`.
cdef struct Lot:
    Worker worker                   # Serves one queue, and goes on with the visits of what is completed.
    Ticket* tickets
    uint32_t capacity
    uint32_t used
    uint32_t next                   # Where the search for a free place begins.
    int32_t lock
    uint64_t epoch                  # Given last.
    int wake_read                   # A pipe, by which complete() wakes the thread.
    int wake_write
    uint64_t due_ns                 # When the first undecided packet is late; UINT64_MAX: none is.
    uint64_t bytes                  # Of the copies,
    uint64_t most_bytes             # at most.
    uint32_t n_ready                # Tickets whose visits are to go on.
    uint32_t quiet                  # Turns without packet or ticket.
    Ticket* visited                 # That whose visit goes on, or NULL.
    uint8_t again                   # Its packet is parked again.
    uint64_t parked                 # Packets that got a ticket,
    uint64_t completed              # were decided by complete(),
    uint64_t lost                   # were lost by the kernel on their way,
    uint64_t refused                # or found no place.
    uint64_t repeated               # Times that a later callout, or the same, parked one again.

cdef class Parking:
    cdef Lot lot
    cdef list handles               # [capacity] Of the tickets in use, and of some no more.
    cdef readonly dict joined       # As ClassifyContext.joined.
    cdef uint64_t tidied            # `lot.epoch` when no handle was left.

    # 0, or -1 without memory.
    cdef int open(self, Shared* shared, WorkerStats* stats, FlowTable* flows, uint32_t index,
                  uint32_t capacity, uint64_t most_bytes, uint32_t events, uint32_t recorded) except -1

    # A ticket for packet `worker.next`, of which `decision` names filter, layer and callout; False: no place.
    cdef bint take(self, ParkedPacket handle, Worker* worker, const Decision* decision) except -1

    # The packet got its verdict otherwise.
    cdef int forget(self, ParkedPacket handle) except -1

    # The call that parked it is over, and the packet is on its way.
    cdef int left(self, ParkedPacket handle) except -1

    # Let go of handles whose packets have their verdicts.
    cdef int tidy(self) except -1

cdef class ParkedPacket:
    cdef Resume resume
    cdef Parking parking            # None: it is in no queue (replay).
    cdef uint32_t place
    cdef bint decided               # Where it is in no queue.
    cdef bint absorbs               # Its layer knows absorb.
    cdef bint decides               # Its callout may block: it is not of kind inspection.
    cdef bint called                # The call that has parked it has not returned.
    cdef list filters               # (key, slot, callout) of each of `resume.answers`, whatever their numbers.
    cdef ParkedPacket before        # Of an earlier pend() of the packet, or None.
    cdef list followers             # Packets of its flow that are decided as it is.
    cdef list edits                 # What each of `resume.answers` has left of the packet; None: it changed nothing.
    cdef readonly bytes packet      # What complete() makes of the packet, or None.
    cdef tuple said                 # What complete() was told, or None.
    cdef readonly list asked        # Replay: filters whose callouts were asked, and what they answered.
    cdef readonly list given

    cdef bint open(self) noexcept   # It waits for complete().
    cdef bint _complete(self, tuple said, bytes packet) except -1

    # The packet is decided as `leader` is, of which complete() is called.
    cdef int follow(self, ParkedPacket leader) except -1

    # Another policy is to go on with the visit: the answers of filters that it has, with the same callouts, are kept.
    cdef int renumber(self, Snapshot snapshot) except -1
    cdef readonly int queue
    cdef readonly uint32_t id
    cdef readonly uint64_t epoch

# A handle of the packet being visited, whose callout is asked; it is parked nowhere yet.
cdef ParkedPacket parked_new(Visitor* visitor, Snapshot snapshot)

# Serve the queue until `stop_at_ns` is set and no worker serves any more; then all that is parked has a
# verdict.  0, -errno when the queue failed, or 1: lot_begin() has visits that are to go on; then it is called again.
cdef int lot_serve(Lot* lot, const uint64_t* stop_at_ns, int stop_read, const uint32_t* n_serving) noexcept nogil

# Make the oldest completed packet the worker's batch of one, the policy pinned; NULL: there is none (any more).
# Each is followed by batch_finish() and lot_end().
cdef Ticket* lot_begin(Lot* lot) noexcept nogil
cdef void lot_end(Lot* lot) noexcept nogil

# From any thread: while the queue's own is with a callout, give on_late to every other packet that waits too long.
cdef uint32_t lot_enforce_late(Lot* lot, uint64_t now_ns) noexcept nogil
