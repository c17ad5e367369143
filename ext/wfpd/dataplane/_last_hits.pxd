"""LastHits: when each filter last matched, as a sweep of the counters finds out."""

from libc.stdint cimport uint32_t, uint64_t

from ._stats cimport WorkerStats

cdef class LastHits:
    cdef uint64_t* sums             # [capacity] By counter slot: over all workers, at the last sweep.
    cdef double* stamps             # [capacity] Seconds since the epoch; 0: no hit since the slot began.
    cdef size_t capacity
    cdef int reserve(self, uint32_t n) except -1
    cdef int sweep(self, list stats, uint32_t n, double now) except -1
    cdef double of(self, uint32_t slot) noexcept

# Hits of a counter slot over all workers.
cdef uint64_t hits_of(const WorkerStats** workers, uint32_t n_workers, uint32_t slot) noexcept nogil

# The counters of these Stats, which the caller keeps alive; to be freed.
cdef const WorkerStats** workers_of(list stats) except NULL
