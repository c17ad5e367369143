"""Exact-match cache of a layer's arbitrated result, in front of the classifier.  One a worker, no locks."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ._arbitrate cimport Arbitration
from ._table cimport CompiledPolicy
from ._types cimport N_SLOTS, FieldValues

cdef enum:
    KEY_WORDS = 12              # 32-bit words of values: two IPv6 addresses and four narrow fields.
    SMALL_PAIRS = 3             # Two and two words; a 5-tuple of IPv4 has three.
    SMALL_HITS = 5              # A result that hit more filters is not kept.
    LARGE_HITS = 11
    CACHE_SETS = 8192           # Power of two, of 128 bytes: 1 MiB, untouched until used.
    CACHE_WINDOW = 128          # Lookups between two looks at the hit rate.
    CACHE_NAP = 16384           # Lookups left out when a window hit less than CACHE_WORTH times.
    CACHE_WORTH = 86            # Two in three: a miss costs about twice what a hit saves.
    CACHE_FILTERS = 16          # Default of min_filters: such a layer is searched as quickly as looked up.
    HEAD_LARGE = 0x1000         # Bit of a head: the entry takes the whole set.

# Which words of FieldValues make the key of one slot: every field that its filters name.
cdef struct CachePlan:
    uint8_t ready               # Made for the cache's policy.
    uint8_t cacheable           # Texts, and more words than fit, are not.
    uint8_t n_wide              # The first pairs are each one value of 64 bits, the others two of 32.
    uint8_t n_pairs
    uint64_t head               # Of a key whose every value is there, without the generation.
    uint64_t needed[2]          # The fields, as FieldValues.present.
    uint16_t word[KEY_WORDS]    # As Dimension.word, two a pair; the last of an odd number is doubled.
    uint8_t field[KEY_WORDS]    # The word's field.

# Compared in full, up to the plan's pairs.  Words are put together two and two before they are
# stored: reading 64 bits back from two stores of 32 would wait for both.
cdef struct CacheKey:
    # Generation << 32 | slot << 16 | HEAD_LARGE | bit i: word i has a value.  0: an entry never used.
    # The generation's low half suffices: the same key would have to wait for 2 ** 32 reloads.
    uint64_t head
    uint64_t pairs[KEY_WORDS / 2 + 1]

cdef struct CachedResult:       # As arbitration leaves it.
    uint32_t standing           # Filter, or NO_FILTER.
    uint8_t action
    uint8_t right
    uint8_t reason
    uint8_t veto
    uint8_t reply
    uint8_t absorb
    uint8_t n_audit
    uint8_t n_hits

cdef struct SmallEntry:         # One cache line.
    uint64_t head
    uint64_t pairs[SMALL_PAIRS]
    CachedResult result
    uint32_t hits[SMALL_HITS]

cdef struct LargeEntry:         # The lines of two small ones.
    uint64_t head
    uint64_t pairs[KEY_WORDS / 2]
    uint64_t reserved
    uint64_t no_head            # 0: what a small entry's head would be.
    CachedResult result
    uint32_t hits[LARGE_HITS]

cdef union CacheSet:
    SmallEntry small[2]         # Two ways: the probing's bound.
    LargeEntry large

cdef struct DecisionCache:
    CacheSet* sets              # [CACHE_SETS], 64-byte aligned.
    void* memory
    uint64_t seed[2]
    uint64_t generation         # That the plans were made for.
    uint32_t nap                # Lookups to leave out.
    uint32_t window_left
    uint32_t window_hits
    uint32_t turn               # Which way gives room next.
    uint32_t min_filters        # Layers with fewer are not cached.
    uint64_t hits
    uint64_t misses             # Lookups that found nothing; those left out are not counted.
    CachePlan plans[N_SLOTS]

# What a miss leaves for cache_store().
cdef struct CacheProbe:
    CacheSet* set               # NULL: nothing is to be stored.
    uint32_t n_pairs
    CacheKey key

# Whether `slot`'s result for `values` is known; then `state` and `hits` hold it as arbitration left
# them.  Otherwise `probe` is for cache_store() after arbitration.
cdef inline bint cache_find(DecisionCache* cache, const CompiledPolicy* policy, unsigned int slot,
                            const FieldValues* values, CacheProbe* probe, Arbitration* state, uint32_t* hits,
                            uint32_t* n_hits) noexcept nogil:
    probe.set = NULL
    if cache.generation == policy.generation and cache.nap:
        cache.nap -= 1
        return False
    return cache_look(cache, policy, slot, values, probe, state, hits, n_hits)

cdef bint cache_look(DecisionCache* cache, const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                     CacheProbe* probe, Arbitration* state, uint32_t* hits, uint32_t* n_hits) noexcept nogil

# Keep a result.  Never one in which a callout was asked: its answer may change.
cdef inline void cache_store(DecisionCache* cache, const CacheProbe* probe, const Arbitration* state,
                             const uint32_t* hits, uint32_t n_hits) noexcept nogil:
    if probe.set != NULL:
        cache_keep(cache, probe, state, hits, n_hits)

cdef void cache_keep(DecisionCache* cache, const CacheProbe* probe, const Arbitration* state, const uint32_t* hits,
                     uint32_t n_hits) noexcept nogil

# 0, or -1 when memory ran out.  The seed comes from the system's random source.
cdef int cache_create(DecisionCache* cache, uint64_t seed_low, uint64_t seed_high) noexcept nogil
cdef void cache_destroy(DecisionCache* cache) noexcept nogil
