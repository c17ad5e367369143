"""Linear scan of a layer's filters: no tables, the obvious way."""

from libc.stdint cimport uint32_t

from ._table cimport CompiledPolicy, PackedFilter, filter_matches
from ._types cimport (
    FILTER_BLOCK,
    FILTER_CALLOUT_TERMINATING,
    FILTER_PERMIT,
    FLAG_AUDIT,
    FieldValues,
)


cdef inline bint _ends_sublayer(const PackedFilter* item) noexcept nogil:
    return not (item.flags & FLAG_AUDIT) and (
        item.action == FILTER_PERMIT or item.action == FILTER_BLOCK or item.action == FILTER_CALLOUT_TERMINATING
    )


cdef uint32_t classify(const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                       uint32_t* matches) noexcept nogil:
    cdef uint32_t index = policy.layers[slot].first
    cdef uint32_t end = index + policy.layers[slot].count
    cdef uint32_t found = 0
    cdef int ended = -1
    while index < end:
        if policy.filters[index].sublayer != ended and filter_matches(policy, index, values):
            matches[found] = index
            found += 1
            if _ends_sublayer(&policy.filters[index]):
                ended = policy.filters[index].sublayer
        index += 1
    return found


cdef int tables_build(CompiledPolicy* policy) noexcept nogil:
    return 0


cdef void tables_free(CompiledPolicy* policy) noexcept nogil:
    pass
