"""Conditions that no box can hold, each as an axis of two values: it is true, or it is not."""

from libc.stdint cimport uint32_t

from ._boxes cimport FilterRest
from ._explain cimport condition_at
from ._part cimport Part
from ._same cimport condition_sets, same_set
from ._space cimport EFFECT_IGNORED, MAX_TESTS, Side
from ._table cimport Snapshot
from ._types cimport NO_FILTER

cdef enum:
    MOST_FILTERS = 4096             # Filters that are looked at: each costs microseconds of Python.


cdef bint sets_are_same(const Side* sides, uint32_t a, list one, uint32_t b, list two):
    """Whether sets of the same names hold the same."""
    if a == b:
        return True
    return all([same_set(sides[a].policy, <uint32_t>x, sides[b].policy, <uint32_t>y) for x, y in zip(one, two)])


cdef uint32_t test_of(const Side* sides, uint32_t side, Part part, uint32_t index, list known, uint32_t most):
    """The number of the condition's test, a new one if there is room; else NO_FILTER."""
    cdef uint32_t number = 0
    condition, sets = condition_at(part, index), condition_sets(sides[side].policy, index)
    for other, other_sets, other_side in known:
        if other == condition and sets_are_same(sides, other_side, other_sets, side, sets):
            return number
        number += 1
    if number >= most:
        return NO_FILTER
    known.append((condition, sets, side))
    return number


cdef int filter_take(Side* sides, uint32_t side, Part part, uint32_t owner, list known, uint32_t most) except -1:
    cdef const FilterRest* rest = &sides[side].boxes.rest[owner]
    cdef uint32_t i, number
    cdef bint whole = True
    for i in range(rest.n_residuals):
        number = test_of(sides, side, part, sides[side].boxes.residuals[rest.first_residual + i], known, most)
        if number == NO_FILTER:
            whole = False
        else:
            sides[side].tests[owner] |= <uint32_t>1 << number
    if whole:
        sides[side].partly[owner] = 0
    return 0


cdef list tests_take(Side* sides, Snapshot old, Snapshot new, unsigned int slot, uint32_t most):
    cdef uint32_t side, owner, left = MOST_FILTERS
    cdef bint differing
    cdef Part part
    known = []
    most = min(most, <uint32_t>MAX_TESTS)
    for differing in (True, False):  # What is not the same on both sides is what regions are about.
        for side in range(2):
            part = (new if side else old).root.part
            for owner in range(sides[side].policy.layers[slot].count):
                if (left and sides[side].boxes.rest[owner].n_residuals and sides[side].effect[owner] != EFFECT_IGNORED
                        and (sides[side].twin[owner] == NO_FILTER) == differing):
                    left -= 1
                    filter_take(sides, side, part, owner, known, most)
    return [(condition, bool(side)) for condition, _, side in known]
