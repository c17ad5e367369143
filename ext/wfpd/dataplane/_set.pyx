"""Membership in a set of numbers, in nearly the same time for a thousand ranges and for a hundred thousand.

Problem: binary search of 100,000 ranges is 17 steps, each a jump that the processor cannot
foresee and half of them out of the first cache.  Goal: one step to the right place.

Design: the values between the set's ends are cut into equal buckets, a power of two wide so that
the bucket is a subtraction and a shift, and a bucket says where its ranges begin.  Values that
are spread leave a handful of ranges a bucket: a few cache lines, fetched at once and searched by halves
without a jump.  Values that lie in clumps (addresses of the same networks) leave many in a bucket:
that gets a directory of its own, cut between its own ends, whatever lies far from it.  Four levels at
most, and at most so many bytes a range as the header says; what would take more is searched by halves.  So no
set, however it was chosen, costs more than four steps above that.

Not chosen: a tree of vector-wide nodes, indifferent to clumps, takes two more levels, each a cache miss, for the
step from 1,000 to 100,000 ranges; a hash of prefixes takes a probe for each length, and ranges are no prefixes.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from ._store cimport Store, store_reserve

cdef extern from *:
    """
    /* What a bucket of the usual size holds: fetched together, or each step of the search would wait. */
    static inline void wfpd_ranges_near(const void *at) {
        __builtin_prefetch(at);
        __builtin_prefetch((const char *)at + 64);
    }
    static inline unsigned int wfpd_bits(uint64_t value) { return value ? 64 - __builtin_clzll(value) : 0; }
    """
    void wfpd_ranges_near(const void* at) noexcept nogil
    unsigned int wfpd_bits(uint64_t value) noexcept nogil

cdef enum:
    NODE_WORDS = sizeof(SetNode) / 4
    # By width.  Ranges that are searched by halves; ranges a bucket, on average and at least; bytes of
    # directories a range, at most.  A range of 128 bits takes half a cache line.
    LEAF_32 = 32
    LEAF_128 = 16
    RANGES_32 = 4
    RANGES_128 = 1
    BYTES_32 = 4
    BYTES_128 = 8


cdef inline bint _below(uint64_t a_hi, uint64_t a_lo, uint64_t b_hi, uint64_t b_lo) noexcept nogil:
    return a_hi < b_hi or (a_hi == b_hi and a_lo < b_lo)


cdef inline uint64_t _bucket(const SetNode* node, uint64_t hi, uint64_t lo) noexcept nogil:
    """Bucket of a value between the node's ends; the shift leaves no more than 32 bits."""
    cdef uint64_t d_lo = lo - node.low_lo
    cdef uint64_t d_hi = hi - node.low_hi - (1 if lo < node.low_lo else 0)
    if node.shift >= 64:
        return d_hi >> (node.shift - 64)
    if node.shift == 0:
        return d_lo
    return (d_lo >> node.shift) | (d_hi << (64 - node.shift))


cdef inline bint _ends_before(const SetIndex* index, uint32_t at, uint64_t hi, uint64_t lo) noexcept nogil:
    """Whether range `at` lies wholly below the value."""
    if index.pairs != NULL:
        return index.pairs[2 * <uint64_t>at + 1] < lo
    return _below(index.quads[4 * <uint64_t>at + 2], index.quads[4 * <uint64_t>at + 3], hi, lo)


cdef inline bint _begins_after(const SetIndex* index, uint32_t at, uint64_t hi, uint64_t lo) noexcept nogil:
    if index.pairs != NULL:
        return lo < index.pairs[2 * <uint64_t>at]
    return _below(hi, lo, index.quads[4 * <uint64_t>at], index.quads[4 * <uint64_t>at + 1])


cdef inline const SetNode* _node(const SetIndex* index, uint32_t at) noexcept nogil:
    return <const SetNode*>(index.words + at)


cdef inline bint _lead(const SetIndex* index, uint64_t hi, uint64_t lo, uint32_t* low, uint32_t* high) noexcept nogil:
    """The first range that ends at or after the value is one of low .. high; False: it is `low`."""
    cdef uint32_t place = SET_SUB
    cdef const SetNode* node
    cdef const uint32_t* bucket
    while place & SET_SUB:
        node = _node(index, place ^ SET_SUB)
        if not _below(node.low_hi, node.low_lo, hi, lo):
            low[0] = node.first
            return False
        if _below(node.high_hi, node.high_lo, hi, lo):
            low[0] = node.end
            return False
        bucket = <const uint32_t*>(node + 1) + _bucket(node, hi, lo)
        place = bucket[0]
    low[0] = place
    high[0] = bucket[1] if not bucket[1] & SET_SUB else _node(index, bucket[1] ^ SET_SUB).first
    return True


cdef bint set_has(const SetIndex* index, uint64_t hi, uint64_t lo) noexcept nogil:
    cdef uint32_t low = 0, high = index.count, left, half
    if hi and index.pairs != NULL:
        return False
    if index.words == NULL or _lead(index, hi, lo, &low, &high):
        if index.pairs != NULL:
            wfpd_ranges_near(index.pairs + 2 * <uint64_t>low)
        else:
            wfpd_ranges_near(index.quads + 4 * <uint64_t>low)
        # Invariant: the range looked for is one of `left` from `low` on; that at `high` is never looked at.  No
        # jump depends on what is found: halves are taken by arithmetic.
        left = high - low + 1
        while left > 1:
            half = left // 2
            low += half & (0 - <uint32_t>_ends_before(index, low + half - 1, hi, lo))
            left -= half
    return low < index.count and not _begins_after(index, low, hi, lo)


cdef inline void _high_end(const SetIndex* index, uint32_t at, uint64_t* hi, uint64_t* lo) noexcept nogil:
    if index.pairs != NULL:
        hi[0] = 0
        lo[0] = index.pairs[2 * <uint64_t>at + 1]
    else:
        hi[0] = index.quads[4 * <uint64_t>at + 2]
        lo[0] = index.quads[4 * <uint64_t>at + 3]


cdef void _measure(const SetIndex* index, SetNode* node, uint32_t most) noexcept nogil:
    """Ends, and the narrowest buckets of which there are no more than `most`."""
    cdef uint64_t d_hi, d_lo
    _high_end(index, node.first, &node.low_hi, &node.low_lo)
    _high_end(index, node.end - 1, &node.high_hi, &node.high_lo)
    d_lo = node.high_lo - node.low_lo
    d_hi = node.high_hi - node.low_hi - (1 if node.high_lo < node.low_lo else 0)
    node.shift = 64 + wfpd_bits(d_hi) if d_hi else wfpd_bits(d_lo)
    node.shift -= min(node.shift, wfpd_bits(most) - 1)
    # A power of two has been allowed for; the span may be short of it by half.
    while node.shift and _buckets_of(node, node.shift - 1) <= most:
        node.shift -= 1
    node.n_buckets = <uint32_t>_buckets_of(node, node.shift)


cdef inline uint64_t _buckets_of(const SetNode* node, uint32_t shift) noexcept nogil:
    cdef SetNode wanted = node[0]
    wanted.shift = shift
    return _bucket(&wanted, node.high_hi, node.high_lo) + 1


cdef int _add(const SetIndex* index, Store* words, uint32_t first, uint32_t end) noexcept nogil:
    """A node of these ranges behind the others: 1, 0 where the set has its bytes, -1 without memory."""
    cdef bint narrow = index.pairs != NULL
    cdef SetNode node
    cdef uint64_t hi, lo, bucket, filled = 0, size
    cdef uint32_t* buckets
    cdef uint32_t at
    node.first, node.end = first, end
    _measure(index, &node, (end - first) // (RANGES_32 if narrow else RANGES_128))
    size = (NODE_WORDS + <uint64_t>node.n_buckets + 2) & ~<uint64_t>1     # Nodes lie at multiples of 8 bytes.
    if 4 * (words.n + size) > <uint64_t>index.count * (BYTES_32 if narrow else BYTES_128):
        return 0
    if not store_reserve(words, size):
        return -1
    (<SetNode*>(words.at + words.n))[0] = node
    buckets = words.at + words.n + NODE_WORDS
    # Invariant: buckets below `filled` have their first range.
    for at in range(first, end):
        _high_end(index, at, &hi, &lo)
        bucket = _bucket(&node, hi, lo)
        while filled <= bucket:
            buckets[filled] = at
            filled += 1
    buckets[node.n_buckets] = end
    words.n += <uint32_t>size
    return 1


cdef int _divide(const SetIndex* index, Store* words, uint32_t at) noexcept nogil:
    """Give the full buckets of the node at `at` directories of their own.  As _add()."""
    cdef uint32_t leaf = LEAF_32 if index.pairs != NULL else LEAF_128
    cdef uint32_t n = (<SetNode*>(words.at + at)).n_buckets, bucket, first, end, place
    cdef int status = 1
    first = words.at[at + NODE_WORDS]
    for bucket in range(n):
        end = words.at[at + NODE_WORDS + bucket + 1]
        if end - first > leaf:
            place = words.n
            status = _add(index, words, first, end)
            if status != 1:
                return status
            words.at[at + NODE_WORDS + bucket] = SET_SUB | place
        first = end
    return status


cdef int _build(const SetIndex* index, Store* words) noexcept nogil:
    cdef uint32_t at = 0, end, level
    cdef int status = _add(index, words, 0, index.count)
    for level in range(SET_LEVELS - 1):
        end = words.n
        while at < end:
            if status == 1:
                status = _divide(index, words, at)
            at += (NODE_WORDS + (<SetNode*>(words.at + at)).n_buckets + 2) & ~<uint32_t>1
    return status


cdef int set_build(SetIndex* index, const uint32_t* pairs, const uint64_t* quads, uint32_t count) noexcept nogil:
    cdef Store words
    cdef int status
    memset(index, 0, sizeof(SetIndex))
    memset(&words, 0, sizeof(words))
    index.pairs = pairs
    index.quads = quads
    index.count = count
    if count <= (LEAF_32 if pairs != NULL else LEAF_128) or count >= SET_SUB // 2:
        return 0
    status = _build(index, &words)
    if status == -1:
        free(words.at)
        return -1
    if words.n:
        index.words = <uint32_t*>realloc(words.at, <size_t>words.n * 4)
        index.words = index.words if index.words != NULL else words.at
    index.n_words = words.n
    return 0


cdef void set_free(SetIndex* index) noexcept nogil:
    free(index.words)
    index.words = NULL
    index.n_words = 0


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
        """What the directories add to the ranges."""
        return self.index.n_words * sizeof(uint32_t)

    @property
    def levels(self) -> int:
        """Directories on the longest way to a range; 0: there is none."""
        return self._levels(0) if self.index.n_words else 0

    def _levels(self, uint32_t at) -> int:
        cdef const SetNode* node = <const SetNode*>(self.index.words + at)
        cdef const uint32_t* buckets = <const uint32_t*>(node + 1)
        cdef uint32_t i
        return 1 + max([self._levels(buckets[i] ^ SET_SUB) for i in range(node.n_buckets) if buckets[i] & SET_SUB],
                       default=0)
