"""Search structure over boxes: cuts, forks and fat leaves, in three flat arrays."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ._boxes cimport Bound, BoxSet, Dimension, FilterRest

cdef enum:
    LEAF_LANES = 16
    LEAF_HEADER = 16            # uint32 words: entries, dimensions, runs, -, then the dimensions' bytes.
    LEAF_BIT = 0x80000000       # A reference to a leaf: the rest is its offset in 64-byte units.
    EMPTY_LEAF = 0xFFFFFFFF
    MAX_FORKS = 16              # On one path; the search's stack.
    LANE_ENDS = 1               # The filter ends its sublayer.
    LANE_CHECK = 2              # Presence or residual conditions are to be tested.

# A cut: child = refs[base + min((x[dimension] - lo) >> shift, parts)]; the last one is what lies
# outside the window.  parts 0: a fork, search both refs[base] and refs[base + 1].
cdef struct Node:
    uint32_t lo
    uint32_t base
    uint16_t parts
    uint8_t dimension
    uint8_t shift

# The tables of one slot.  Immutable once built.
cdef struct Table:
    Dimension* dimensions
    uint32_t n_dimensions
    uint32_t n_filters
    uint32_t first              # The slot's first filter.
    uint32_t root
    bint wide                   # AVX2 may be used.
    FilterRest* rest            # [n_filters]
    uint32_t* residuals
    Node* nodes
    uint32_t* refs
    uint32_t* leaves            # 64-byte aligned blocks; leaves_memory is what was allocated.
    void* leaves_memory
    # For table_stats.
    uint32_t n_boxes
    uint32_t n_copies
    uint32_t n_nodes
    uint32_t n_refs
    uint32_t n_leaves
    uint32_t largest_leaf
    uint32_t depth
    uint32_t forks
    uint64_t size               # Bytes.

# Build the search over `boxes` into `table` (nodes, refs, leaves, root, counts).  0, or -1 when
# memory ran out; forest_free() either way.
cdef int forest_build(const BoxSet* boxes, Table* table) noexcept nogil
cdef void forest_free(Table* table) noexcept nogil
