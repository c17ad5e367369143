"""Filters of a slot as boxes over 32-bit dimensions, and what no box can say of them.

A box is one closed interval in each dimension.  A filter becomes up to MAX_FILTER_BOXES disjoint
boxes; a packet outside all of them cannot match.  A packet inside one of them matches if it has
the fields of `need` and passes the filter's residual conditions.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ._policy cimport CompiledPolicy
from ._texts cimport TextIds
from ._types cimport FieldValues

cdef enum:
    MAX_DIMENSIONS = 24         # Fields beyond it are residual; two IPv6 addresses take 8.
    MAX_TEXTS = 4               # Dimensions of ids.
    MAX_FILTER_BOXES = 16       # Beyond it alternatives are joined over the smallest gaps and tested again.

cdef enum FieldShape:
    SHAPE_OTHER = 0             # Texts and tokens: a dimension of ids, if filters compare them as a whole.
    SHAPE_NARROW = 1            # 8 and 16 bits: an absent value is 0xFFFFFFFF in its dimension.
    SHAPE_WORD = 2              # 32 bits: one dimension.
    SHAPE_DOUBLE = 3            # 64 bits: two, high word first.
    SHAPE_ADDRESS6 = 4          # 128 bits: four, high word first.
    SHAPE_TEXT = 5              # Ids of texts (`_texts`): an absent value is 0xFFFFFFFF in its dimension.

cdef struct Bound:
    uint32_t lo                 # Both inclusive.
    uint32_t hi

cdef struct Dimension:
    uint16_t field
    uint16_t word               # Index of its 64-bit word in FieldValues.
    uint32_t shift              # 0 or 32: which half of that word.
    uint32_t absent             # ORed into the coordinate when the field is absent.
    uint32_t need               # Bit in FilterRest.need; 0 for narrow fields.

cdef struct FilterRest:
    uint32_t need               # Presence bits of wide fields that the filter tests.
    uint32_t first_residual     # In BoxSet.residuals.
    uint32_t n_residuals
    uint16_t rank               # Of its sublayer among those of the slot, 0 = evaluated first.
    uint8_t ends                # Its action always ends the sublayer, and it does not audit.
    uint8_t widened             # Its lists were too many for boxes of their own: see MAX_FILTER_BOXES.

cdef struct BoxSet:
    Dimension dimensions[MAX_DIMENSIONS]
    uint32_t n_dimensions
    TextIds texts[MAX_TEXTS]
    uint32_t n_texts
    uint32_t n_filters
    FilterRest* rest            # [n_filters]
    Bound* bounds               # [n * n_dimensions], box by box.
    uint32_t* owner             # [n] Filter, counted from the slot's first; ascending.
    uint32_t n
    uint32_t capacity
    uint32_t* residuals         # Condition indexes.
    uint32_t n_residuals
    uint32_t residuals_capacity

# Fill `boxes` from the slot's filters.  0, or -1 when memory ran out; boxes_free() either way.
cdef int boxes_make(const CompiledPolicy* policy, unsigned int slot, BoxSet* boxes) noexcept nogil
cdef void boxes_free(BoxSet* boxes) noexcept nogil

# Boxes first..past-1 are those of filter `owner`, counted from the slot's first.
cdef void boxes_of(const BoxSet* boxes, uint32_t owner, uint32_t* first, uint32_t* past) noexcept nogil

cdef FieldShape field_shape(unsigned int field, bint v6) noexcept nogil
