"""The flow table.

Problem: every packet of an authorized conversation must be recognised by all workers, while
anybody can send packets that look like new ones.  Goals: bounded memory, no allocation, a short
lock, and an end for what never becomes a conversation.

Structure: shards of a fixed slot array with hash chains, and two age lists: half-open and
closing TCP flows (60 s and 10 s) apart from the rest, so that under pressure a flood of
openings evicts openings before it touches an established flow.  Expiry is
lazy: an entry that is found too old is removed; the oldest of both lists are looked at on
insertion.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

import os

cdef extern from *:
    """
    #include <sched.h>
    static inline void wfpd_lock(int32_t *lock) {
        for (int spins = 0; __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE); spins++)
            if (spins > 64) sched_yield();
    }
    static inline void wfpd_unlock(int32_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }
    static inline uint64_t wfpd_fetch_add(uint64_t *value) { return __atomic_fetch_add(value, 1, __ATOMIC_RELAXED); }
    static inline uint64_t wfpd_mix(uint64_t h, uint64_t v) {
        __uint128_t product = (__uint128_t)(h ^ v) * 0x9E3779B97F4A7C15ULL;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    void wfpd_lock(int32_t* lock) noexcept nogil
    void wfpd_unlock(int32_t* lock) noexcept nogil
    uint64_t wfpd_fetch_add(uint64_t* value) noexcept nogil
    uint64_t wfpd_mix(uint64_t h, uint64_t v) noexcept nogil

cdef enum:
    NIL = 0xFFFFFFFF
    HALF_OPEN_LIST = 0
    OTHER_LIST = 1

cdef uint64_t SECOND = 1000000000


cdef uint64_t _timeout_ns(const FlowEntry* entry) noexcept nogil:
    # SYN_RECV, ESTABLISHED and CLOSE as in nf_conntrack_proto_tcp.c; the rest like an opening.
    if entry.state == FLOW_OPENING:
        return 60 * SECOND
    if entry.state == FLOW_ESTABLISHED:
        return 432000 * SECOND
    if entry.state == FLOW_CLOSING:
        return 10 * SECOND
    return 60 * SECOND


cdef inline bint _expired(const FlowEntry* entry, uint64_t now_ns) noexcept nogil:
    return now_ns > entry.last_ns and now_ns - entry.last_ns > _timeout_ns(entry)


cdef uint64_t flow_hash(const FlowTable* table, const FlowKey* key) noexcept nogil:
    cdef uint64_t h = table.seed[0]
    h = wfpd_mix(h, key.local_hi)
    h = wfpd_mix(h, key.local_lo ^ table.seed[1])
    h = wfpd_mix(h, key.remote_hi)
    h = wfpd_mix(h, key.remote_lo)
    h = wfpd_mix(h, key.tunnel)
    h = wfpd_mix(h, (<uint64_t>key.local_port << 32) | (<uint64_t>key.remote_port << 16)
                 | (<uint64_t>key.protocol << 8) | key.family)
    return h


cdef inline FlowShard* _shard(FlowTable* table, uint64_t hash) noexcept nogil:
    return &table.shards[(hash >> 48) & (table.n_shards - 1)]


cdef void _list_remove(FlowShard* shard, uint32_t index) noexcept nogil:
    cdef FlowSlot* slot = &shard.slots[index]
    if slot.newer != NIL:
        shard.slots[slot.newer].older = slot.older
    else:
        shard.newest[slot.list] = slot.older
    if slot.older != NIL:
        shard.slots[slot.older].newer = slot.newer
    else:
        shard.oldest[slot.list] = slot.newer


cdef void _list_push(FlowShard* shard, uint32_t index) noexcept nogil:
    cdef FlowSlot* slot = &shard.slots[index]
    slot.list = OTHER_LIST
    if slot.entry.state == FLOW_OPENING or slot.entry.state == FLOW_CLOSING:
        slot.list = HALF_OPEN_LIST
    slot.newer = NIL
    slot.older = shard.newest[slot.list]
    if slot.older != NIL:
        shard.slots[slot.older].newer = index
    else:
        shard.oldest[slot.list] = index
    shard.newest[slot.list] = index


cdef uint32_t _find(FlowShard* shard, const FlowKey* key, uint64_t hash) noexcept nogil:
    cdef uint32_t index = shard.buckets[hash & (shard.n_buckets - 1)]
    while index != NIL:
        if memcmp(&shard.slots[index].entry.key, key, sizeof(FlowKey)) == 0:
            return index
        index = shard.slots[index].next
    return NIL


cdef void _drop(FlowTable* table, FlowShard* shard, uint32_t index) noexcept nogil:
    cdef uint64_t hash = flow_hash(table, &shard.slots[index].entry.key)
    cdef uint32_t* link = &shard.buckets[hash & (shard.n_buckets - 1)]
    while link[0] != index:
        link = &shard.slots[link[0]].next
    link[0] = shard.slots[index].next
    _list_remove(shard, index)
    shard.slots[index].next = shard.free
    shard.free = index
    shard.used -= 1


cdef void _expire_oldest(FlowTable* table, FlowShard* shard, uint64_t now_ns) noexcept nogil:
    # At most two of each list: the cost of an insertion stays bounded.
    cdef int list_, n
    cdef uint32_t index
    for list_ in range(2):
        for n in range(2):
            index = shard.oldest[list_]
            if index == NIL or not _expired(&shard.slots[index].entry, now_ns):
                break
            shard.evictions[<int>EVICTED_TIMEOUT] += 1
            _drop(table, shard, index)


cdef bint _make_room(FlowTable* table, FlowShard* shard, uint64_t now_ns, bint only_ask) noexcept nogil:
    cdef uint32_t index
    _expire_oldest(table, shard, now_ns)
    if shard.free != NIL or shard.fresh < shard.capacity:
        return True
    index = shard.oldest[HALF_OPEN_LIST]
    if index != NIL:
        if not only_ask:
            shard.evictions[<int>EVICTED_HALF_OPEN] += 1
            _drop(table, shard, index)
        return True
    index = shard.oldest[OTHER_LIST]
    if index == NIL or table.block_when_full:
        return False
    if not only_ask:
        shard.evictions[<int>EVICTED_OLDEST] += 1
        _drop(table, shard, index)
    return True


cdef bint flow_has_room(FlowTable* table, uint64_t hash, uint64_t now_ns) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef bint room
    wfpd_lock(&shard.lock)
    room = _make_room(table, shard, now_ns, True)
    wfpd_unlock(&shard.lock)
    return room


cdef bint flow_find(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t now_ns, FlowEntry* entry) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef uint32_t index
    cdef bint found = False
    wfpd_lock(&shard.lock)
    index = _find(shard, key, hash)
    if index != NIL:
        if _expired(&shard.slots[index].entry, now_ns):
            shard.evictions[<int>EVICTED_TIMEOUT] += 1
            _drop(table, shard, index)
        else:
            entry[0] = shard.slots[index].entry
            found = True
    wfpd_unlock(&shard.lock)
    return found


cdef bint flow_store(FlowTable* table, FlowEntry* entry, uint64_t hash, uint64_t now_ns) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef uint32_t index
    cdef uint32_t bucket = hash & (shard.n_buckets - 1)
    wfpd_lock(&shard.lock)
    index = _find(shard, &entry.key, hash)
    if index == NIL:
        if not _make_room(table, shard, now_ns, False):
            wfpd_unlock(&shard.lock)
            return False
        index = shard.free
        if index != NIL:
            shard.free = shard.slots[index].next
        else:
            index = shard.fresh
            shard.fresh += 1
        shard.used += 1
        shard.slots[index].next = shard.buckets[bucket]
        shard.buckets[bucket] = index
        if entry.id == 0:
            entry.id = (wfpd_mix(wfpd_fetch_add(&table.next_id), table.seed[1]) >> 11) | 1
    else:
        _list_remove(shard, index)
    shard.slots[index].entry = entry[0]
    _list_push(shard, index)
    wfpd_unlock(&shard.lock)
    return True


cdef void flow_remove(FlowTable* table, const FlowKey* key, uint64_t hash) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef uint32_t index
    wfpd_lock(&shard.lock)
    index = _find(shard, key, hash)
    if index != NIL:
        _drop(table, shard, index)
    wfpd_unlock(&shard.lock)


cdef class Flows:
    """The table, with room for `maximum` flows; `block_when_full` is `flows: {full: block}`."""

    def __cinit__(self, unsigned int maximum=262144, bint block_when_full=False):
        cdef uint32_t i, j, each
        if maximum < 1:
            raise ValueError("a flow table needs room for at least one flow")
        memset(&self.table, 0, sizeof(FlowTable))
        self.table.n_shards = 16 if maximum >= 16384 else 1
        self.table.block_when_full = block_when_full
        seed = os.urandom(16)
        self.table.seed[0] = int.from_bytes(seed[:8], "little")
        self.table.seed[1] = int.from_bytes(seed[8:], "little")
        self.table.shards = <FlowShard*>calloc(self.table.n_shards, sizeof(FlowShard))
        if self.table.shards == NULL:
            raise MemoryError()
        each = (maximum + self.table.n_shards - 1) // self.table.n_shards
        for i in range(self.table.n_shards):
            self._make_shard(&self.table.shards[i], each)

    cdef int _make_shard(self, FlowShard* shard, uint32_t capacity) except -1:
        cdef uint32_t i
        shard.capacity = capacity
        shard.n_buckets = 1
        while shard.n_buckets < capacity:
            shard.n_buckets *= 2
        # calloc: pages are touched only as flows come.
        shard.slots = <FlowSlot*>calloc(capacity, sizeof(FlowSlot))
        shard.buckets = <uint32_t*>calloc(shard.n_buckets, sizeof(uint32_t))
        if shard.slots == NULL or shard.buckets == NULL:
            raise MemoryError()
        memset(shard.buckets, 0xFF, shard.n_buckets * sizeof(uint32_t))
        shard.free = NIL
        for i in range(2):
            shard.newest[i] = NIL
            shard.oldest[i] = NIL
        return 0

    def __dealloc__(self):
        cdef uint32_t i
        if self.table.shards == NULL:
            return
        for i in range(self.table.n_shards):
            free(self.table.shards[i].slots)
            free(self.table.shards[i].buckets)
        free(self.table.shards)

    def __len__(self):
        cdef uint32_t i
        total = 0
        for i in range(self.table.n_shards):
            total += self.table.shards[i].used
        return total

    @property
    def capacity(self):
        """How many flows the table holds."""
        return self.table.shards[0].capacity * self.table.n_shards

    def evictions(self):
        """Counts by reason: timeout, half_open, oldest."""
        cdef uint32_t i
        counts = {"timeout": 0, "half_open": 0, "oldest": 0}
        for i in range(self.table.n_shards):
            counts["timeout"] += self.table.shards[i].evictions[<int>EVICTED_TIMEOUT]
            counts["half_open"] += self.table.shards[i].evictions[<int>EVICTED_HALF_OPEN]
            counts["oldest"] += self.table.shards[i].evictions[<int>EVICTED_OLDEST]
        return counts
