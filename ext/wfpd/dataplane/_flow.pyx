"""The flow table.

Problem: every packet of an authorized conversation must be recognised by all workers, while
anybody can send packets that look like new ones.  Goals: bounded memory, no allocation, a short
lock, and an end for what never becomes a conversation.

Structure: shards of a fixed slot array with hash chains, and an age list for each state, so that
within a list flows time out in order, and under pressure a flood of openings evicts openings
before it touches an established flow.  An entry that is found too old is removed; the oldest of
each list are looked at on insertion and by flow_sweep(), which is called apart from the packet path.

An ended flow is left in its shard's ring for one consumer; a full ring loses it, counted.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

import os

from ._flow_contexts cimport FlowContexts, contexts_flow_ended
from ._lock cimport wfpd_lock, wfpd_unlock
from ._streams cimport Streams, stream_drop
from ._types cimport NO_FILTER, NO_SLOT

cdef extern from *:
    """
    static inline uint64_t wfpd_fetch_add(uint64_t *value) { return __atomic_fetch_add(value, 1, __ATOMIC_RELAXED); }
    static inline uint64_t wfpd_get(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void wfpd_put(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
    static inline void wfpd_near(const void *at) { __builtin_prefetch(at, 1); }
    static inline uint32_t wfpd_peek(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
    static inline uint64_t wfpd_mix(uint64_t h, uint64_t v) {
        __uint128_t product = (__uint128_t)(h ^ v) * 0x9E3779B97F4A7C15ULL;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    void wfpd_near(const void* at) noexcept nogil
    uint32_t wfpd_peek(const uint32_t* at) noexcept nogil
    uint64_t wfpd_fetch_add(uint64_t* value) noexcept nogil
    uint64_t wfpd_get(const uint64_t* at) noexcept nogil
    void wfpd_put(uint64_t* at, uint64_t value) noexcept nogil
    uint64_t wfpd_mix(uint64_t h, uint64_t v) noexcept nogil

cdef enum:
    NIL = 0xFFFFFFFF
    GROUP_SECONDS = 4               # "ALE Multicast/Broadcast Traffic".
    PROTOCOL_ICMP = 1
    PROTOCOL_ICMPV6 = 58

cdef uint64_t SECOND = 1000000000
# Seconds without a packet, by FlowState; of an established flow as the kernel's conntrack.
cdef uint64_t _TIMEOUT[N_FLOW_STATES]
for _state, _seconds in enumerate((0, 60, 432000, 10, 60, GROUP_SECONDS)):
    _TIMEOUT[_state] = _seconds

_STATES = ("none", "opening", "established", "closing", "other", "group")
_ENDS = ("timeout", "half_open", "oldest", "reused", "reauthorization", "shutdown")


cdef inline bint _expired(const FlowEntry* entry, uint64_t now_ns) noexcept nogil:
    return now_ns > entry.last_ns and now_ns - entry.last_ns > _TIMEOUT[entry.state] * SECOND


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


cdef void _list_remove(FlowShard* shard, uint32_t index, uint8_t state) noexcept nogil:
    cdef FlowSlot* slot = &shard.slots[index]
    if slot.newer != NIL:
        shard.slots[slot.newer].older = slot.older
    else:
        shard.newest[state] = slot.older
    if slot.older != NIL:
        shard.slots[slot.older].newer = slot.newer
    else:
        shard.oldest[state] = slot.newer


cdef void _list_push(FlowShard* shard, uint32_t index) noexcept nogil:
    cdef FlowSlot* slot = &shard.slots[index]
    cdef uint8_t state = slot.entry.state
    slot.newer = NIL
    slot.older = shard.newest[state]
    if slot.older != NIL:
        shard.slots[slot.older].newer = index
    else:
        shard.oldest[state] = index
    shard.newest[state] = index


cdef uint32_t _find(FlowShard* shard, const FlowKey* key, uint64_t hash) noexcept nogil:
    cdef uint32_t index = shard.buckets[hash & (shard.n_buckets - 1)]
    while index != NIL:
        if memcmp(&shard.slots[index].entry.key, key, sizeof(FlowKey)) == 0:
            return index
        index = shard.slots[index].next
    return NIL


cdef inline bint _ring_full(const FlowShard* shard) noexcept nogil:
    return shard.ended_size != 0 and shard.ended_written - wfpd_get(&shard.ended_read) >= shard.ended_size


cdef void _report(FlowShard* shard, const FlowEntry* entry, uint64_t now_ns, FlowEnd why) noexcept nogil:
    cdef EndedFlow* ended
    if shard.ended_size == 0 or entry.key.only_cut:
        return
    if _ring_full(shard):
        shard.ended_lost += 1
        return
    ended = &shard.ended[shard.ended_written & (shard.ended_size - 1)]
    ended.entry = entry[0]
    ended.ended_ns = now_ns
    ended.why = why
    wfpd_put(&shard.ended_written, shard.ended_written + 1)


cdef void _end(FlowTable* table, FlowShard* shard, uint32_t index, uint64_t now_ns, FlowEnd why) noexcept nogil:
    """Remove a flow, count why, and leave it for whoever writes ends down."""
    cdef FlowEntry* entry = &shard.slots[index].entry
    cdef uint32_t* link = &shard.buckets[flow_hash(table, &entry.key) & (shard.n_buckets - 1)]
    while link[0] != index:
        link = &shard.slots[link[0]].next
    link[0] = shard.slots[index].next
    _list_remove(shard, index, entry.state)
    shard.slots[index].next = shard.free
    shard.free = index
    shard.used -= 1
    if why < N_EVICTIONS:
        shard.evictions[<int>why] += 1
    if entry.flags & FLOW_STREAM:
        stream_drop(table.streams, entry.id)
    _report(shard, entry, now_ns, why)
    contexts_flow_ended(table.contexts, entry.id)
    entry.state = FLOW_NONE  # Nobody's: _look() passes over it.


cdef void _expire_oldest(FlowTable* table, FlowShard* shard, uint64_t now_ns) noexcept nogil:
    # At most two of each list: the cost of an insertion stays bounded.
    cdef int state, n
    cdef uint32_t index
    for state in range(1, N_FLOW_STATES):
        for n in range(2):
            index = shard.oldest[state]
            if index == NIL or not _expired(&shard.slots[index].entry, now_ns):
                break
            _end(table, shard, index, now_ns, END_TIMEOUT)


cdef uint32_t _older(const FlowShard* shard, uint32_t a, uint32_t b) noexcept nogil:
    if a == NIL or (b != NIL and shard.slots[b].entry.last_ns < shard.slots[a].entry.last_ns):
        return b
    return a


cdef bint _make_room(FlowTable* table, FlowShard* shard, uint64_t now_ns, bint only_ask) noexcept nogil:
    cdef uint32_t index
    _expire_oldest(table, shard, now_ns)
    if shard.free != NIL or shard.fresh < shard.capacity:
        return True
    index = _older(shard, shard.oldest[<int>FLOW_OPENING], shard.oldest[<int>FLOW_CLOSING])
    if index != NIL:
        if not only_ask:
            _end(table, shard, index, now_ns, END_HALF_OPEN)
        return True
    index = _older(shard, shard.oldest[<int>FLOW_OTHER], shard.oldest[<int>FLOW_GROUP])
    index = _older(shard, index, shard.oldest[<int>FLOW_ESTABLISHED])
    if index == NIL or table.block_when_full:
        return False
    if not only_ask:
        _end(table, shard, index, now_ns, END_OLDEST)
    return True


cdef bint flow_has_room(FlowTable* table, uint64_t hash, uint64_t now_ns) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef bint room
    wfpd_lock(&shard.lock)
    room = _make_room(table, shard, now_ns, True)
    wfpd_unlock(&shard.lock)
    return room


cdef void _slot_near(const FlowShard* shard, uint32_t index) noexcept nogil:
    cdef const uint8_t* slot = <const uint8_t*>&shard.slots[index]
    wfpd_near(slot)
    wfpd_near(slot + 64)
    wfpd_near(slot + sizeof(FlowSlot) - 1)


cdef void flow_prefetch(FlowTable* table, uint64_t hash, int stage) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef const uint32_t* bucket = &shard.buckets[hash & (shard.n_buckets - 1)]
    cdef uint32_t index, other
    if stage == 0:
        wfpd_near(bucket)
        return
    index = wfpd_peek(bucket)
    if index >= shard.capacity:     # NIL: none there.
        return
    if stage == 1:
        _slot_near(shard, index)
        return
    other = wfpd_peek(&shard.slots[index].newer)
    if other < shard.capacity:
        wfpd_near(&shard.slots[other].older)
    other = wfpd_peek(&shard.slots[index].older)
    if other < shard.capacity:
        wfpd_near(&shard.slots[other].newer)


cdef bint flow_find(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t now_ns, FlowEntry* entry) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef uint32_t index
    cdef bint found = False
    wfpd_lock(&shard.lock)
    index = _find(shard, key, hash)
    if index != NIL:
        if _expired(&shard.slots[index].entry, now_ns):
            _end(table, shard, index, now_ns, END_TIMEOUT)
        else:
            entry[0] = shard.slots[index].entry
            found = True
    wfpd_unlock(&shard.lock)
    return found


cdef uint64_t flow_new_id(FlowTable* table) noexcept nogil:
    return (wfpd_mix(wfpd_fetch_add(&table.next_id), table.id_seed) >> 11) | 1


cdef void _insert(FlowTable* table, FlowShard* shard, FlowEntry* entry, uint32_t bucket) noexcept nogil:
    """Into a slot that _make_room() has found."""
    cdef uint32_t index = shard.free
    if index != NIL:
        shard.free = shard.slots[index].next
    else:
        index = shard.fresh
        shard.fresh += 1
    shard.used += 1
    shard.slots[index].next = shard.buckets[bucket]
    shard.buckets[bucket] = index
    if entry.id == 0:
        entry.id = flow_new_id(table)
    shard.slots[index].entry = entry[0]
    _list_push(shard, index)


cdef inline void _count(FlowEntry* entry, uint8_t side, uint32_t octets) noexcept nogil:
    if side != NO_SIDE:
        entry.packets[side] += 1
        entry.octets[side] += octets


cdef void _merge(FlowEntry* stored, const FlowEntry* entry, uint8_t side, uint32_t octets) noexcept nogil:
    _count(stored, side, octets)
    if entry.flags & FLOW_CUT and not stored.flags & FLOW_CUT:
        stored.cut_slot, stored.cut_filter, stored.cut_generation = entry.cut_slot, entry.cut_filter, entry.cut_generation
    stored.flags |= entry.flags
    if entry.marks & FLOW_BEGINS_IN:
        stored.begins[0] = entry.begins[0]
    if entry.marks & FLOW_BEGINS_OUT:
        stored.begins[1] = entry.begins[1]
    stored.marks |= entry.marks
    if entry.state > stored.state:  # The states of TCP follow one another; others never change.
        stored.state = entry.state
    if stored.flags & FLOW_FIN_LOCAL and stored.flags & FLOW_FIN_REMOTE or stored.flags & FLOW_TOLD_BOTH == FLOW_TOLD_BOTH:
        stored.state = FLOW_CLOSING
    if entry.last_ns > stored.last_ns:
        stored.last_ns = entry.last_ns
    if entry.decided >= stored.decided:
        stored.decided = entry.decided
        stored.generation = entry.generation
        stored.filter = entry.filter
        stored.slot = entry.slot
        stored.reason = entry.reason


cdef bint flow_store(FlowTable* table, FlowEntry* entry, uint64_t hash, uint64_t now_ns, uint8_t side,
                     uint32_t octets) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef FlowEntry* stored
    cdef uint32_t index
    cdef uint64_t last_ns
    cdef uint8_t state
    cdef bint room = True
    wfpd_lock(&shard.lock)
    index = _find(shard, &entry.key, hash)
    if index != NIL:
        stored = &shard.slots[index].entry
        state, last_ns = stored.state, stored.last_ns
        _merge(stored, entry, side, octets)
        entry.id = stored.id
        if state != stored.state or last_ns != stored.last_ns:
            _list_remove(shard, index, state)
            _list_push(shard, index)
    else:
        _count(entry, side, octets)
        room = _make_room(table, shard, now_ns, False)
        if room:
            _insert(table, shard, entry, hash & (shard.n_buckets - 1))
    wfpd_unlock(&shard.lock)
    return room


cdef void flow_add_flags(FlowTable* table, const FlowKey* key, uint64_t hash, uint16_t flags) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef uint32_t index
    wfpd_lock(&shard.lock)
    index = _find(shard, key, hash)
    if index != NIL:
        shard.slots[index].entry.flags |= flags
    wfpd_unlock(&shard.lock)


cdef void flow_remove(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t now_ns, FlowEnd why) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef uint32_t index
    wfpd_lock(&shard.lock)
    index = _find(shard, key, hash)
    if index != NIL:
        _end(table, shard, index, now_ns, why)
    wfpd_unlock(&shard.lock)


cdef bint flow_is(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t id) noexcept nogil:
    cdef FlowShard* shard = _shard(table, hash)
    cdef uint32_t index
    cdef bint found
    wfpd_lock(&shard.lock)
    index = _find(shard, key, hash)
    found = index != NIL and shard.slots[index].entry.id == id
    wfpd_unlock(&shard.lock)
    return found


cdef void flow_not_made(FlowTable* table, uint64_t id) noexcept nogil:
    stream_drop(table.streams, id)
    contexts_flow_ended(table.contexts, id)


cdef void flow_keep_cut(FlowTable* table, FlowEntry* entry, uint64_t hash, uint64_t now_ns) noexcept nogil:
    cdef uint64_t until
    if entry.flags & FLOW_TOLD_BOTH == FLOW_TOLD_BOTH:
        entry.state = FLOW_CLOSING
    until = now_ns + (_TIMEOUT[entry.state] + 1) * SECOND
    entry.last_ns = max(entry.last_ns, now_ns)
    flow_store(table, entry, hash, now_ns, NO_SIDE, 0)
    if entry.key.only_cut and wfpd_get(&table.cut_until_ns) < until:
        wfpd_put(&table.cut_until_ns, until)


include "_flow_group.pxi"


# ---------------------------------------------------------------------- apart from the packet path


cdef uint32_t _sweep_shard(FlowTable* table, FlowShard* shard, uint64_t now_ns, uint32_t limit, bint all) noexcept nogil:
    """End at most `limit` flows that have timed out (or just any), while there is room to report them."""
    cdef int state
    cdef uint32_t index, n = 0
    wfpd_lock(&shard.lock)
    for state in range(1, N_FLOW_STATES):
        index = shard.oldest[state]
        while n < limit and index != NIL and not _ring_full(shard):
            if _expired(&shard.slots[index].entry, now_ns):
                _end(table, shard, index, now_ns, END_TIMEOUT)
            elif all:
                _end(table, shard, index, now_ns, END_SHUTDOWN)
            else:
                break
            n += 1
            index = shard.oldest[state]
    wfpd_unlock(&shard.lock)
    return n


cdef bytes _address(uint8_t family, uint64_t hi, uint64_t lo):
    if family == 4:
        return int(lo).to_bytes(4, "big")
    return ((int(hi) << 64) | int(lo)).to_bytes(16, "big")


cdef dict _ended_dict(const EndedFlow* ended):
    cdef const FlowEntry* entry = &ended.entry
    cdef const FlowKey* key = &entry.key
    cdef bint outbound = (entry.flags & FLOW_OUTBOUND) != 0
    cdef object local = (_address(key.family, key.local_hi, key.local_lo), key.local_port)
    cdef object remote = (_address(key.family, key.remote_hi, key.remote_lo), key.remote_port)
    return {
        "flow_id": entry.id, "family": key.family, "protocol": key.protocol, "inbound_group": bool(key.inbound_group),
        "client": local if outbound else remote, "server": remote if outbound else local, "outbound": outbound,
        "icmp_type": entry.icmp_type, "icmp_code": key.local_port & 0xFF,
        "first_ns": entry.first_ns, "last_ns": entry.last_ns, "ended_ns": ended.ended_ns,
        "packets": (entry.packets[0], entry.packets[1]), "bytes": (entry.octets[0], entry.octets[1]),
        "state": _STATES[entry.state], "end": _ENDS[ended.why], "interface": entry.interface,
        "slot": None if entry.slot == NO_SLOT else entry.slot,
        "place": None if entry.filter == NO_FILTER else entry.filter,
        "reason": entry.reason, "generation": entry.decided, "layer_generation": entry.generation,
    }


cdef dict _flow_dict(const FlowEntry* entry):
    cdef const FlowKey* key = &entry.key
    return {
        "flow_id": entry.id, "family": key.family, "protocol": key.protocol, "inbound_group": bool(key.inbound_group),
        "local": (_address(key.family, key.local_hi, key.local_lo), key.local_port),
        "remote": (_address(key.family, key.remote_hi, key.remote_lo), key.remote_port),
        "outbound": (entry.flags & FLOW_OUTBOUND) != 0, "icmp_type": entry.icmp_type,
        "first_ns": entry.first_ns, "last_ns": entry.last_ns,
        "packets": (entry.packets[0], entry.packets[1]), "bytes": (entry.octets[0], entry.octets[1]),
        "state": _STATES[entry.state],
        "slot": None if entry.slot == NO_SLOT else entry.slot,
        "place": None if entry.filter == NO_FILTER else entry.filter,
        "generation": entry.decided, "layer_generation": entry.generation,
    }


# What a listing of flows asks for.
cdef struct FlowWish:
    uint64_t high, low              # An address of either end.
    uint8_t family                  # 0: of any address.
    int32_t port                    # Of either end; -1: any.
    int32_t protocol                # -1: any.


cdef bint _is_wished(const FlowKey* key, const FlowWish* wish) noexcept nogil:
    if wish.protocol >= 0 and key.protocol != wish.protocol:
        return False
    if wish.port >= 0 and key.local_port != wish.port and key.remote_port != wish.port:
        return False
    return wish.family == 0 or (key.family == wish.family and (
        (key.local_hi == wish.high and key.local_lo == wish.low)
        or (key.remote_hi == wish.high and key.remote_lo == wish.low)))


cdef enum:
    LOOKED_AT = 64                  # Slots that are looked at under one lock.


cdef uint32_t _look(FlowShard* shard, uint32_t first, const FlowWish* wish, FlowEntry* found) noexcept nogil:
    """Copy the wished flows of LOOKED_AT slots from `first` on; how many."""
    cdef uint32_t i, n = 0
    wfpd_lock(&shard.lock)
    for i in range(first, min(first + LOOKED_AT, shard.fresh)):
        if shard.slots[i].entry.state != FLOW_NONE and not shard.slots[i].entry.key.only_cut and _is_wished(&shard.slots[i].entry.key, wish):
            found[n] = shard.slots[i].entry
            n += 1
    wfpd_unlock(&shard.lock)
    return n


cdef class Flows:
    """Owns one flow table; `maximum` entries over all shards, full: evict or block.

    `ended` is how many ended flows wait at most for drain_ended(), 0: none are kept; a given `id_seed`
    makes the ids the same in every run.  `contexts`: callouts may keep so many values with flows.  `streams` belongs to
    this table alone; None: one of the usual size.
    """

    def __cinit__(self, unsigned int maximum=262144, bint block_when_full=False, unsigned int ended=4096,
                  uint64_t id_seed=0, unsigned int contexts=262144, Streams streams=None):
        cdef uint32_t i, each
        if maximum < 1:
            raise ValueError("a flow table needs room for at least one flow")
        memset(&self.table, 0, sizeof(FlowTable))
        self.contexts = FlowContexts(contexts)
        self.table.contexts = &self.contexts.table
        self.streams = streams if streams is not None else Streams()
        self.table.streams = &self.streams.table
        self.table.n_shards = 16 if maximum >= 16384 else 1
        self.table.block_when_full = block_when_full
        seed = os.urandom(16)
        self.table.seed[0] = int.from_bytes(seed[:8], "little")
        self.table.seed[1] = int.from_bytes(seed[8:], "little")
        self.table.next_id = 1
        self.table.id_seed = id_seed if id_seed else self.table.seed[0] ^ self.table.seed[1]
        self.table.shards = <FlowShard*>calloc(self.table.n_shards, sizeof(FlowShard))
        if self.table.shards == NULL:
            raise MemoryError()
        self.table.groups = <FlowKey*>calloc(GROUP_PLACES, sizeof(FlowKey))
        if self.table.groups == NULL:
            raise MemoryError()
        each = (maximum + self.table.n_shards - 1) // self.table.n_shards
        for i in range(self.table.n_shards):
            self._make_shard(&self.table.shards[i], each, (ended + self.table.n_shards - 1) // self.table.n_shards)

    cdef int _make_shard(self, FlowShard* shard, uint32_t capacity, uint32_t ended) except -1:
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
        if ended:
            shard.ended_size = 1
            while shard.ended_size < ended:
                shard.ended_size *= 2
            shard.ended = <EndedFlow*>calloc(shard.ended_size, sizeof(EndedFlow))
            if shard.ended == NULL:
                raise MemoryError()
        shard.free = NIL
        for i in range(N_FLOW_STATES):
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
            free(self.table.shards[i].ended)
        free(self.table.groups)
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
        cdef int why
        counts = dict.fromkeys(_ENDS[:<int>N_EVICTIONS], 0)
        for i in range(self.table.n_shards):
            for why in range(N_EVICTIONS):
                counts[_ENDS[why]] += self.table.shards[i].evictions[why]
        return counts

    @property
    def ended_lost(self):
        """Ends that nobody fetched in time."""
        cdef uint32_t i
        total = 0
        for i in range(self.table.n_shards):
            total += self.table.shards[i].ended_lost
        return total

    def sweep(self, uint64_t now_ns, *, uint32_t limit=64, bint all=False):
        """End flows that have timed out, at most `limit` a shard; `all`: also those that have not.

        Stops where drain_ended() has to come first.  Returns how many ended.
        """
        cdef uint32_t i, n = 0
        with nogil:
            for i in range(self.table.n_shards):
                n += _sweep_shard(&self.table, &self.table.shards[i], now_ns, limit, all)
        return n

    def page(self, uint64_t start, uint32_t size, *, bytes address=None, int port=-1, int protocol=-1) -> tuple:
        """(about `size` flows as dicts, where to go on or None); from the beginning with `start` 0.

        Of those with this address (4 or 16 bytes, network order), port and protocol only.  Flows that come and go
        meanwhile may be left out or not; each is whole.
        """
        cdef FlowWish wish
        cdef FlowEntry[LOOKED_AT] entries
        cdef uint64_t shard = start >> 32
        cdef uint32_t slot = start & 0xFFFFFFFF, n, i
        memset(&wish, 0, sizeof(wish))
        wish.port, wish.protocol = port, protocol
        if address is not None:
            wish.family = 4 if len(address) == 4 else 6
            number = int.from_bytes(address, "big")
            wish.high, wish.low = number >> 64, number & 0xFFFFFFFFFFFFFFFF
        found = []
        while shard < self.table.n_shards:
            while slot < self.table.shards[shard].fresh:
                with nogil:
                    n = _look(&self.table.shards[shard], slot, &wish, entries)
                slot += LOOKED_AT
                found += [_flow_dict(&entries[i]) for i in range(n)]
                if <uint64_t>len(found) >= size:
                    return found, (shard << 32) | slot
            shard, slot = shard + 1, 0
        return found, None

    def drain_ended(self, limit=1024):
        """Up to `limit` ended flows as dicts, oldest first within a shard; for one consumer thread.

        `client` and `server` are (address, port); `place` is the filter's place in the slot, whose
        content is of generation `layer_generation`.
        """
        cdef uint32_t i
        cdef FlowShard* shard
        found = []
        for i in range(self.table.n_shards):
            shard = &self.table.shards[i]
            while len(found) < limit and shard.ended_read != wfpd_get(&shard.ended_written):
                found.append(_ended_dict(&shard.ended[shard.ended_read & (shard.ended_size - 1)]))
                wfpd_put(&shard.ended_read, shard.ended_read + 1)
        return found
