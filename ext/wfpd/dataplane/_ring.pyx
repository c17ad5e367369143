"""Event rings and the suppression of equal drops.

A flood of drops must not become a flood of log lines: the first drop of a flow and filter in ten
seconds is sent and carries the number of those not sent before it.  The table
is fixed; two keys that fall on one place evict the one sent longer ago, which errs towards
sending too much.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from *:
    """
    static inline uint64_t wfpd_acquire(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void wfpd_release(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
    """
    uint64_t wfpd_acquire(const uint64_t* at) noexcept nogil
    void wfpd_release(uint64_t* at, uint64_t value) noexcept nogil

cdef enum:
    SUPPRESS_SECONDS = 10


cdef int ring_create(EventRing* ring, uint32_t capacity) noexcept nogil:
    cdef uint32_t size = 2
    while size < capacity and size < (1 << 24):
        size *= 2
    memset(ring, 0, sizeof(EventRing))
    ring.records = <EventRecord*>calloc(size, sizeof(EventRecord))
    ring.mask = size - 1
    return 0 if ring.records != NULL else -1


cdef void ring_free(EventRing* ring) noexcept nogil:
    free(ring.records)
    memset(ring, 0, sizeof(EventRing))


cdef EventRecord* ring_next(EventRing* ring) noexcept nogil:
    if ring.written - wfpd_acquire(&ring.read) > ring.mask:
        return NULL
    return &ring.records[ring.written & ring.mask]


cdef void ring_push(EventRing* ring) noexcept nogil:
    wfpd_release(&ring.written, ring.written + 1)


cdef const EventRecord* ring_peek(EventRing* ring) noexcept nogil:
    if ring.read == wfpd_acquire(&ring.written):
        return NULL
    return &ring.records[ring.read & ring.mask]


cdef void ring_pop(EventRing* ring) noexcept nogil:
    wfpd_release(&ring.read, ring.read + 1)


cdef bint suppress_admit(SuppressEntry* table, uint64_t key, uint64_t now_ns, uint32_t* suppressed) noexcept nogil:
    cdef SuppressEntry* pair
    cdef SuppressEntry* entry
    key |= 1                        # 0 marks a free place.
    pair = table + ((key >> 32) & (SUPPRESS_ENTRIES - 2))
    suppressed[0] = 0
    if pair[0].key == key or pair[1].key == key:
        entry = pair if pair[0].key == key else pair + 1
        if now_ns - entry.sent_ns < <uint64_t>SUPPRESS_SECONDS * 1000000000:
            entry.suppressed += 1
            return 0
        suppressed[0] = entry.suppressed
    else:
        entry = pair if pair[0].key == 0 or (pair[1].key and pair[0].sent_ns <= pair[1].sent_ns) else pair + 1
    entry.key = key
    entry.sent_ns = now_ns
    entry.suppressed = 0
    return 1


cdef class RingProbe:
    """Cold door for tests: one ring and one suppression table."""

    cdef EventRing ring
    cdef SuppressEntry* table

    def __cinit__(self, uint32_t capacity):
        self.table = <SuppressEntry*>calloc(SUPPRESS_ENTRIES, sizeof(SuppressEntry))
        if self.table == NULL or ring_create(&self.ring, capacity):
            raise MemoryError

    def __dealloc__(self):
        ring_free(&self.ring)
        free(self.table)

    def push(self, uint32_t length) -> bool:
        """Write a record that carries `length`; False when the ring is full."""
        cdef EventRecord* record = ring_next(&self.ring)
        if record == NULL:
            return False
        record.length = length
        ring_push(&self.ring)
        return True

    def pop(self):
        """The `length` of the oldest record, or None."""
        cdef const EventRecord* record = ring_peek(&self.ring)
        if record == NULL:
            return None
        length = record.length
        ring_pop(&self.ring)
        return length

    def admit(self, uint64_t key, uint64_t now_ns):
        """The number suppressed before this drop, or None when it is suppressed itself."""
        cdef uint32_t suppressed
        return suppressed if suppress_admit(self.table, key, now_ns, &suppressed) else None
