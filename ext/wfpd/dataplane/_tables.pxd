"""The search tables of every slot: made with a snapshot, freed with it."""

from ._policy cimport CompiledPolicy

# Build the search tables of every slot into policy.search.  Takes no Python object.  Returns 0, or
# -1 when memory ran out (nothing is left half-built).
cdef int tables_build(CompiledPolicy* policy) noexcept nogil
cdef void tables_free(CompiledPolicy* policy) noexcept nogil
