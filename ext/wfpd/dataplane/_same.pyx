"""Which filters of two policies are the same: key, content, what their sets hold, and order."""

from bisect import bisect_left

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from ._policy cimport (
    CompiledPolicy, OP_IN_SET, PackedCondition, PackedFilter, PackedSet, PackedTerm, PackedText, SET_RANGES32, SET_TEXTS,
    text_compare,
)
from ._space cimport Side


cdef bint same_texts(const CompiledPolicy* a, const PackedSet* one, const CompiledPolicy* b, const PackedSet* two):
    cdef uint32_t i
    cdef const PackedText* x
    cdef const PackedText* y
    for i in range(one.count):
        x, y = a.texts + one.first + i, b.texts + two.first + i
        if text_compare(a.bytes + x.offset, x.length, b.bytes + y.offset, y.length) != 0:
            return False
    return True


cdef bint same_set(const CompiledPolicy* a, uint32_t ref_a, const CompiledPolicy* b, uint32_t ref_b):
    cdef const PackedSet* one = a.sets + ref_a
    cdef const PackedSet* two = b.sets + ref_b
    if one.kind != two.kind or one.count != two.count:
        return False
    if one.kind == SET_TEXTS:
        return same_texts(a, one, b, two)
    if one.kind == SET_RANGES32:
        return memcmp(a.ranges32 + 2 * <size_t>one.first, b.ranges32 + 2 * <size_t>two.first, 8 * <size_t>one.count) == 0
    return memcmp(a.ranges128 + 4 * <size_t>one.first, b.ranges128 + 4 * <size_t>two.first, 32 * <size_t>one.count) == 0


cdef list condition_sets(const CompiledPolicy* policy, uint32_t index):
    cdef const PackedCondition* condition = policy.conditions + index
    cdef const PackedTerm* term
    cdef uint32_t k, m
    found = []
    for k in range(condition.n_terms):
        term = policy.terms + condition.first_term + k
        for m in range(term.n_atoms):
            if policy.atoms[term.first_atom + m].op == OP_IN_SET:
                found.append(policy.atoms[term.first_atom + m].ref)
    return found


cdef list sets_named(const CompiledPolicy* policy, const PackedFilter* item):
    """Set indexes of a filter's tests, in order."""
    cdef uint32_t i
    found = []
    for i in range(item.n_conditions):
        found += condition_sets(policy, item.first_condition + i)
    return found


cdef bint same_content(const Side* sides, uint32_t i, uint32_t k, const PackedFilter* a, const PackedFilter* b,
                       dict known):
    """Whether two filters of one key say the same: content, what their sets hold, callouts that are there."""
    if a.hash != b.hash or sides[0].effect[i] != sides[1].effect[k]:
        return False
    one, two = sets_named(sides[0].policy, a), sets_named(sides[1].policy, b)
    if len(one) != len(two):
        return False
    for pair in zip(one, two):
        if pair not in known:
            known[pair] = same_set(sides[0].policy, pair[0], sides[1].policy, pair[1])
        if not known[pair]:
            return False
    return True


cdef list by_key(const CompiledPolicy* policy, unsigned int slot):
    cdef uint32_t i
    cdef const PackedFilter* item = policy.filters + policy.layers[slot].first
    return [(<const char*>item[i].key)[:16] for i in range(policy.layers[slot].count)]


def _longest_rising(numbers):
    """Positions of a longest strictly rising run within `numbers`."""
    tails, at, before = [], [], []
    for position, number in enumerate(numbers):
        place = bisect_left(tails, number)
        before.append(at[place - 1] if place else -1)
        if place == len(tails):
            tails.append(number)
            at.append(position)
        else:
            tails[place], at[place] = number, position
    position = at[len(at) - 1] if at else -1
    found = set()
    while position >= 0:
        found.add(position)
        position = before[position]
    return found


cdef dict compare_filters(Side* sides, unsigned int slot):
    """added, removed, changed, moved; by their place in the slot.  Fills `twin` of those that are the same."""
    cdef const PackedFilter* old = sides[0].policy.filters + sides[0].policy.layers[slot].first
    cdef const PackedFilter* new = sides[1].policy.filters + sides[1].policy.layers[slot].first
    cdef uint32_t i, k
    places = {}
    for place, key in enumerate(by_key(sides[1].policy, slot)):
        places.setdefault(key, []).append(place)
    removed, changed, kept, known = [], [], [], {}
    for i, key in enumerate(by_key(sides[0].policy, slot)):
        left = places.get(key)
        if not left:
            removed.append(i)
            continue
        k = left.pop(0)
        (kept if same_content(sides, i, k, &old[i], &new[k], known) else changed).append((i, k))
    rising = _longest_rising([pair[1] for pair in kept])
    for position in rising:
        i, k = kept[position]
        sides[0].twin[i], sides[1].twin[k] = k, i
    return {
        "added": sorted(place for left in places.values() for place in left), "removed": removed, "changed": changed,
        "moved": [pair for position, pair in enumerate(kept) if position not in rising],
    }
