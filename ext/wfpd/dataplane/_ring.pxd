"""The way of events from a worker to whoever writes them down, and which drops are worth one."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ._stats cimport EventRecord

# Single producer, single consumer; never blocks, never allocates.
cdef struct EventRing:
    EventRecord* records
    uint32_t mask                   # Capacity - 1; the capacity is a power of two.
    uint64_t written                # By the producer only.
    uint64_t read                   # By the consumer only.

cdef int ring_create(EventRing* ring, uint32_t capacity) noexcept nogil    # Rounded up; 0 or -1.
cdef void ring_free(EventRing* ring) noexcept nogil

# The producer's next free record, or NULL when the consumer is too slow; ring_push() publishes it.
cdef EventRecord* ring_next(EventRing* ring) noexcept nogil
cdef void ring_push(EventRing* ring) noexcept nogil

# The consumer's oldest record, or NULL; ring_pop() gives it back.
cdef const EventRecord* ring_peek(EventRing* ring) noexcept nogil
cdef void ring_pop(EventRing* ring) noexcept nogil

cdef enum:
    SUPPRESS_ENTRIES = 8192         # A worker; two places for each key.

cdef struct SuppressEntry:
    uint64_t key                    # 0: free
    uint64_t sent_ns                # When its last event was sent.
    uint32_t suppressed             # Equal drops since then.

# Whether a drop of `key` (flow and filter) is to be sent; if so `suppressed` is the number of
# equal drops since the last one that was.
cdef bint suppress_admit(SuppressEntry* table, uint64_t key, uint64_t now_ns, uint32_t* suppressed) noexcept nogil
