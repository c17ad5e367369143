"""Membership in a set of numbers, in nearly the same time for a thousand ranges and for a hundred thousand.

Problem: binary search of 100,000 ranges is 17 steps, each a jump that the processor cannot
foresee and half of them out of the first cache.  Goal: one step to the right place.

Design: the values between the set's ends are cut into equal buckets, a power of two wide so that
the bucket is a subtraction and a shift.  `first` says for each where its ranges begin.  Values that
are spread, as addresses of a block list are, leave a handful of ranges a bucket: one or two cache
lines, searched by halves without a jump.  Fewer ranges a bucket would be no quicker, for the
directory would then not stay in the first caches: 94 ns a packet with a bucket a range against 43, measured
with 100,000.  Values that lie in clumps leave many a bucket; the worst case is the plain search and
one look more.  A tree of vector-wide nodes was weighed: it is indifferent to clumps, but takes two
more levels, each a cache miss, for the step from 1,000 to 100,000 ranges.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef inline bint _below(uint64_t a_hi, uint64_t a_lo, uint64_t b_hi, uint64_t b_lo) noexcept nogil:
    return a_hi < b_hi or (a_hi == b_hi and a_lo < b_lo)


cdef inline uint64_t _bucket(const SetIndex* index, uint64_t hi, uint64_t lo) noexcept nogil:
    """Bucket of a value between the set's ends; the shift leaves no more than 32 bits."""
    cdef uint64_t d_lo = lo - index.low_lo
    cdef uint64_t d_hi = hi - index.low_hi - (1 if lo < index.low_lo else 0)
    if index.shift >= 64:
        return d_hi >> (index.shift - 64)
    if index.shift == 0:
        return d_lo
    return (d_lo >> index.shift) | (d_hi << (64 - index.shift))


cdef inline bint _ends_before(const SetIndex* index, uint32_t at, uint64_t hi, uint64_t lo) noexcept nogil:
    """Whether range `at` lies wholly below the value."""
    if index.pairs != NULL:
        return index.pairs[2 * <uint64_t>at + 1] < lo
    return _below(index.quads[4 * <uint64_t>at + 2], index.quads[4 * <uint64_t>at + 3], hi, lo)


cdef inline bint _begins_after(const SetIndex* index, uint32_t at, uint64_t hi, uint64_t lo) noexcept nogil:
    if index.pairs != NULL:
        return lo < index.pairs[2 * <uint64_t>at]
    return _below(hi, lo, index.quads[4 * <uint64_t>at], index.quads[4 * <uint64_t>at + 1])


cdef bint set_has(const SetIndex* index, uint64_t hi, uint64_t lo) noexcept nogil:
    cdef uint32_t low = 0, high = index.count, left, half
    cdef uint64_t bucket
    if (index.count == 0 or _below(hi, lo, index.low_hi, index.low_lo)
            or _below(index.high_hi, index.high_lo, hi, lo)):
        return False
    if index.n_buckets:
        bucket = _bucket(index, hi, lo)
        # The next bucket's first range may begin in this one; beyond it none does.
        low = index.first[bucket]
        high = index.first[bucket + 1]
    if high >= index.count:
        high = index.count - 1
    # Invariant: the first range that ends at or after the value is one of `left` from `low` on.  No
    # jump depends on what is found: halves are taken by arithmetic.
    left = high - low + 1
    while left > 1:
        half = left // 2
        low += half & (0 - <uint32_t>_ends_before(index, low + half - 1, hi, lo))
        left -= half
    return not _begins_after(index, low, hi, lo) and not _ends_before(index, low, hi, lo)


cdef inline void _end_of(const SetIndex* index, uint32_t at, bint high, uint64_t* hi, uint64_t* lo) noexcept nogil:
    if index.pairs != NULL:
        hi[0] = 0
        lo[0] = index.pairs[2 * <uint64_t>at + high]
    else:
        hi[0] = index.quads[4 * <uint64_t>at + 2 * high]
        lo[0] = index.quads[4 * <uint64_t>at + 2 * high + 1]


cdef uint64_t _n_buckets(const SetIndex* index) noexcept nogil:
    """With the present shift; a number beyond 32 bits only says that the shift is too small."""
    cdef uint64_t d_lo = index.high_lo - index.low_lo
    cdef uint64_t d_hi = index.high_hi - index.low_hi - (1 if index.high_lo < index.low_lo else 0)
    if index.shift < 64 and d_hi >> index.shift:
        return <uint64_t>-1
    d_lo = _bucket(index, index.high_hi, index.high_lo)
    return d_lo if d_lo == <uint64_t>-1 else d_lo + 1


cdef int set_build(SetIndex* index, const uint32_t* pairs, const uint64_t* quads, uint32_t count) noexcept nogil:
    cdef uint64_t hi, lo, bucket, filled = 0
    cdef uint32_t at
    memset(index, 0, sizeof(SetIndex))
    index.pairs = pairs
    index.quads = quads
    index.count = count
    if count == 0:
        return 0
    _end_of(index, 0, False, &index.low_hi, &index.low_lo)
    _end_of(index, count - 1, True, &index.high_hi, &index.high_lo)
    if count < SET_INDEXED:
        return 0
    while _n_buckets(index) > count // SET_RANGES_A_BUCKET:
        index.shift += 1
    index.n_buckets = <uint32_t>_n_buckets(index)
    index.first = <uint32_t*>malloc((<size_t>index.n_buckets + 1) * sizeof(uint32_t))
    if index.first == NULL:
        index.n_buckets = 0
        return -1
    # Invariant: buckets below `filled` have their first range.
    for at in range(count):
        _end_of(index, at, True, &hi, &lo)
        bucket = _bucket(index, hi, lo)
        while filled <= bucket:
            index.first[filled] = at
            filled += 1
    index.first[index.n_buckets] = count - 1
    return 0


cdef void set_free(SetIndex* index) noexcept nogil:
    free(index.first)
    index.first = NULL
    index.n_buckets = 0


cdef class SetDoor:
    """Cold door for tests: one set, by itself.  `ranges` are (low, high), disjoint and ascending."""

    cdef SetIndex index
    cdef uint32_t* pairs
    cdef uint64_t* quads

    def __cinit__(self, list ranges not None, bint wide=False):
        cdef uint32_t count = <uint32_t>len(ranges), at
        self.pairs = NULL if wide else <uint32_t*>malloc((count + 1) * 2 * sizeof(uint32_t))
        self.quads = <uint64_t*>malloc((count + 1) * 4 * sizeof(uint64_t)) if wide else NULL
        if self.pairs == NULL and self.quads == NULL:
            raise MemoryError()
        for at, (low, high) in enumerate(ranges):
            if wide:
                self.quads[4 * at], self.quads[4 * at + 1] = low >> 64, low & 0xFFFFFFFFFFFFFFFF
                self.quads[4 * at + 2], self.quads[4 * at + 3] = high >> 64, high & 0xFFFFFFFFFFFFFFFF
            else:
                self.pairs[2 * at], self.pairs[2 * at + 1] = low, high
        if set_build(&self.index, self.pairs, self.quads, count) != 0:
            raise MemoryError()

    def __dealloc__(self):
        set_free(&self.index)
        free(self.pairs)
        free(self.quads)

    def __contains__(self, value) -> bool:
        return set_has(&self.index, value >> 64, value & 0xFFFFFFFFFFFFFFFF)

    @property
    def directory_bytes(self) -> int:
        """What the directory adds to the ranges."""
        return (self.index.n_buckets + 1) * sizeof(uint32_t) if self.index.n_buckets else 0
