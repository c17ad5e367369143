"""When each filter last matched: a sweep once a second compares every counter with what it was.

The packet path pays nothing for it.  A time is therefore that of the sweep that found the hit, up to one interval late.
A slot that counts less than before has begun anew with another filter.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memset

from ._stats cimport HIT_CHUNK, Stats, WorkerStats
from ._table cimport Snapshot

from ._enumerate import live_ids


cdef inline uint64_t _hits(const WorkerStats* stats, uint32_t slot) noexcept nogil:
    cdef const uint64_t* chunk = stats.hits[slot // HIT_CHUNK]
    return 0 if chunk == NULL else chunk[slot % HIT_CHUNK]


cdef uint64_t hits_of(const WorkerStats** workers, uint32_t n_workers, uint32_t slot) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t total = 0
    for i in range(n_workers):
        total += _hits(workers[i], slot)
    return total


cdef const WorkerStats** workers_of(list stats) except NULL:
    cdef Stats one
    cdef const WorkerStats** found = <const WorkerStats**>calloc(<size_t>len(stats) + 1, sizeof(void*))
    cdef uint32_t i = 0
    if found == NULL:
        raise MemoryError()
    for one in stats:
        found[i] = one.worker
        i += 1
    return found


cdef class LastHits:
    """Of one engine.  Used by one thread at a time; `of` may be asked meanwhile."""

    def __dealloc__(self):
        free(self.sums)
        free(self.stamps)

    cdef int reserve(self, uint32_t n) except -1:
        cdef size_t capacity = self.capacity if self.capacity else HIT_CHUNK
        cdef uint64_t* sums
        cdef double* stamps
        while capacity < n:
            capacity *= 2
        if capacity == self.capacity:
            return 0
        sums = <uint64_t*>realloc(self.sums, capacity * sizeof(uint64_t))
        if sums == NULL:
            raise MemoryError()
        self.sums = sums
        stamps = <double*>realloc(self.stamps, capacity * sizeof(double))
        if stamps == NULL:
            raise MemoryError()
        self.stamps = stamps
        memset(sums + self.capacity, 0, (capacity - self.capacity) * sizeof(uint64_t))
        memset(stamps + self.capacity, 0, (capacity - self.capacity) * sizeof(double))
        self.capacity = capacity
        return 0

    cdef int sweep(self, list stats, uint32_t n, double now) except -1:
        """Look at slots 0 to n - 1."""
        cdef uint32_t slot, n_workers = <uint32_t>len(stats)
        cdef uint64_t total
        self.reserve(n)
        cdef const WorkerStats** workers = workers_of(stats)
        with nogil:
            for slot in range(n):
                total = hits_of(workers, n_workers, slot)
                if total != self.sums[slot]:
                    self.stamps[slot] = now if total else 0
                self.sums[slot] = total
            free(workers)
        return 0

    cdef double of(self, uint32_t slot) noexcept:
        return self.stamps[slot] if slot < self.capacity else 0


cdef struct _Heat:
    uint64_t hits
    uint32_t id


cdef int _hotter(const void* a, const void* b) noexcept nogil:
    cdef const _Heat* one = <const _Heat*>a
    cdef const _Heat* other = <const _Heat*>b
    if one.hits != other.hits:
        return -1 if one.hits > other.hits else 1
    return -1 if one.id < other.id else 1


def hottest_of(Snapshot snapshot not None, list stats not None, uint32_t most) -> list:
    """(filter number, hits) of the `most` filters of a snapshot with most hits, the hottest first; none without hits."""
    cdef const uint32_t[::1] ids = live_ids(snapshot)
    cdef uint32_t n = <uint32_t>ids.shape[0], n_workers = <uint32_t>len(stats), i, slot, n_hit = 0
    cdef const WorkerStats** workers = workers_of(stats)
    cdef _Heat* heats = <_Heat*>calloc(<size_t>n + 1, sizeof(_Heat))
    if heats == NULL:
        free(workers)
        raise MemoryError()
    with nogil:
        for i in range(n):
            slot = snapshot.policy.counter_slots[ids[i]]
            heats[n_hit].hits, heats[n_hit].id = hits_of(workers, n_workers, slot), ids[i]
            n_hit += heats[n_hit].hits != 0
        qsort(heats, n_hit, sizeof(_Heat), &_hotter)
        free(workers)
    found = [(heats[i].id, heats[i].hits) for i in range(min(n_hit, most))]
    free(heats)
    return found


cdef class LastHitsProbe:
    """Cold door for tests: one worker's counters and their sweep."""

    cdef list stats
    cdef LastHits last

    def __cinit__(self, stats):
        self.stats, self.last = list(stats), LastHits()

    def sweep(self, uint32_t n, double now) -> None:
        """Look at slots 0 to n - 1."""
        self.last.sweep(self.stats, n, now)

    def of(self, uint32_t slot) -> float:
        """When the slot was last found to have grown."""
        return self.last.of(slot)
