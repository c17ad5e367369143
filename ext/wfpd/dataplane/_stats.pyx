"""Counters of one worker.

Written by its thread only and read by any: a reader sees each number at some recent value, never
a torn one (aligned 64-bit words), and never waits.  Filter counters live in chunks that are never
moved or freed while the worker lives, so a policy with more filters only adds chunks.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from ._parse cimport N_PARSE_STATUSES
from ._types cimport ACTION_BLOCK, ACTION_PERMIT, N_REASONS, N_SLOTS

cdef extern from *:
    """
    /* floor(log2(value)); value > 0 */
    static inline int wfpd_log2(uint64_t value) { return 63 - __builtin_clzll(value); }
    """
    int wfpd_log2(uint64_t value) noexcept nogil

cdef enum:
    FIRST_BUCKET_BITS = 8           # Bucket 0 ends at 2^8 ns.


cdef void histogram_add(Histogram* histogram, uint64_t nanoseconds) noexcept nogil:
    cdef int bucket = 0
    if nanoseconds > (<uint64_t>1 << FIRST_BUCKET_BITS):
        bucket = min(wfpd_log2(nanoseconds - 1) + 1 - FIRST_BUCKET_BITS, <int>N_BUCKETS - 1)
    histogram.buckets[bucket] += 1
    histogram.sum_ns += nanoseconds
    histogram.count += 1


cdef int stats_reserve(WorkerStats* stats, uint32_t n) noexcept nogil:
    cdef uint32_t chunk
    if n > <uint32_t>HIT_CHUNK * N_HIT_CHUNKS:
        return -1
    for chunk in range((n + HIT_CHUNK - 1) // HIT_CHUNK):
        if stats.hits[chunk] == NULL:
            stats.hits[chunk] = <uint64_t*>calloc(HIT_CHUNK, sizeof(uint64_t))
            if stats.hits[chunk] == NULL:
                return -1
    return 0


cdef void stats_begin(WorkerStats* stats, const uint32_t* slots, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        stats.hits[slots[i] // HIT_CHUNK][slots[i] % HIT_CHUNK] = 0


def bucket_bounds() -> list[float]:
    """Upper bounds of the histogram buckets in seconds; the last is infinite."""
    return [float(1 << (i + FIRST_BUCKET_BITS)) / 1e9 for i in range(N_BUCKETS - 1)] + [float("inf")]


cdef dict histogram_dict(const Histogram* histogram):
    """`count`, `sum` in seconds and `buckets` (not cumulative)."""
    return {"count": histogram.count, "sum": histogram.sum_ns / 1e9,
            "buckets": [histogram.buckets[i] for i in range(N_BUCKETS)]}


cdef class Stats:
    """Owns the counters of one worker, or of one replay."""

    def __cinit__(self):
        self.worker = <WorkerStats*>calloc(1, sizeof(WorkerStats))
        if self.worker == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.worker != NULL:
            for chunk in range(N_HIT_CHUNKS):
                free(self.worker.hits[chunk])
            free(self.worker)

    def reserve(self, uint32_t n) -> None:
        """Make room for `n` filter counters; what is counted stays."""
        if stats_reserve(self.worker, n):
            raise MemoryError(f"{n} filter counters")

    def hits(self, slots) -> list:
        """The counters of the given counter slots (0 where never reserved), in that order."""
        cdef uint32_t slot
        found = []
        for slot in slots:
            if slot // HIT_CHUNK >= N_HIT_CHUNKS or self.worker.hits[slot // HIT_CHUNK] == NULL:
                found.append(0)
            else:
                found.append(self.worker.hits[slot // HIT_CHUNK][slot % HIT_CHUNK])
        return found

    def counters(self) -> dict:
        """A plain copy; tables hold only what is not 0."""
        cdef const WorkerStats* s = self.worker
        return {
            "packets": {"permit": s.packets[<int>ACTION_PERMIT], "block": s.packets[<int>ACTION_BLOCK]},
            "bytes": {"permit": s.octets[<int>ACTION_PERMIT], "block": s.octets[<int>ACTION_BLOCK]},
            "drops": {(slot, reason): s.drops[slot][<int>reason] for slot in range(N_DROP_SLOTS)
                      for reason in range(<int>N_REASONS) if s.drops[slot][<int>reason]},
            "vetoes": {slot: s.vetoes[slot] for slot in range(N_SLOTS) if s.vetoes[slot]},
            "malformed": {status: s.malformed[status] for status in range(<int>N_PARSE_STATUSES)
                          if s.malformed[<int>status]},
            "would_block": {slot: s.would_block[slot] for slot in range(N_DROP_SLOTS) if s.would_block[slot]},
            "batch": histogram_dict(&s.batch),
            "classify": {slot: histogram_dict(&s.classify[slot]) for slot in range(N_SLOTS)
                         if s.classify[slot].count},
            "events_lost": s.events_lost,
        }


cdef class StatsProbe:
    """Cold door for tests: count as the packet path does."""

    cdef readonly Stats stats

    def __cinit__(self):
        self.stats = Stats()

    def hit(self, uint32_t slot) -> None:
        """Count one hit; the slot must be reserved."""
        if self.stats.worker.hits[slot // HIT_CHUNK] == NULL:
            raise IndexError(slot)
        stats_hit(self.stats.worker, slot)

    def begin(self, uint32_t slot) -> None:
        """Count from 0 again, as for a new filter; the slot must be reserved."""
        if self.stats.worker.hits[slot // HIT_CHUNK] == NULL:
            raise IndexError(slot)
        stats_begin(self.stats.worker, &slot, 1)

    def batch(self, uint64_t nanoseconds) -> None:
        """Add a batch duration."""
        histogram_add(&self.stats.worker.batch, nanoseconds)

    def drop(self, unsigned int slot, unsigned int reason) -> None:
        """Count one block; slot 64 is "no layer"."""
        if slot >= N_DROP_SLOTS or reason >= N_REASONS:
            raise IndexError((slot, reason))
        self.stats.worker.drops[slot][reason] += 1
