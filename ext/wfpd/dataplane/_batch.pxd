"""A worker's batch: from received datagrams to sent verdicts, all that needs no Python."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._flow cimport FlowTable
from ._host cimport HostTable
from ._netlink cimport IdSequence, Outcome, QueuedPacket, Verdicts
from ._ring cimport EventRing, SuppressEntry
from ._socket cimport ReceiveArena
from ._stats cimport Histogram, WorkerStats
from ._table cimport CompiledPolicy
from ._visit cimport VisitStep, Visitor

cdef enum:
    MAX_QUEUES = 64                 # Of one worker.

# What a batch pins: one policy, one view of the host, and buffers that fit the policy.
cdef struct Published:
    const CompiledPolicy* policy
    HostTable* host                 # May be NULL.
    void* snapshot                  # The Snapshot object that owns `policy`; borrowed.
    uint32_t** matches              # [worker][policy.max_layer_filters + 1]
    uint32_t** hits

# Settings that all workers read.
cdef struct Shared:
    Published* current              # Stored and loaded atomically.
    uint64_t late_after_ns
    uint32_t marks_mask             # 12 contiguous bits.
    uint8_t marks_shift
    uint8_t hooks_attached          # Bit per Hook.

cdef struct QueueState:
    IdSequence ids
    uint64_t packets[3]             # By ActionKind.
    uint64_t octets[3]
    uint64_t truncated              # Datagrams longer than a receive buffer.
    uint64_t malformed              # Messages that are not what the kernel sends.
    uint64_t strays                 # Packets of another queue on this socket.
    uint64_t not_found              # Verdicts for packets that are gone.
    uint64_t refused                # Verdicts refused for any other reason.
    uint64_t late                   # Packets decided by on_late.
    Histogram batch                 # Receive to verdicts.
    int fd
    int32_t answer_error            # Of the last configuration message.
    uint32_t answer_sequence        # Which it was.
    uint16_t number

cdef struct Worker:
    # The worker's own.
    Shared* shared
    Published* published            # Pinned while the epoch is odd.
    QueueState* queue               # Whose batch this is.
    ReceiveArena arena
    QueuedPacket* packets           # [arena.n_slots]
    Outcome* outcomes
    uint8_t* decided                # outcomes[i] is filled.
    uint32_t n                      # Packets of the batch.
    uint32_t next                   # First packet that is not settled.
    uint32_t flushed                # First packet whose verdict is not sent.
    Verdicts verdicts
    Visitor visitor
    WorkerStats* stats
    EventRing ring
    SuppressEntry* suppress
    QueueState* queues[MAX_QUEUES]
    uint32_t n_queues
    uint32_t index
    int64_t received_real_ns        # CLOCK_REALTIME of receipt.
    # Read by others.
    uint64_t received_ns            # CLOCK_MONOTONIC of receipt.
    uint64_t epoch                  # Odd: in a batch.
    uint64_t progress               # Turns of the loop.
    # Shared with enforce_late(), under `lock`.
    int32_t lock
    uint8_t held                    # Packets from `next` on wait for a callout.
    Verdicts late_verdicts

cdef uint64_t clock_monotonic() noexcept nogil

cdef int worker_create(Worker* worker, Shared* shared, WorkerStats* stats, FlowTable* flows, uint32_t index,
                       uint32_t batch, uint32_t events) noexcept nogil      # 0 or -1
cdef void worker_free(Worker* worker) noexcept nogil

# Receive and read what the queue's socket has, up to one batch, and pin the current policy.
# Number of packets, or -errno.  Every batch_receive() above 0 is followed by batch_finish().
cdef int batch_receive(Worker* worker, QueueState* queue) noexcept nogil

# Decide from worker.next on until the end of the batch (VISIT_DONE) or until a packet, at
# worker.next, needs a callout (VISIT_CALLOUT).
cdef VisitStep batch_decide(Worker* worker) noexcept nogil
cdef VisitStep batch_begin_packet(Worker* worker) noexcept nogil

# The visit of packet worker.next has ended: count it, note its outcome, go to the next.
cdef void batch_settle(Worker* worker) noexcept nogil

# End packet worker.next by a declared word, with this reason.
cdef void batch_settle_word(Worker* worker, uint8_t word, uint8_t reason, uint32_t filter) noexcept nogil

# The block of packet worker.next stands; what its discard twin asks for decides nothing more.  Gives the
# verdict to enforce_late() before the twin's callout is called.
cdef void batch_note_block(Worker* worker) noexcept nogil

# Whether enforce_late() has already answered packet worker.next, or should have.
cdef bint batch_is_late(Worker* worker) noexcept nogil

# Send what is decided, then let other threads answer late packets until batch_finish().
cdef int batch_hold(Worker* worker) noexcept nogil

# Send all verdicts (every packet is settled), count the batch's time, let go of the policy.  0 or -errno.
cdef int batch_finish(Worker* worker) noexcept nogil

# From any thread: give on_late to every packet that the worker holds too long.  Returns how many.
cdef uint32_t batch_enforce_late(Worker* worker, uint64_t now_ns) noexcept nogil
