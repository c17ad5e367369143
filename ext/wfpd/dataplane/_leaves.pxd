"""Leaves: the boxes of one list side by side, for vectors (`_leaf.h` has the layout)."""

from libc.stdint cimport uint32_t

from ._boxes cimport BoxSet
from ._cuts cimport Place
from ._store cimport Store

# Append to `leaves` a leaf of the list's boxes (owners ascending, n > 0); its reference, or
# EMPTY_LEAF when memory ran out.
cdef uint32_t leaf_make(const BoxSet* boxes, const uint32_t* list, uint32_t n, const Place* place,
                        Store* leaves) noexcept nogil
