"""TCP reassembly of one direction (RFC 9293, section 3.4).

Problem: the sender, or somebody on the way, chooses how a stream is cut into segments, and may send a byte
twice with two values.  Goals: the bytes that the receiver will have, in order, each once; bounded memory; a
second copy that differs is seen.

The first copy of a byte stays.  Everything known lies in one block of a shared pool at its place, so that what
is in order is contiguous; runs beyond a gap are a short list.  A block slides over the stream: what is decided is
kept for `history` bytes, with which retransmissions are compared.  An inconsistent segment gives nothing.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from ._lock cimport wfpd_lock, wfpd_unlock

cdef enum:
    SMALLEST_BLOCK = 4096
    MOST_SPARE = 64                 # Blocks of one class that wait to be used again.


cdef inline uint64_t _block_bytes(uint8_t block_class) noexcept nogil:
    return <uint64_t>SMALLEST_BLOCK << block_class


cdef uint8_t block_class_of(uint64_t size) noexcept nogil:
    cdef uint8_t block_class = 0
    while block_class < N_BLOCK_CLASSES and _block_bytes(block_class) < size:
        block_class += 1
    return block_class


cdef uint8_t* _pool_take(BlockPool* pool, uint8_t block_class) noexcept nogil:
    cdef void* block = NULL
    if block_class >= N_BLOCK_CLASSES:
        return NULL
    wfpd_lock(&pool.lock)
    if pool.used + _block_bytes(block_class) > pool.most:
        pool.refused += 1
    else:
        block = pool.spare[block_class]
        if block != NULL:
            pool.spare[block_class] = (<void**>block)[0]
            pool.n_spare[block_class] -= 1
        else:
            block = malloc(_block_bytes(block_class))
        if block != NULL:
            pool.used += _block_bytes(block_class)
    wfpd_unlock(&pool.lock)
    return <uint8_t*>block


cdef void pool_give(BlockPool* pool, uint8_t* block, uint8_t block_class) noexcept nogil:
    wfpd_lock(&pool.lock)
    pool.used -= _block_bytes(block_class)
    # Large blocks are not kept: nobody may need one again.
    if block_class < 5 and pool.n_spare[block_class] < MOST_SPARE:
        (<void**>block)[0] = pool.spare[block_class]
        pool.spare[block_class] = block
        pool.n_spare[block_class] += 1
        block = NULL
    wfpd_unlock(&pool.lock)
    free(block)


cdef void pool_free(BlockPool* pool) noexcept nogil:
    cdef uint8_t block_class
    cdef void* block
    for block_class in range(N_BLOCK_CLASSES):
        while pool.spare[block_class] != NULL:
            block = pool.spare[block_class]
            pool.spare[block_class] = (<void**>block)[0]
            free(block)
        pool.n_spare[block_class] = 0


cdef void half_begin(Half* half, uint32_t initial) noexcept nogil:
    memset(half, 0, sizeof(Half))
    half.initial = initial
    half.started = 1
    half.fin = NO_FIN


cdef void half_free(Half* half, BlockPool* pool) noexcept nogil:
    if half.buffer != NULL:
        pool_give(pool, half.buffer, half.block_class)
    memset(half, 0, sizeof(Half))


cdef bint half_part_with_block(Half* half, BlockPool* pool) noexcept nogil:
    cdef uint8_t* block = _pool_take(pool, half.block_class)
    if block != NULL:
        memcpy(block, half.buffer, <size_t>(_known_end(half) - half.base))
        half.buffer = block
        return True
    half.buffer = NULL
    half.n_ranges = 0
    half.base = half.decided = half.next
    return False


cdef int64_t half_offset(const Half* half, uint32_t sequence) noexcept nogil:
    return half.next + <int32_t>(sequence - (half.initial + <uint32_t>half.next))


cdef inline int64_t _known_end(const Half* half) noexcept nogil:
    return half.ranges[half.n_ranges - 1].end if half.n_ranges else half.next


cdef bint _replace_block(Half* half, BlockPool* pool, int64_t low, int64_t top) noexcept nogil:
    """A larger block for the bytes from `low` on; false if there is none."""
    cdef uint8_t block_class = block_class_of(2 * <uint64_t>(top - low))
    cdef uint8_t* block = _pool_take(pool, block_class)
    if block == NULL:               # Twice the need saves moving bytes; once does too.
        block_class = block_class_of(<uint64_t>(top - low))
        block = _pool_take(pool, block_class)
        if block == NULL:
            return False
    if half.buffer != NULL:
        memcpy(block, half.buffer + (low - half.base), <size_t>(_known_end(half) - low))
        pool_give(pool, half.buffer, half.block_class)
    half.buffer = block
    half.block_class = block_class
    half.capacity = <uint32_t>_block_bytes(block_class)
    half.base = low
    return True


cdef bint _make_room(Half* half, BlockPool* pool, const HalfLimits* limits, int64_t top) noexcept nogil:
    """Room for bytes up to `top`; false if there is none, and nothing has changed."""
    cdef int64_t low = half.decided - limits.history
    if half.buffer != NULL and top - half.base <= half.capacity:
        return True
    if half.buffer == NULL:
        low = half.next
    elif low < half.base:
        low = half.base
    if half.buffer == NULL or top - low > half.capacity:
        return _replace_block(half, pool, low, top)
    memmove(half.buffer, half.buffer + (low - half.base), <size_t>(_known_end(half) - low))
    half.base = low
    return True


cdef bint _differs(const Half* half, int64_t start, int64_t end, const uint8_t* data) noexcept nogil:
    """Whether a known byte from `start` to `end` is another than in `data`."""
    cdef int64_t low, high
    cdef int i
    if half.buffer == NULL:
        return False
    if start < half.next:
        high = end if end < half.next else half.next
        if memcmp(half.buffer + (start - half.base), data, <size_t>(high - start)):
            return True
    for i in range(half.n_ranges):
        low = start if start > half.ranges[i].start else half.ranges[i].start
        high = end if end < half.ranges[i].end else half.ranges[i].end
        if low < high and memcmp(half.buffer + (low - half.base), data + (low - start), <size_t>(high - low)):
            return True
    return False


cdef bint _is_known(const Half* half, int64_t start, int64_t end) noexcept nogil:
    cdef int i
    if end <= half.next:
        return True
    for i in range(half.n_ranges):
        if half.ranges[i].start <= start and end <= half.ranges[i].end:
            return True
    return False


cdef void _write(Half* half, int64_t start, int64_t end, const uint8_t* data) noexcept nogil:
    """Copy what is not known of `start` to `end`."""
    cdef int64_t at = start if start > half.next else half.next
    cdef int64_t stop
    cdef int i = 0
    while at < end:
        while i < half.n_ranges and half.ranges[i].end <= at:
            i += 1
        if i < half.n_ranges and half.ranges[i].start <= at:
            at = half.ranges[i].end
            continue
        stop = half.ranges[i].start if i < half.n_ranges and half.ranges[i].start < end else end
        memcpy(half.buffer + (at - half.base), data + (at - start), <size_t>(stop - at))
        at = stop


cdef int _first_touched(const Half* half, int64_t start) noexcept nogil:
    cdef int i = 0
    while i < half.n_ranges and half.ranges[i].end < start:
        i += 1
    return i


cdef void _join(Half* half, int64_t start, int64_t end) noexcept nogil:
    """Note that `start` to `end` is known; there is a place in the list if one is needed."""
    cdef int first, last
    if start <= half.next:
        if end > half.next:
            half.next = end
        first = 0
        while first < half.n_ranges and half.ranges[first].start <= half.next:
            if half.ranges[first].end > half.next:
                half.next = half.ranges[first].end
            first += 1
        half.n_ranges -= first
        memmove(&half.ranges[0], &half.ranges[first], half.n_ranges * sizeof(KnownRange))
        return
    first = last = _first_touched(half, start)
    while last < half.n_ranges and half.ranges[last].start <= end:
        start = half.ranges[last].start if half.ranges[last].start < start else start
        end = half.ranges[last].end if half.ranges[last].end > end else end
        last += 1
    memmove(&half.ranges[first + 1], &half.ranges[last], (half.n_ranges - last) * sizeof(KnownRange))
    half.n_ranges += 1 - (last - first)
    half.ranges[first].start = start
    half.ranges[first].end = end


cdef bint _has_place(const Half* half, int64_t start, int64_t end) noexcept nogil:
    """Whether the run fits into the list: it joins another, or there is a place."""
    cdef int first
    if start <= half.next or half.n_ranges < MAX_RANGES:
        return True
    first = _first_touched(half, start)
    return first < half.n_ranges and half.ranges[first].start <= end


cdef bint _fin_contradicts(const Half* half, int64_t at) noexcept nogil:
    if half.fin != NO_FIN:
        return half.fin != at
    return at < _known_end(half)


cdef unsigned int _take_bytes(Half* half, BlockPool* pool, const HalfLimits* limits, int64_t start, int64_t end,
                              const uint8_t* data) noexcept nogil:
    """Take the bytes from `start` to `end`, none of which is below `base`."""
    if _is_known(half, start, end):
        return 0
    if (end - half.next > limits.window or end - half.decided > <int64_t>limits.pending + limits.window
            or not _has_place(half, start, end) or not _make_room(half, pool, limits, end)):
        return SEGMENT_LIMIT
    _write(half, start, end, data)
    _join(half, start, end)
    return SEGMENT_NEW


cdef unsigned int half_segment(Half* half, BlockPool* pool, const HalfLimits* limits, const Segment* segment,
                               bint take) noexcept nogil:
    cdef int64_t start = half_offset(half, segment.sequence + (1 if segment.syn else 0))
    cdef int64_t end = start + segment.length
    cdef int64_t kept = max(half.base, half.decided - limits.history)
    cdef const uint8_t* data = segment.data
    cdef unsigned int facts = 0
    cdef bint ends = segment.fin != 0
    if segment.syn and start != 0:
        return SEGMENT_NEW_SYN
    if ends and _fin_contradicts(half, end):
        facts |= SEGMENT_INCONSISTENT
        ends = False
    if half.fin != NO_FIN and end > half.fin:
        facts |= SEGMENT_AFTER_FIN
        end = half.fin
    if start < kept:
        if segment.length:
            facts |= SEGMENT_OLD
        data += min(kept - start, <int64_t>segment.length)
        start = kept
    if start < end:
        if _differs(half, start, end, data):
            facts |= SEGMENT_INCONSISTENT
        if not facts & SEGMENT_INCONSISTENT or take:
            facts |= _take_bytes(half, pool, limits, start, end, data)
    if ends and half.fin == NO_FIN and not facts & (SEGMENT_LIMIT | SEGMENT_INCONSISTENT):
        if end - half.next > limits.window:
            return facts | SEGMENT_LIMIT
        half.fin = end
        facts |= SEGMENT_NEW
    return facts


cdef int64_t half_skip(Half* half, int64_t to) noexcept nogil:
    cdef int64_t passed
    if half.fin != NO_FIN and to > half.fin:
        to = half.fin
    if to <= half.next:
        return 0
    passed = to - half.decided
    half.next = to
    _join(half, to, to)
    # What lies before the gap is not beside what comes after it any more.
    if half.buffer != NULL and to - half.base < half.capacity:
        memmove(half.buffer, half.buffer + (to - half.base), <size_t>(_known_end(half) - to))
    half.base = to
    half.decided = to
    return passed


cdef bint half_reset_valid(const Half* half, uint32_t sequence, int64_t acked) noexcept nogil:
    cdef int64_t at = half_offset(half, sequence)
    if half.fin != NO_FIN and at == half.fin + 1:
        return half.next == half.fin
    return at == half.next or (acked <= at < half.next)


# ------------------------------------------------------------------------------------------ Python door

_FACTS = (
    (SEGMENT_NEW, "new"), (SEGMENT_INCONSISTENT, "inconsistent"), (SEGMENT_OLD, "old"), (SEGMENT_LIMIT, "limit"),
    (SEGMENT_AFTER_FIN, "after_fin"), (SEGMENT_NEW_SYN, "new_syn"),
)


cdef class Reassembler:
    """One direction by itself, for tests and benches: every byte that is in order is decided at once.

    `memory` is what the pool may give out, in bytes; the others are those of HalfLimits.
    """

    cdef Half half
    cdef BlockPool pool
    cdef HalfLimits limits

    def __cinit__(self, uint32_t initial, *, uint32_t history=4096, uint32_t window=262144,
                  uint32_t pending=8388608, uint64_t memory=16777216):
        memset(&self.pool, 0, sizeof(BlockPool))
        self.pool.most = memory
        self.limits.history, self.limits.window, self.limits.pending = history, window, pending
        half_begin(&self.half, initial)

    def __dealloc__(self):
        half_free(&self.half, &self.pool)
        pool_free(&self.pool)

    def segment(self, uint32_t sequence, const uint8_t[::1] data not None, *, bint syn=False, bint fin=False,
                bint take=False) -> tuple:
        """Take a segment in; returns (names of its facts, the bytes that it puts in order)."""
        cdef Segment segment
        cdef unsigned int facts
        segment.data = &data[0] if data.shape[0] else NULL
        segment.length = <uint32_t>data.shape[0]
        segment.sequence = sequence
        segment.syn = syn
        segment.fin = fin
        facts = half_segment(&self.half, &self.pool, &self.limits, &segment, take)
        return {name for bit, name in _FACTS if facts & bit}, self._drain()

    cdef bytes _drain(self):
        cdef int64_t start = self.half.decided
        if self.half.next == start:
            return b""
        found = (<const char*>self.half.buffer)[start - self.half.base:self.half.next - self.half.base]
        self.half.decided = self.half.next
        return found

    def feed(self, list segments) -> int:
        """Take (sequence, bytes) pairs in without looking at the bytes; returns how many are in order."""
        cdef Segment segment
        cdef bytes data
        cdef int64_t before = self.half.next
        memset(&segment, 0, sizeof(segment))
        for sequence, data in segments:
            segment.sequence = sequence
            segment.data = <const uint8_t*><const char*>data
            segment.length = <uint32_t>len(data)
            half_segment(&self.half, &self.pool, &self.limits, &segment, False)
            self.half.decided = self.half.next
        return self.half.next - before

    def skip(self, uint32_t sequence) -> tuple:
        """The receiver has all bytes before `sequence`; returns (bytes passed over, bytes now in order)."""
        passed = half_skip(&self.half, half_offset(&self.half, sequence))
        return passed, self._drain()

    def reset_valid(self, uint32_t sequence, int64_t acked) -> bool:
        """Whether an RST ends the stream; `acked` is an offset."""
        return half_reset_valid(&self.half, sequence, acked)

    @property
    def next(self) -> int:
        """Offset of the first byte that is missing."""
        return self.half.next

    @property
    def fin(self):
        """Offset of the end, or None."""
        return None if self.half.fin == NO_FIN else self.half.fin

    @property
    def memory(self) -> tuple:
        """(bytes given out, requests refused) of the pool."""
        return self.pool.used, self.pool.refused
