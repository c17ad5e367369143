"""The search over a base and what was added to it."""

from libc.stdint cimport uint32_t

from . cimport _classify
from ._policy cimport CompiledPolicy
from ._types cimport FieldValues

# Put the matches of the added parts to the `n` of the base, in order of arbitration; their number.
cdef uint32_t classify_added(const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                             uint32_t* matches, uint32_t n) noexcept nogil

# Write to `matches`, in order of arbitration, every filter of `slot` that arbitration can need, as
# `_classify.classify` does for the base alone.  `matches` holds policy.max_layer_filters.
cdef inline uint32_t classify(const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                              uint32_t* matches) noexcept nogil:
    cdef uint32_t n = _classify.classify(policy, slot, values, matches)
    return classify_added(policy, slot, values, matches, n) if policy.n_added else n
