"""Which filters of two policies are the same: key, content, what their sets hold, and order."""

from libc.stdint cimport uint32_t

from ._policy cimport CompiledPolicy
from ._space cimport Side

# Whether two sets hold the same values.
cdef bint same_set(const CompiledPolicy* a, uint32_t ref_a, const CompiledPolicy* b, uint32_t ref_b)

# Set indexes that a condition names, in order.
cdef list condition_sets(const CompiledPolicy* policy, uint32_t index)

# Lists `added`, `removed`, `changed`, `moved`, by place in the slot (pairs: old, new).  Fills `twin` of
# those that are neither.  A filter has moved if it is out of order among those that stay; as few
# as possible are said to have.
cdef dict compare_filters(Side* sides, unsigned int slot)
