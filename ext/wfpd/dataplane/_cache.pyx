"""Exact-match decision cache.

Problem: most packets ask a layer the very question that a packet before them asked.  Goal: answer
it in about 10 ns, without ever giving an answer that the classifier would not, and without making
traffic that never repeats (a scan, a flood of random headers) dearer than the classifier alone.

Design, with the price of each point:

- The key is every value that the layer's filters name, in full, with a bit for each that is
  absent; two packets with one key are the same to every filter of the layer.  No wildcard entry is
  ever made: traffic cannot shape the cache beyond evicting from it.  Price: a layer that names a
  text, or more than KEY_WORDS words, is not cached.  A key of IPv4 and its result fit in one cache
  line, and what a lookup costs is lines: the first form, two lines an entry, four a lookup, took
  half of all time at `input`.
- What is kept is the arbitrated result with the filters that it hit, so counters stay exact.
  Price: nothing is kept where a callout was asked, or more than SMALL_HITS filters were hit.
- The snapshot's generation is part of the key: a reload makes every entry old, nothing is flushed.
- Two ways a set, keyed hash (random seed a process): the probing is bounded and a collision costs
  one entry.  The hash multiplies values with values, all at once.
- Where a window of lookups hits too little, the next CACHE_NAP lookups leave the cache out: a flood
  pays for less than one lookup in a hundred.  The safe direction of error: a needless search.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

import os

from ._arbitrate cimport NO_SUBLAYER, STEP_CALLOUT, arbitrate_begin, arbitrate_run
from ._boxes cimport SHAPE_ADDRESS6, SHAPE_DOUBLE, SHAPE_OTHER, FieldShape, field_shape
from ._layered cimport classify
from ._table cimport Snapshot
from ._types cimport N_FIELDS, NO_FILTER, value_set128

cdef extern from *:
    """
    /* Both lines of a set at once: compared one by one, each would be waited for. */
    static inline void wfpd_set_near(const void *set) {
        __builtin_prefetch(set);
        __builtin_prefetch((const char *)set + 64);
    }
    static inline uint64_t wfpd_fold(uint64_t a, uint64_t b) {
        __uint128_t product = (__uint128_t)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t wfpd_fold(uint64_t a, uint64_t b) noexcept nogil
    void wfpd_set_near(const void* set) noexcept nogil

ACTIONS = ("none", "permit", "block")


cdef bint _plan_pairs(CachePlan* plan, const uint64_t* needed, unsigned int slot, bint wide) noexcept nogil:
    """Add the fields of 64 bits and more, or the others; whether they fit."""
    cdef uint32_t field, i, n = 2 * plan.n_pairs, values, copies = 2 if wide else 1
    cdef FieldShape shape
    for field in range(N_FIELDS):
        shape = field_shape(field, slot & 1)
        if not (needed[field >> 6] >> (field & 63)) & 1 or (shape == SHAPE_ADDRESS6 or shape == SHAPE_DOUBLE) != wide:
            continue
        values = 2 if shape == SHAPE_ADDRESS6 else 1
        if shape == SHAPE_OTHER or n + copies * values > KEY_WORDS:
            return False
        for i in range(copies * values):
            plan.word[n] = <uint16_t>(2 + field + (N_FIELDS if values == 2 and i < 2 else 0))
            plan.field[n] = <uint8_t>field
            n += 1
    if n % 2:
        plan.word[n] = plan.word[n - 1]
        plan.field[n] = plan.field[n - 1]
        n += 1
    plan.n_pairs = <uint8_t>(n // 2)
    return True


cdef void _plan(CachePlan* plan, const CompiledPolicy* policy, unsigned int slot, uint32_t min_filters) noexcept nogil:
    """The key of the slot's fields, or `cacheable` 0."""
    memset(plan, 0, sizeof(CachePlan))
    plan.ready = 1
    plan.needed[0] = policy.fields_needed[slot][0]
    plan.needed[1] = policy.fields_needed[slot][1]
    if policy.layers[slot].count < min_filters or not _plan_pairs(plan, plan.needed, slot, True):
        return
    plan.n_wide = plan.n_pairs
    plan.cacheable = _plan_pairs(plan, plan.needed, slot, False)
    plan.head = (<uint64_t>slot << 16 | (<uint32_t>1 << 2 * plan.n_pairs) - 1
                 | (HEAD_LARGE if plan.n_pairs > SMALL_PAIRS else 0))


cdef void _leave_absent(const CachePlan* plan, const FieldValues* values, CacheKey* key) noexcept nogil:
    """An absent value may be anything in FieldValues: its part of the key is 0, and its bit too."""
    cdef uint32_t i
    cdef uint64_t has
    for i in range(2 * plan.n_pairs):
        has = (values.present[plan.field[i] >> 6] >> (plan.field[i] & 63)) & 1
        key.head ^= (has ^ 1) << i
        key.pairs[i // 2] &= ~((has - 1) & <uint64_t>0xFFFFFFFF << 32 * (i % 2))


cdef inline uint64_t _key(const DecisionCache* cache, const CachePlan* plan, const FieldValues* values,
                          CacheKey* key) noexcept nogil:
    """Fill `key`, without the generation; its hash.

    That leaves the generation out as well, so that old entries are written over first.
    """
    cdef const uint64_t* at = <const uint64_t*>values
    cdef uint32_t i, n = plan.n_pairs
    cdef uint64_t h
    key.head = plan.head
    key.pairs[n] = 0                # The hash takes two at a time.
    for i in range(plan.n_wide):
        key.pairs[i] = at[plan.word[2 * i]]
    for i in range(plan.n_wide, n):
        key.pairs[i] = <uint32_t>at[plan.word[2 * i]] | at[plan.word[2 * i + 1]] << 32
    if (plan.needed[0] & ~values.present[0]) | (plan.needed[1] & ~values.present[1]):
        _leave_absent(plan, values, key)
    # Multiplications that do not wait for each other.
    h = wfpd_fold(key.head ^ cache.seed[0], key.pairs[0] ^ cache.seed[1])
    for i in range(1, n, 2):
        h ^= wfpd_fold(key.pairs[i] ^ (cache.seed[0] + i), key.pairs[i + 1] ^ (cache.seed[1] - i))
    return h


cdef inline uint64_t _differ(uint64_t head, const uint64_t* pairs, const CacheKey* key,
                             uint32_t n_pairs) noexcept nogil:
    """0: the same key."""
    cdef uint64_t differ = head ^ key.head
    cdef uint32_t i
    for i in range(n_pairs):
        differ |= pairs[i] ^ key.pairs[i]
    return differ


cdef void _judge(DecisionCache* cache) noexcept nogil:
    """A window is over: go on looking, or leave the next lookups out."""
    if cache.window_hits < CACHE_WORTH:
        cache.nap = CACHE_NAP
    cache.window_left = CACHE_WINDOW
    cache.window_hits = 0


cdef void _begin(DecisionCache* cache, uint64_t generation) noexcept nogil:
    """Another policy: its layers have other keys.  All lookups miss at first, which is no reason to leave any out."""
    memset(cache.plans, 0, sizeof(cache.plans))
    cache.generation = generation
    cache.nap = 0
    cache.window_left = CACHE_SETS // 2
    cache.window_hits = CACHE_WORTH


cdef bint cache_look(DecisionCache* cache, const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                     CacheProbe* probe, Arbitration* state, uint32_t* hits, uint32_t* n_hits) noexcept nogil:
    cdef CachePlan* plan = &cache.plans[slot]
    cdef CacheSet* found
    cdef SmallEntry* small
    cdef uint32_t way
    if cache.generation != policy.generation:
        _begin(cache, policy.generation)
    if not plan.cacheable:
        if not plan.ready:
            _plan(plan, policy, slot, cache.min_filters)
        if not plan.cacheable:
            return False
    if cache.window_left == 0:
        _judge(cache)
    cache.window_left -= 1
    probe.n_pairs = plan.n_pairs
    found = &cache.sets[_key(cache, plan, values, &probe.key) & (CACHE_SETS - 1)]
    wfpd_set_near(found)
    probe.key.head |= policy.generation << 32
    if plan.n_pairs <= SMALL_PAIRS:
        # One jump, mostly foreseen: taking the second by arithmetic would wait for the first, 5 ns.
        for way in range(2):
            small = &found.small[way]
            if _differ(small.head, small.pairs, &probe.key, plan.n_pairs) == 0:
                _restore(&small.result, small.hits, policy, state, hits, n_hits)
                return _hit(cache)
    elif _differ(found.large.head, found.large.pairs, &probe.key, plan.n_pairs) == 0:
        _restore(&found.large.result, found.large.hits, policy, state, hits, n_hits)
        return _hit(cache)
    probe.set = found
    cache.misses += 1
    return False


cdef inline bint _hit(DecisionCache* cache) noexcept nogil:
    cache.hits += 1
    cache.window_hits += 1
    return True


cdef inline void _restore(const CachedResult* result, const uint32_t* kept, const CompiledPolicy* policy,
                          Arbitration* state, uint32_t* hits, uint32_t* n_hits) noexcept nogil:
    cdef uint32_t i
    state.policy = policy
    state.matches = NULL
    state.n_matches = 0
    state.next = 0
    state.asked = NO_FILTER
    state.ended = NO_SUBLAYER
    state.standing = result.standing
    state.action = result.action
    state.right = result.right
    state.reason = result.reason
    state.veto = result.veto
    state.reply = result.reply
    state.absorb = result.absorb
    state.n_audit = result.n_audit
    state.waterfall = 0
    n_hits[0] = result.n_hits
    for i in range(result.n_hits):
        hits[i] = kept[i]


cdef void _take_result(CachedResult* result, uint32_t* kept, const Arbitration* state, const uint32_t* hits,
                       uint32_t n_hits) noexcept nogil:
    result.standing = state.standing
    result.action = state.action
    result.right = state.right
    result.reason = state.reason
    result.veto = state.veto
    result.reply = state.reply
    result.absorb = state.absorb
    result.n_audit = state.n_audit
    result.n_hits = <uint8_t>n_hits
    memcpy(kept, hits, n_hits * sizeof(uint32_t))


cdef SmallEntry* _room(DecisionCache* cache, CacheSet* found, uint64_t head) noexcept nogil:
    """The way to write: of an older policy, else one after the other.  A large entry that loses a line goes."""
    cdef uint32_t way
    cache.turn ^= 1
    way = cache.turn
    if found.small[0].head >> 32 != head >> 32:
        way = 0
    elif found.small[1].head >> 32 != head >> 32:
        way = 1
    if way == 1 and found.small[0].head & HEAD_LARGE:
        found.small[0].head = 0
    return &found.small[way]


cdef void cache_keep(DecisionCache* cache, const CacheProbe* probe, const Arbitration* state, const uint32_t* hits,
                     uint32_t n_hits) noexcept nogil:
    cdef SmallEntry* small
    cdef LargeEntry* large
    if probe.n_pairs <= SMALL_PAIRS:
        if n_hits <= SMALL_HITS:
            small = _room(cache, probe.set, probe.key.head)
            memcpy(small, &probe.key, (1 + probe.n_pairs) * sizeof(uint64_t))
            _take_result(&small.result, small.hits, state, hits, n_hits)
    elif n_hits <= LARGE_HITS:
        large = &probe.set.large
        memcpy(large, &probe.key, (1 + probe.n_pairs) * sizeof(uint64_t))
        large.no_head = 0
        _take_result(&large.result, large.hits, state, hits, n_hits)


cdef int cache_create(DecisionCache* cache, uint64_t seed_low, uint64_t seed_high) noexcept nogil:
    memset(cache, 0, sizeof(DecisionCache))
    cache.memory = calloc(CACHE_SETS + 1, sizeof(CacheSet))
    if cache.memory == NULL:
        return -1
    cache.sets = <CacheSet*>((<uintptr_t>cache.memory + 63) & ~<uintptr_t>63)
    cache.seed[0] = seed_low
    cache.seed[1] = seed_high
    cache.min_filters = CACHE_FILTERS
    return 0


cdef void cache_destroy(DecisionCache* cache) noexcept nogil:
    free(cache.memory)
    cache.memory = NULL
    cache.sets = NULL


cdef inline bint _decide(DecisionCache* cache, const CompiledPolicy* policy, unsigned int slot,
                         const FieldValues* values, Arbitration* state, uint32_t* matches, uint32_t capacity,
                         uint32_t* n_hits) noexcept nogil:
    """As a visit does; False if a callout is asked."""
    cdef CacheProbe probe
    cdef uint32_t n
    probe.set = NULL
    if cache != NULL and cache_find(cache, policy, slot, values, &probe, state, matches + capacity, n_hits):
        return True
    n = classify(policy, slot, values, matches)
    arbitrate_begin(state, policy, matches, n)
    if arbitrate_run(state, matches + capacity, n_hits) == STEP_CALLOUT:
        return False
    if cache != NULL:
        cache_store(cache, &probe, state, matches + capacity, n_hits[0])
    return True


cdef class CacheDoor:
    """Cold door for tests and benches: one cache, asked before the classifier as the packet path asks it."""

    cdef DecisionCache cache

    def __cinit__(self, unsigned int min_filters=CACHE_FILTERS):
        seed = os.urandom(16)
        if cache_create(&self.cache, int.from_bytes(seed[:8], "little"), int.from_bytes(seed[8:], "little")) != 0:
            raise MemoryError()
        self.cache.min_filters = min_filters

    def __dealloc__(self):
        cache_destroy(&self.cache)

    @property
    def counts(self) -> dict:
        """Lookups that hit and that missed; those left out are in neither."""
        return {"hits": self.cache.hits, "misses": self.cache.misses}

    def decide_many(self, Snapshot snapshot not None, unsigned int slot, fields, const uint64_t[:, ::1] rows,
                    unsigned int rounds=0, bint cached=True, bint decided=True):
        """Decide every row; `fields` are field ids, a row holds (high, low) for each (an absent one is left out
        of `fields`).

        Without `rounds`: (action, right, reason, filter or None, hits) of each row; a row whose
        arbitration asks a callout is None.  With it: mean nanoseconds of thread CPU time a row;
        `cached` False leaves the cache out, `decided` False everything but reading the values, for comparison.
        """
        cdef FieldValues values
        cdef timespec start, end
        cdef uint32_t ids[N_FIELDS]
        cdef uint32_t n_fields = len(fields), n_hits, i
        cdef Py_ssize_t row, n = rows.shape[0]
        cdef unsigned int turn
        cdef Arbitration state
        if slot >= N_SLOTS or n_fields > N_FIELDS or rows.shape[1] != 2 * n_fields:
            raise ValueError("no such slot, or a row is not two numbers a field")
        for i, field in enumerate(fields):
            ids[i] = field
        memset(&values, 0, sizeof(values))
        cdef uint32_t capacity = snapshot.policy.max_layer_filters + LARGE_HITS
        cdef uint32_t* matches = <uint32_t*>malloc(2 * capacity * sizeof(uint32_t))
        if matches == NULL:
            raise MemoryError()
        cdef DecisionCache* cache = &self.cache if cached else NULL
        result = []
        try:
            if rounds and n:
                with nogil:
                    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start)
                    for turn in range(rounds):
                        for row in range(n):
                            for i in range(n_fields):
                                value_set128(&values, ids[i], rows[row, 2 * i], rows[row, 2 * i + 1])
                            n_hits = 0
                            if decided:
                                _decide(cache, &snapshot.policy, slot, &values, &state, matches, capacity, &n_hits)
                    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end)
                return (1e9 * (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec)) / (<double>rounds * n)
            for row in range(n):
                for i in range(n_fields):
                    value_set128(&values, ids[i], rows[row, 2 * i], rows[row, 2 * i + 1])
                n_hits = 0
                if not _decide(cache, &snapshot.policy, slot, &values, &state, matches, capacity, &n_hits):
                    result.append(None)
                    continue
                result.append((
                    ACTIONS[state.action], bool(state.right), state.reason,
                    None if state.standing == 0xFFFFFFFF else state.standing,
                    [matches[capacity + i] for i in range(n_hits)],
                ))
            return result
        finally:
            free(matches)
