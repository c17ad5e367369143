"""The search over a base and what was added to it: each part is searched by itself, the matches are merged.

A part's search stops at its own end of a sublayer, so what it gives is all that can be needed of
it; merging may put an end before it, and what stands behind that is left out again.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from ._policy cimport AddedFilters, CompiledPolicy, FilterBrief, always_ends
from ._types cimport FieldValues

cdef enum:
    FEW = 32                    # Matches that insertion sorts faster.
    NO_SUBLAYER = 0xFFFF


cdef inline uint64_t _weight(const CompiledPolicy* policy, uint32_t index) noexcept nogil:
    if index < policy.n_filters:
        return policy.filters[index].weight
    return policy.added_weights[index - policy.n_filters]


cdef bint _stands_before(const CompiledPolicy* policy, uint32_t a, uint32_t b) noexcept nogil:
    """Sublayer weight falling, filter weight falling, then the one that is older."""
    cdef uint16_t one = policy.briefs[a].sublayer, other = policy.briefs[b].sublayer
    cdef uint64_t weight_a, weight_b
    if one != other:
        if policy.sublayer_weights[one] != policy.sublayer_weights[other]:
            return policy.sublayer_weights[one] > policy.sublayer_weights[other]
        return one < other
    weight_a, weight_b = _weight(policy, a), _weight(policy, b)
    if weight_a != weight_b:
        return weight_a > weight_b
    return a < b


cdef void _insert(const CompiledPolicy* policy, uint32_t* at, uint32_t first, uint32_t n) noexcept nogil:
    """Put what lies from `first` on among the ordered ones before it."""
    cdef uint32_t i, k, value
    for i in range(first, n):
        value = at[i]
        k = i
        while k and _stands_before(policy, value, at[k - 1]):
            at[k] = at[k - 1]
            k -= 1
        at[k] = value


cdef void _sift(const CompiledPolicy* policy, uint32_t* at, uint32_t root, uint32_t n) noexcept nogil:
    cdef uint32_t child, value = at[root]
    while 2 * root + 1 < n:
        child = 2 * root + 1
        if child + 1 < n and _stands_before(policy, at[child], at[child + 1]):
            child += 1
        if not _stands_before(policy, value, at[child]):
            break
        at[root] = at[child]
        root = child
    at[root] = value


cdef void _sort(const CompiledPolicy* policy, uint32_t* at, uint32_t n) noexcept nogil:
    """Heap sort: a policy whose filters all match must not make it quadratic."""
    cdef uint32_t i, value
    for i in range(n // 2, 0, -1):
        _sift(policy, at, i - 1, n)
    for i in range(n - 1, 0, -1):
        value = at[0]
        at[0] = at[i]
        at[i] = value
        _sift(policy, at, 0, i)


cdef uint32_t _prune(const CompiledPolicy* policy, uint32_t* at, uint32_t n) noexcept nogil:
    """Leave out what stands behind the end of its sublayer."""
    cdef uint32_t i, kept = 0
    cdef uint16_t ended = NO_SUBLAYER
    cdef const FilterBrief* item
    for i in range(n):
        item = &policy.briefs[at[i]]
        if item.sublayer == ended:
            continue
        at[kept] = at[i]
        kept += 1
        if always_ends(item.action, item.flags):
            ended = item.sublayer
    return kept


cdef uint32_t classify_added(const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                             uint32_t* matches, uint32_t n) noexcept nogil:
    cdef const AddedFilters* part
    cdef uint32_t i, k, found, before = n
    for i in range(policy.n_added):
        part = &policy.added[i]
        found = _classify.classify(part.policy, slot, values, matches + n)
        for k in range(n, n + found):
            matches[k] = part.ids[matches[k]]
        n += found
    if n == before:
        return n
    if n <= FEW:
        _insert(policy, matches, before, n)
    else:
        _sort(policy, matches, n)
    return _prune(policy, matches, n)
