"""A leaf tests only dimensions in which one of its boxes does not span the leaf's region.

Entries stand by filter, which is by sublayer and in it by weight.  Each knows where its sublayer's
run ends within the block, and each block where the run that it ends with does: what follows a
filter that ends its sublayer is stepped over.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ._boxes cimport MAX_DIMENSIONS, Bound, BoxSet, FilterRest
from ._cuts cimport Place, spans_region
from ._store cimport Store, store_reserve
from ._tree cimport EMPTY_LEAF, LANE_ENDS, LANE_NEEDS, LANE_RESIDUAL, LEAF_BIAS, LEAF_BIT, LEAF_HEADER, LEAF_LANES


cdef inline const Bound* bounds_of(const BoxSet* boxes, uint32_t box) noexcept nogil:
    return boxes.bounds + <size_t>box * boxes.n_dimensions


cdef uint32_t tested_dimensions(const BoxSet* boxes, const uint32_t* list, uint32_t n, const Place* place,
                                uint8_t* out) noexcept nogil:
    """Dimensions in which some box does not span the region; their number."""
    cdef uint32_t d, i, count = 0
    for d in range(boxes.n_dimensions):
        for i in range(n):
            if not spans_region(bounds_of(boxes, list[i])[d], place.region[d]):
                out[count] = <uint8_t>d
                count += 1
                break
    return count


cdef void fill_bounds(const BoxSet* boxes, const uint32_t* list, uint32_t n, const uint8_t* dims, uint32_t n_dims,
                      uint32_t* block) noexcept nogil:
    cdef uint32_t i, d, lane
    cdef const Bound* bounds
    for i in range(n):
        lane = i % LEAF_LANES
        bounds = bounds_of(boxes, list[i])
        for d in range(n_dims):
            block[2 * LEAF_LANES * d + lane] = bounds[dims[d]].lo + LEAF_BIAS
            block[2 * LEAF_LANES * d + LEAF_LANES + lane] = bounds[dims[d]].hi - bounds[dims[d]].lo + LEAF_BIAS
        if lane == LEAF_LANES - 1:
            block += 2 * LEAF_LANES * (n_dims + 1)


cdef inline uint32_t rank_of(const BoxSet* boxes, uint32_t box) noexcept nogil:
    return boxes.rest[boxes.owner[box]].rank


cdef void fill_owners(const BoxSet* boxes, const uint32_t* list, uint32_t n, uint32_t* owners, uint32_t words,
                      uint32_t* following) noexcept nogil:
    """Filters, what is to be known of them, and for each block where its last run ends; from the back."""
    cdef uint32_t k, i, lane, block, rank, end = n, last = 0xFFFFFFFF
    cdef const FilterRest* rest
    cdef uint32_t* at
    for k in range(n):
        i = n - 1 - k
        rank = rank_of(boxes, list[i])
        if rank != last:
            end = i + 1
            last = rank
        block, lane = i // LEAF_LANES, i % LEAF_LANES
        if lane == LEAF_LANES - 1 or i == n - 1:
            following[block] = max(block + 1, (end + LEAF_LANES - 1 if end == n else end) // LEAF_LANES)
        at = owners + <size_t>block * words + lane
        rest = &boxes.rest[boxes.owner[list[i]]]
        at[0] = boxes.owner[list[i]]
        at[LEAF_LANES] = rank << 8 | min(end - block * LEAF_LANES, <uint32_t>LEAF_LANES) << 4 | (
            (LANE_ENDS if rest.ends else 0) | (LANE_NEEDS if rest.need else 0)
            | (LANE_RESIDUAL if rest.n_residuals else 0))


cdef uint32_t leaf_make(const BoxSet* boxes, const uint32_t* list, uint32_t n, const Place* place,
                        Store* leaves) noexcept nogil:
    cdef uint8_t dims[MAX_DIMENSIONS]
    cdef uint32_t n_dims = tested_dimensions(boxes, list, n, place, dims)
    cdef uint32_t n_blocks = (n + LEAF_LANES - 1) // LEAF_LANES
    cdef uint32_t block_words = 2 * LEAF_LANES * (n_dims + 1)
    cdef uint32_t at = leaves.n
    cdef uint64_t words = LEAF_HEADER + <uint64_t>block_words * n_blocks
    cdef uint64_t following = words
    cdef uint32_t* leaf
    if n_blocks > 1:
        words += (n_blocks + LEAF_HEADER - 1) // LEAF_HEADER * LEAF_HEADER
    # `following` of a single block is written past the leaf and never read.
    if not store_reserve(leaves, words + 1):
        return EMPTY_LEAF
    leaf = leaves.at + at
    memset(leaf, 0, words * sizeof(uint32_t))
    leaf[0] = n
    leaf[1] = n_dims
    memcpy(leaf + 2, dims, n_dims)
    fill_bounds(boxes, list, n, dims, n_dims, leaf + LEAF_HEADER)
    fill_owners(boxes, list, n, leaf + LEAF_HEADER + 2 * LEAF_LANES * n_dims, block_words, leaf + following)
    leaves.n += <uint32_t>words
    return LEAF_BIT | at // LEAF_HEADER
