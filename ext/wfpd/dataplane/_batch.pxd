"""A worker's batch: from received datagrams to sent verdicts, all that needs no Python."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._cache cimport DecisionCache
from ._flow cimport FlowTable
from ._host cimport HostTable
from ._netlink cimport IdSequence, Outcome, QueuedPacket, Verdicts
from ._parse cimport PacketView
from ._priority cimport Priority
from ._recorder cimport Recorder
from ._ring cimport EventRing, SuppressEntry
from ._socket cimport ReceiveArena
from ._stage_ring cimport StageRings
from ._stats cimport Histogram, WorkerStats
from ._table cimport CompiledPolicy
from ._types cimport Decision
from ._visit cimport Trace, VisitStep, Visitor

cdef extern from *:
    """
    static inline uint64_t wfpd_read(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
    static inline uint32_t wfpd_read32(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
    """
    uint64_t wfpd_read(const uint64_t* at) noexcept nogil
    uint32_t wfpd_read32(const uint32_t* at) noexcept nogil

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
    StageRings* stage               # NULL: no policy is staged.  Stored and loaded atomically.
    uint8_t injects                 # Marks of injected packets stay with them.

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
    uint64_t parked                 # Packets moved to the parking queue; it counts their verdicts.
    uint64_t modified               # Packets written back with what callouts made of them.
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
    PacketView* views               # [n_slots] Of packets before `prepared`, from visit_prepare().
    uint32_t prepared               # First packet that nothing is known of.
    uint8_t* decided                # outcomes[i] is filled.
    uint32_t n                      # Packets of the batch.
    uint32_t next                   # First packet that is not settled.
    uint32_t flushed                # First packet whose verdict is not sent.
    Verdicts verdicts
    Visitor visitor
    DecisionCache cache
    WorkerStats* stats
    EventRing ring
    SuppressEntry* suppress
    Recorder recorder
    Trace trace                     # The rows of the packet being decided, for the recorder.
    QueueState* queues[MAX_QUEUES]
    uint32_t n_queues
    uint32_t index
    Priority priority
    int64_t received_real_ns        # CLOCK_REALTIME of receipt.
    # Read by others.
    uint64_t received_ns            # CLOCK_MONOTONIC of receipt.
    uint64_t resumed_ns             # CLOCK_MONOTONIC: a parked packet's visit goes on since.  0: none does.
    uint64_t epoch                  # Odd: in a batch.
    uint64_t progress               # Turns of the loop.
    # Shared with enforce_late(), under `lock`.
    int32_t lock
    uint8_t held                    # Packets from `next` on wait for a callout.
    Verdicts late_verdicts

cdef uint64_t clock_monotonic() noexcept nogil

cdef int worker_create(Worker* worker, Shared* shared, WorkerStats* stats, FlowTable* flows, uint32_t index,
                       uint32_t batch, uint32_t events, uint32_t recorded) noexcept nogil      # 0 or -1
cdef void worker_free(Worker* worker) noexcept nogil

# Hold on to the current policy (worker.published) until batch_unpin().
cdef void batch_pin(Worker* worker) noexcept nogil
cdef void batch_unpin(Worker* worker) noexcept nogil

# The verdict of the policy's on_error.
cdef uint32_t error_verdict(const CompiledPolicy* policy) noexcept nogil

# Receive and read what the queue's socket has, up to one batch, and pin the current policy.
# Number of packets, or -errno.  Every batch_receive() above 0 is followed by batch_finish().
cdef int batch_receive(Worker* worker, QueueState* queue) noexcept nogil

# Decide from worker.next on until the end of the batch (VISIT_DONE) or until a packet, at
# worker.next, needs a callout (VISIT_CALLOUT).
cdef VisitStep batch_decide(Worker* worker) noexcept nogil
cdef VisitStep batch_begin_packet(Worker* worker) noexcept nogil

# The visit of packet worker.next has ended: count it, note its outcome, go to the next.
cdef void batch_settle(Worker* worker) noexcept nogil

# The packet's time by CLOCK_REALTIME: the kernel's if it took one, else that of the batch's receipt.
cdef int64_t batch_arrival(Worker* worker, const QueuedPacket* packet) noexcept nogil

# Audit mode, counters, event and record of one decided packet; worker.visitor.view and worker.trace are this packet's.
# `generation` is that of the policy whose filter `decision` names.
cdef void batch_account(Worker* worker, const QueuedPacket* packet, Decision* decision,
                        uint64_t generation) noexcept nogil

# The verdict and mark that a decision becomes.
cdef void batch_outcome(const Worker* worker, const QueuedPacket* packet, const Decision* decision,
                        Outcome* outcome) noexcept nogil

# Packet worker.next goes to queue `parking`, which passes it by on_error if nobody listens there, or stays there.
# 0: it has got its verdict from batch_enforce_late() meanwhile, and nothing is done.
cdef bint batch_park(Worker* worker, uint16_t parking) noexcept nogil

# A clone is about to take the place of packet worker.next, at the wish of this filter's callout: from here on its
# verdict is a drop, whoever gives it.  0: it has its verdict already, or should have.
cdef bint batch_replace(Worker* worker, uint32_t filter) noexcept nogil

# The clone was not sent: the packet is as before, unless it was dropped meanwhile.
cdef void batch_restore(Worker* worker) noexcept nogil

# End packet worker.next by a declared word, with this reason; one that a clone has replaced is blocked by its callout.
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
