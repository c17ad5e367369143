"""Packets that wait for a decision outside the packet queues: their tickets, and the queue they wait in."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from ._batch cimport Shared, Worker
from ._flow cimport FlowTable
from ._netlink cimport QueuedPacket
from ._recorder cimport RECORD_BYTES, RECORD_ROWS
from ._stats cimport WorkerStats
from ._types cimport Decision
from ._visit cimport TraceRow

cdef enum TicketState:
    TICKET_FREE = 0
    TICKET_SENT = 1                 # Its packet is not seen in the parking queue yet.
    TICKET_PARKED = 2               # It is, as `parked_id`.

# One packet that is parked.  It keeps what is needed to count it and to tell of it when it is decided.
cdef struct Ticket:
    uint64_t epoch                  # Of this use of the place; rises for ever.
    uint64_t received_ns            # CLOCK_MONOTONIC, of its first receipt.
    uint64_t generation             # Of the policy whose callout parked it.
    const uint64_t* batch           # The parking worker's epoch, and what it was in that batch.
    uint64_t batch_epoch
    QueuedPacket packet             # As received first; `data` is NULL, its first bytes are here.
    Decision decision
    uint32_t parked_id
    uint32_t n_bytes
    uint8_t state                   # TicketState
    uint8_t decided                 # `decision` is final.
    uint8_t batch_over              # Whatever its batch sent has been sent.
    uint8_t bytes[RECORD_BYTES]
    uint32_t n_rows                 # Layers decided before it was parked.
    TraceRow rows[RECORD_ROWS]

# The parking queue.  `worker` is its thread's alone; the tickets are guarded by `lock`.
cdef struct Lot:
    Worker worker                   # Serves one queue and visits nothing.
    Ticket* tickets
    uint32_t capacity
    uint32_t used
    uint32_t next                   # Where the search for a free place begins.
    int32_t lock
    uint64_t epoch                  # Given last.
    int wake_read                   # A pipe, by which complete() wakes the thread.
    int wake_write
    uint64_t due_ns                 # When the first undecided packet is late; UINT64_MAX: none is.
    uint64_t parked                 # Packets that got a ticket,
    uint64_t completed              # were decided by complete(),
    uint64_t lost                   # were lost by the kernel on their way,
    uint64_t refused                # or found no place.

cdef class Parking:
    cdef Lot lot

    # 0, or -1 without memory.
    cdef int open(self, Shared* shared, WorkerStats* stats, FlowTable* flows, uint32_t index,
                  uint32_t capacity, uint32_t events, uint32_t recorded) except -1

    # A ticket for packet `worker.next`, of which `decision` names filter, layer and callout; None: no place.
    cdef ParkedPacket take(self, Worker* worker, const Decision* decision)

    # The packet got its verdict otherwise.
    cdef int forget(self, ParkedPacket handle) except -1

cdef class ParkedPacket:
    cdef Parking parking
    cdef uint32_t place
    cdef readonly int queue
    cdef readonly uint32_t id
    cdef readonly uint64_t epoch

# Serve the queue until `stop_at_ns` is set and no worker serves any more; then all that is parked has a
# verdict.  0, or -errno when the queue failed.
cdef int lot_serve(Lot* lot, const uint64_t* stop_at_ns, int stop_read, const uint32_t* n_serving) noexcept nogil
