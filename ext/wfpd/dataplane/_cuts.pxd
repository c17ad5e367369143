"""Which cut of a node is the cheapest: windows, equal parts, copies, expected cost."""

from libc.stdint cimport uint32_t, uint64_t

from ._boxes cimport MAX_DIMENSIONS, Bound, BoxSet

cdef enum:
    MAX_PARTS = 1024
    ALL = 0xFFFFFFFF

cdef struct Place:              # Of a node in the tree.
    Bound region[MAX_DIMENSIONS]
    uint32_t depth
    uint32_t forks
    double allowance            # Copies that the path may still multiply by.

cdef struct Plan:
    double score                # Expected cost of a search, in the units of _cuts.pyx; 0: not allowed.
    uint32_t dimension
    uint32_t lo
    uint32_t shift
    uint32_t parts              # 0: no cut is cheaper than a leaf.
    uint32_t most               # Boxes that touch more parts go to the fork's second tree; ALL: no fork.

cdef inline uint32_t clip_lo(Bound bound, Bound region) noexcept nogil:
    return bound.lo if bound.lo > region.lo else region.lo

cdef inline uint32_t clip_hi(Bound bound, Bound region) noexcept nogil:
    return bound.hi if bound.hi < region.hi else region.hi

cdef inline bint spans_region(Bound bound, Bound region) noexcept nogil:
    return bound.lo <= region.lo and bound.hi >= region.hi

cdef inline bint meets_region(Bound bound, Bound region) noexcept nogil:
    return clip_lo(bound, region) <= clip_hi(bound, region)

# Parts first..past-1 of the window that the box touches, if any; whether it touches the outside too.
# A box over one edge of the window touches the outside and the parts at that edge, no others.
cdef inline bint touched(const Plan* plan, Bound bound, Bound region, uint32_t* first, uint32_t* past) noexcept nogil:
    cdef uint32_t lo = clip_lo(bound, region), hi = clip_hi(bound, region)
    cdef uint64_t end = <uint64_t>plan.lo + ((<uint64_t>plan.parts) << plan.shift)
    first[0] = past[0] = 0
    if hi >= plan.lo and lo < end:
        first[0] = 0 if lo < plan.lo else (lo - plan.lo) >> plan.shift
        past[0] = plan.parts if hi >= end else ((hi - plan.lo) >> plan.shift) + 1
    return lo < plan.lo or hi >= end

# Copies that a cut may make of each box, by the place's allowance.
cdef inline double copies_allowed(const Place* place) noexcept nogil:
    return place.allowance if place.allowance < 1.5 else 1.5

# The cheapest cut of all dimensions and widths into `best`.  Looks at all boxes of the list if
# `exact`, else at a sample of SAMPLES: then the copies it expects may be wrong.
cdef void best_plan(const BoxSet* boxes, const uint32_t* list, uint32_t n, const Place* place, bint exact,
                    Plan* best) noexcept nogil
