"""Token buckets by key, in a table of fixed size.

A key's place is one of eight slots that its hash chooses.  Where all eight are taken the bucket goes that is full
again (forgetting it changes nothing), else the one that was asked longest ago: its owner begins with
a full bucket again, which is counted.  Keys are kept as 64-bit hashes (Python's, seeded a process): two keys share a
bucket once in 2 ** 63 pairs.  Each method runs as a whole under the GIL, so that two threads never take one token.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

cdef enum:
    WAYS = 8

cdef struct Bucket:
    uint64_t key            # The key's hash, never 0; 0: the slot is free.
    uint64_t parts          # What is in the bucket, in parts of a token.
    uint64_t then_ns        # When it was so.


cdef class Buckets:
    """Buckets of `burst` tokens that get `rate` tokens in `period` seconds; at most `entries` (rounded up) of them.

    All are whole numbers above 0.  Time is whatever clock the caller passes, in nanoseconds; a step backwards counts
    as none.  ValueError where burst * period is beyond what can be counted (9.2e9).
    """

    cdef Bucket* slots
    cdef size_t n_sets
    cdef uint64_t rate
    cdef uint64_t token         # Parts of one token: nanoseconds of the period.
    cdef uint64_t full          # Parts.
    cdef uint64_t fill_ns       # To fill an empty bucket.
    cdef readonly uint64_t evicted
    """Buckets that were not full and had to go."""

    def __cinit__(self):
        self.slots = NULL

    def __init__(self, rate, period, burst, entries):
        if min(rate, period, burst, entries) < 1:
            raise ValueError("rate, period, burst and entries are above 0")
        if burst * period > 9_200_000_000 or rate > 9_200_000_000:
            raise ValueError("burst * period or rate is beyond 9,200,000,000")
        self.n_sets = 1
        while self.n_sets * WAYS < entries:
            self.n_sets *= 2
        self.rate, self.token = rate, period * 1_000_000_000
        self.full = self.token * <uint64_t>burst
        self.fill_ns = self.full // self.rate + 1
        free(self.slots)
        self.slots = <Bucket*>calloc(self.n_sets * WAYS, sizeof(Bucket))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.slots)

    @property
    def capacity(self):
        """Buckets that there is room for."""
        return self.n_sets * WAYS

    def take(self, key, uint64_t amount, uint64_t now_ns):
        """Take `amount` tokens from the key's bucket; False, and nothing taken, where fewer are in it.

        An amount above the burst never is.
        """
        cdef uint64_t hash_ = <uint64_t><int64_t>hash(key) | 1
        cdef Bucket* bucket = self._bucket(hash_, now_ns)
        if amount > self.full // self.token or bucket.parts < amount * self.token:
            return False
        bucket.parts -= amount * self.token
        return True

    cdef uint64_t _parts(self, const Bucket* bucket, uint64_t now_ns) noexcept nogil:
        """What is in a bucket now."""
        cdef uint64_t passed = now_ns - bucket.then_ns if now_ns > bucket.then_ns else 0
        if passed >= self.fill_ns:
            return self.full
        return min(self.full, bucket.parts + passed * self.rate)

    cdef Bucket* _bucket(self, uint64_t hash_, uint64_t now_ns) noexcept nogil:
        """The key's bucket as it is now, made where there is none."""
        cdef Bucket* first = &self.slots[(hash_ >> 32 & (self.n_sets - 1)) * WAYS]
        cdef Bucket* victim = NULL
        cdef Bucket* bucket
        cdef size_t i
        for i in range(WAYS):
            bucket = &first[i]
            if bucket.key == hash_:
                bucket.parts = self._parts(bucket, now_ns)
                bucket.then_ns = max(bucket.then_ns, now_ns)
                return bucket
            if victim == NULL or (victim.key and self._sooner(bucket, victim, now_ns)):
                victim = bucket
        if victim.key and self._parts(victim, now_ns) < self.full:
            self.evicted += 1
        victim.key, victim.parts, victim.then_ns = hash_, self.full, now_ns
        return victim

    cdef bint _sooner(self, const Bucket* one, const Bucket* other, uint64_t now_ns) noexcept nogil:
        """Whether `one` goes before `other`: free, full, or asked longer ago."""
        if not one.key:
            return True
        if self._parts(other, now_ns) == self.full:
            return False
        return self._parts(one, now_ns) == self.full or one.then_ns < other.then_ns
