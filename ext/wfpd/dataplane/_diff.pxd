"""Where two policies decide differently at one layer, computed on the boxes of their filters.

Cold: for people, before a reload.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._boxes cimport Bound
from ._space cimport MAX_AXES, Side, Space

# Boxes of one side that touch a piece; shared by the pieces cut from it.
cdef struct Candidates:
    uint32_t uses
    uint32_t n
    uint32_t partial                # The first box that does not cover the whole piece, NO_FILTER if all do.
    uint32_t* at                    # [n] Boxes in rank order.

cdef struct Piece:                  # Part of the space that is still to be looked at.
    Bound bounds[MAX_AXES]
    uint32_t seed                   # The seed whose box it was cut from.
    uint32_t past                   # Seeds below it are known not to touch the piece.
    Candidates* lists[2]

cdef enum:
    MAY_PERMIT = 1                  # Bits of Region.outcome.
    MAY_BLOCK = 2

cdef struct Region:
    Bound bounds[MAX_AXES]
    uint8_t outcome[2]              # By side; both bits: not decided, some condition or callout says.

cdef struct Search:
    Space space
    Side sides[2]                   # Old, new.
    const Bound** seeds             # [n_seeds] Boxes of filters that are not the same on both sides.
    uint32_t n_seeds
    Piece* pieces                   # A stack.
    uint32_t n_pieces
    uint32_t capacity
    Region* regions                 # [most + 1]
    uint32_t n_regions
    uint32_t most
    uint64_t work                   # Boxes that may still be looked at.
    bint complete                   # False: more regions than `most`, or no work left.

# Fill `regions`, disjoint, with the places where the outcomes differ or are not decided.  0, or -1
# when memory ran out.
cdef int search_run(Search* search) noexcept nogil
