"""The table of stream states.

Problem: the packets of a connection come to several workers, one of which may stand in a callout for long.  A
direction is therefore taken hold of, not locked: who finds it taken does not wait (it may hold the GIL that
the other needs) but says so, and the packet comes again.

A stream's place never moves.  Of a stream whose flow ends while a worker has a direction, the last one to let go
frees it.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ._lock cimport wfpd_lock, wfpd_unlock
from ._reassembly cimport half_free, pool_free

cdef extern from *:
    """
    static inline void wfpd_stream_add(uint64_t *at, uint64_t n) { __atomic_fetch_add(at, n, __ATOMIC_RELAXED); }
    """
    void wfpd_stream_add(uint64_t* at, uint64_t n) noexcept nogil

cdef enum:
    NIL = 0xFFFFFFFF


cdef inline uint64_t _hash(uint64_t id) noexcept nogil:
    id *= <uint64_t>0x9E3779B97F4A7C15
    return id ^ id >> 32


cdef inline StreamShard* _shard(StreamTable* table, uint64_t id) noexcept nogil:
    return &table.shards[_hash(id) >> 8 & (N_STREAM_SHARDS - 1)]


cdef uint32_t _find(const StreamTable* table, const StreamShard* shard, uint64_t id) noexcept nogil:
    cdef uint32_t index = shard.buckets[_hash(id) >> 12 & (table.n_buckets - 1)]
    while index != NIL and shard.streams[index].id != id:
        index = shard.streams[index].next
    return index


cdef uint32_t _make(StreamTable* table, StreamShard* shard, uint64_t id) noexcept nogil:
    cdef uint32_t* bucket = &shard.buckets[_hash(id) >> 12 & (table.n_buckets - 1)]
    cdef uint32_t index = shard.free
    cdef Stream* stream
    if index != NIL:
        shard.free = shard.streams[index].next
    elif shard.fresh < table.each:
        index = shard.fresh
        shard.fresh += 1
    else:
        return NIL
    stream = &shard.streams[index]
    memset(stream, 0, sizeof(Stream))
    stream.id = id
    stream.next = bucket[0]
    bucket[0] = index
    shard.used += 1
    return index


cdef void _free(StreamTable* table, StreamShard* shard, uint32_t index) noexcept nogil:
    cdef Stream* stream = &shard.streams[index]
    cdef uint32_t* link = &shard.buckets[_hash(stream.id) >> 12 & (table.n_buckets - 1)]
    while link[0] != index:
        link = &shard.streams[link[0]].next
    link[0] = stream.next
    half_free(&stream.halves[0].half, &table.pool)
    half_free(&stream.halves[1].half, &table.pool)
    stream.id = 0
    stream.next = shard.free
    shard.free = index
    shard.used -= 1


cdef StreamStatus stream_acquire(StreamTable* table, uint64_t id, int side, bint make, Stream** found) noexcept nogil:
    cdef StreamShard* shard = _shard(table, id)
    cdef StreamStatus status = STREAM_READY
    cdef uint32_t index
    wfpd_lock(&shard.lock)
    index = _find(table, shard, id)
    if index == NIL and make:
        index = _make(table, shard, id)
    if index == NIL:
        status = STREAM_FULL if make else STREAM_NONE
    elif shard.streams[index].halves[side].busy:
        status = STREAM_IN_USE
    else:
        shard.streams[index].halves[side].busy = 1
        shard.streams[index].halves[side].woken = 0
        found[0] = &shard.streams[index]
    wfpd_unlock(&shard.lock)
    return status


cdef void stream_release(StreamTable* table, Stream* stream, int side) noexcept nogil:
    cdef StreamShard* shard = _shard(table, stream.id)
    wfpd_lock(&shard.lock)
    stream.halves[side].busy = 0
    if stream.dead and not stream.halves[1 - side].busy:
        _free(table, shard, <uint32_t>(stream - shard.streams))
    wfpd_unlock(&shard.lock)


cdef void stream_drop(StreamTable* table, uint64_t id) noexcept nogil:
    cdef StreamShard* shard = _shard(table, id)
    cdef uint32_t index
    wfpd_lock(&shard.lock)
    index = _find(table, shard, id)
    if index != NIL:
        if shard.streams[index].halves[0].busy or shard.streams[index].halves[1].busy:
            shard.streams[index].dead = 1
        else:
            _free(table, shard, index)
    wfpd_unlock(&shard.lock)


cdef void stream_acked(StreamTable* table, uint64_t id, int side, uint32_t acknowledgment) noexcept nogil:
    cdef StreamShard* shard = _shard(table, id)
    cdef uint32_t index
    cdef Stream* stream
    wfpd_lock(&shard.lock)
    index = _find(table, shard, id)
    if index != NIL:
        stream = &shard.streams[index]
        if not stream.acked_known[side] or <int32_t>(acknowledgment - stream.acked[side]) > 0:
            stream.acked[side] = acknowledgment
            stream.acked_known[side] = 1
    wfpd_unlock(&shard.lock)


cdef void stream_defer(StreamTable* table, Stream* stream, int side) noexcept nogil:
    cdef StreamShard* shard = _shard(table, stream.id)
    wfpd_lock(&shard.lock)
    stream.halves[side].deferred = not stream.halves[side].woken
    stream.halves[side].woken = 0
    wfpd_unlock(&shard.lock)


cdef bint _resume(StreamTable* table, uint64_t id, int side) noexcept nogil:
    cdef StreamShard* shard = _shard(table, id)
    cdef StreamHalf* half
    cdef uint32_t index
    cdef bint was = False
    wfpd_lock(&shard.lock)
    index = _find(table, shard, id)
    if index != NIL:
        half = &shard.streams[index].halves[side]
        was = half.deferred or (half.busy and not half.woken)
        if not half.deferred:
            half.woken = half.busy
        half.deferred = 0
    wfpd_unlock(&shard.lock)
    return was


# All tables that there are, so that who resumes needs to hold none.
cdef StreamTable* _tables = NULL
cdef int32_t _tables_lock = 0
cdef uint64_t _last_number = 0


cdef void _enlist(StreamTable* table) noexcept nogil:
    global _tables, _last_number
    wfpd_lock(&_tables_lock)
    _last_number += 1
    table.number = _last_number
    table.other = _tables
    _tables = table
    wfpd_unlock(&_tables_lock)


cdef void _strike(StreamTable* table) noexcept nogil:
    cdef StreamTable** link = &_tables
    wfpd_lock(&_tables_lock)
    while link[0] != NULL and link[0] != table:
        link = &link[0].other
    if link[0] != NULL:
        link[0] = table.other
    wfpd_unlock(&_tables_lock)


cdef int stream_resume(uint64_t number, uint64_t id) noexcept nogil:
    cdef StreamTable* table
    cdef int was = 0
    wfpd_lock(&_tables_lock)
    table = _tables
    while table != NULL and table.number != number:
        table = table.other
    if table != NULL:
        was = _resume(table, id, 0)
    wfpd_unlock(&_tables_lock)
    return was


cdef void stream_count(StreamTable* table, StreamCount which, uint64_t n) noexcept nogil:
    wfpd_stream_add(&table.counts[<int>which], n)


cdef StreamFilter* stream_filter(StreamHalf* half, uint32_t filter) noexcept nogil:
    cdef int i
    for i in range(half.n_filters):
        if half.filters[i].filter == filter:
            return &half.filters[i]
    if half.n_filters == MAX_STREAM_FILTERS:
        return NULL
    half.n_filters += 1
    half.filters[half.n_filters - 1].filter = filter
    half.filters[half.n_filters - 1].seen = half.half.decided
    half.filters[half.n_filters - 1].wants = 0
    half.filters[half.n_filters - 1].continued = 0
    half.filters[half.n_filters - 1].missed = half.missed if half.half.decided else 0
    return &half.filters[half.n_filters - 1]


cdef bint stream_is_allowed(const Stream* stream, uint32_t filter) noexcept nogil:
    cdef int i
    for i in range(stream.n_allowed):
        if stream.allowed[i] == filter:
            return True
    return False


cdef void stream_allow(StreamTable* table, Stream* stream, uint32_t filter) noexcept nogil:
    cdef StreamShard* shard = _shard(table, stream.id)
    wfpd_lock(&shard.lock)
    if not stream_is_allowed(stream, filter) and stream.n_allowed < MAX_STREAM_FILTERS:
        stream.allowed[stream.n_allowed] = filter
        stream.n_allowed += 1
    wfpd_unlock(&shard.lock)


cdef void stream_renew(StreamTable* table, Stream* stream, uint64_t layer_generation) noexcept nogil:
    cdef StreamShard* shard = _shard(table, stream.id)
    cdef int side
    if stream.layer_generation == layer_generation:
        return
    wfpd_lock(&shard.lock)
    stream.layer_generation = layer_generation
    stream.n_allowed = 0
    for side in range(2):
        # The other direction may be in a callout at this moment: its filters then lose their progress, no more.
        stream.halves[side].n_filters = 0
        stream.halves[side].deferred = 0
    wfpd_unlock(&shard.lock)


_NAMES = ("bytes", "inconsistent", "held", "limit", "lost", "cut", "skipped", "busy", "bad_reset")


cdef class Streams:
    """Owns the table: room for `maximum` streams and `memory` bytes of blocks, all else as HalfLimits.

    A stream for which there is no room is decided by the policy's on_error.
    """

    def __cinit__(self, uint32_t maximum=65536, *, uint64_t memory=268435456, uint32_t history=4096,
                  uint32_t window=524288, uint32_t pending=8388608):
        cdef uint32_t i
        if not 1 <= maximum <= 1 << 24 or not 1 <= pending <= 8388608 or not 65536 <= window <= 8388608:
            raise ValueError("Streams: 1 to 2^24 streams, pending 1 to 8 MiB, window 64 KiB to 8 MiB")
        if history > 1048576:
            raise ValueError("Streams: history is at most 1 MiB")
        memset(&self.table, 0, sizeof(StreamTable))
        self.table.owner = <void*>self
        self.table.each = (maximum + N_STREAM_SHARDS - 1) // N_STREAM_SHARDS
        self.table.n_buckets = 1
        while self.table.n_buckets < self.table.each:
            self.table.n_buckets *= 2
        self.table.pool.most = memory
        self.table.limits.history, self.table.limits.window, self.table.limits.pending = history, window, pending
        for i in range(N_STREAM_SHARDS):
            # calloc: pages are touched only as streams come.
            self.table.shards[i].streams = <Stream*>calloc(self.table.each, sizeof(Stream))
            self.table.shards[i].buckets = <uint32_t*>calloc(self.table.n_buckets, sizeof(uint32_t))
            if self.table.shards[i].streams == NULL or self.table.shards[i].buckets == NULL:
                raise MemoryError()
            memset(self.table.shards[i].buckets, 0xFF, self.table.n_buckets * sizeof(uint32_t))
            self.table.shards[i].free = NIL
        _enlist(&self.table)

    def __dealloc__(self):
        cdef uint32_t i, k
        _strike(&self.table)
        for i in range(N_STREAM_SHARDS):
            if self.table.shards[i].streams != NULL:
                for k in range(self.table.shards[i].fresh):
                    half_free(&self.table.shards[i].streams[k].halves[0].half, &self.table.pool)
                    half_free(&self.table.shards[i].streams[k].halves[1].half, &self.table.pool)
            free(self.table.shards[i].streams)
            free(self.table.shards[i].buckets)
        pool_free(&self.table.pool)

    def __len__(self):
        cdef uint32_t i
        total = 0
        for i in range(N_STREAM_SHARDS):
            total += self.table.shards[i].used
        return total

    def counters(self) -> dict:
        """Counts since the start by name, `memory` in bytes now, and `refused` blocks."""
        found = {name: self.table.counts[i] for i, name in enumerate(_NAMES)}
        found["memory"] = self.table.pool.used
        found["refused"] = self.table.pool.refused
        return found

    def resume(self, uint64_t flow_id, bint outbound) -> bool:
        """Ask again, when its next packet comes, what was deferred or is about to be; false if nothing was."""
        return _resume(&self.table, flow_id, outbound)
