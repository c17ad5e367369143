"""FieldValues to the filters that match, for all sublayers of a layer in one pass."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._policy cimport CompiledPolicy
from ._types cimport FieldValues

# Write to `matches`, in rank order (ascending filter index), every filter of `slot` that
# arbitration can need: of each sublayer all matching filters up to and including the first whose
# action always ends it (permit, block, terminating callout; an audit-mode filter never ends it).
# `matches` holds at least the slot's filter count.  Returns the number written.
cdef uint32_t classify(const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                       uint32_t* matches) noexcept nogil
