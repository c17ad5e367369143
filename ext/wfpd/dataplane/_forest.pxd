"""Boxes to a search structure."""

from ._boxes cimport BoxSet
from ._tree cimport Table

# Build the search over `boxes` into `table` (tree, leaves, root, counts).  0, or -1 when memory ran
# out; forest_free() either way.
cdef int forest_build(const BoxSet* boxes, Table* table) noexcept nogil
cdef void forest_free(Table* table) noexcept nogil
