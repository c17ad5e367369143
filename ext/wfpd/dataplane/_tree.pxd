"""The layout of a slot's tables: cuts, forks and fat leaves, in two flat arrays of 32-bit words."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from ._boxes cimport MAX_DIMENSIONS, MAX_TEXTS, Dimension, FilterRest
from ._texts cimport TextIds

cdef enum:
    # A reference is an offset in `tree`, or one of:
    LEAF_BIT = 0x80000000       # A leaf: the rest is its offset in `leaves`, in units of LEAF_HEADER words.
    FORK_BIT = 0x40000000       # A fork at the rest's offset in `tree`: two references, both to be searched, then
                                # for each of Table.fork_ranks sublayers the first filter that the second one has.
    EMPTY_LEAF = 0xFFFFFFFF
    # A cut in `tree`: the low bound, then parts << 16 | shift << 8 | dimension, then parts + 1 references:
    # tree[at + 2 + min((x[dimension] - low) >> shift, parts)]; the last one is what lies outside the window.
    CUT_HEADER = 2
    MAX_FORKS = 16              # On one path; the search's stack.
    FORK_RANKS = 4              # Sublayers that a fork can tell apart; with more of them it does not try.
    TRACKED = 16                # Sublayers whose end is remembered from leaf to leaf.
    # A leaf's second word of each entry: rank << 8 | end of its run in the block << 4 | flags.
    LANE_ENDS = 1               # The filter ends its sublayer.
    LANE_NEEDS = 2              # Presence of wide fields is to be tested.
    LANE_RESIDUAL = 4           # Residual conditions are to be tested.

cdef extern from "_leaf.h":
    enum:
        LEAF_LANES
        LEAF_HEADER
        LEAF_BIAS

# The tables of one slot.  Immutable once built.
cdef struct Table:
    # What every search reads.
    const uint32_t* tree
    const uint32_t* leaves      # 64-byte aligned.  A leaf of several blocks ends with a word for each block:
                                # the next block that has entries of another sublayer than the block's last.
    uint32_t root
    uint32_t hidden             # Root of the boxes that were left out somewhere: for searches that ignore a filter.
    uint32_t n_dimensions
    uint32_t n_ranks            # Sublayers that have filters here.
    uint32_t fork_ranks         # The same up to FORK_RANKS, else 0.
    uint32_t first              # The slot's first filter.
    int level                   # leaf_level() of this CPU.
    uint64_t fields[2]          # Fields of the dimensions.
    uint16_t offset[MAX_DIMENSIONS]     # Of each coordinate in FieldValues, bytes.
    uint32_t rank_end[TRACKED]  # By rank: past its last filter, counted from `first`.
    uint32_t n_texts
    # What some searches read.
    TextIds texts[MAX_TEXTS]
    Dimension dimensions[MAX_DIMENSIONS]
    FilterRest* rest            # [n_filters]
    uint32_t* residuals
    # What is owned and counted.
    void* tree_memory
    void* leaves_memory
    uint32_t n_filters
    uint32_t n_boxes
    uint32_t n_copies
    uint32_t n_hidden           # Boxes below `hidden`; the counts around this one are of what is below `root`.
    uint32_t n_nodes
    uint32_t n_leaves
    uint32_t largest_leaf
    uint32_t largest_ref        # Its reference, if largest_leaf is not 0.
    uint32_t n_refused          # Nodes that are leaves because a cut would have copied too much.
    uint32_t depth
    uint32_t forks
    uint64_t size               # Bytes.
