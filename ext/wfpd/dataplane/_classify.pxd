"""FieldValues to the filters that match, for all sublayers of a layer in one pass."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._table cimport CompiledPolicy
from ._types cimport FieldValues

# Write to `matches`, in rank order (ascending filter index), every filter of `slot` that
# arbitration can need: of each sublayer all matching filters up to and including the first whose
# action always ends it (permit, block, terminating callout; an audit-mode filter never ends it).
# `matches` holds at least the slot's filter count.  Returns the number written.
cdef uint32_t classify(const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                       uint32_t* matches) noexcept nogil

# Build the search tables of every slot into policy.search.  Takes no Python object.  Returns 0, or
# -1 when memory ran out (nothing is left half-built).
cdef int tables_build(CompiledPolicy* policy) noexcept nogil
cdef void tables_free(CompiledPolicy* policy) noexcept nogil
