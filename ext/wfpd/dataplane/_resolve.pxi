# Which counters of a former policy's filters go on: included by _root.pyx.


cdef inline uint64_t _identity_hash(const PackedFilter* item) noexcept nogil:
    cdef const uint64_t* key = <const uint64_t*>item.key
    return (key[0] ^ key[1] * <uint64_t>0x9E3779B97F4A7C15 ^ item.hash) * <uint64_t>0x9E3779B97F4A7C15


cdef inline bint _same_filter(const PackedFilter* a, const PackedFilter* b) noexcept nogil:
    return a.hash == b.hash and memcmp(a.key, b.key, 16) == 0


cdef struct Heirs:              # Filters by identity; equal ones are a chain, in the order given.
    uint64_t mask
    uint32_t* some              # [mask + 1] A filter of the identity + 1; 0: free.  At most half full.
    uint32_t* head              # [mask + 1] The first that is left + 1; 0: none.
    uint32_t* following         # [n] The next of the same identity + 1.
    const PackedFilter** items  # [n] NULL: gone.


cdef uint64_t _heirs_find(const Heirs* heirs, const PackedFilter* item) noexcept nogil:
    """Where the identity of `item` is, or would be."""
    cdef uint64_t at = (_identity_hash(item) >> 20) & heirs.mask
    while heirs.some[at] and not _same_filter(heirs.items[heirs.some[at] - 1], item):
        at = (at + 1) & heirs.mask
    return at


cdef int _heirs_make(Heirs* heirs, uint32_t n) noexcept nogil:
    cdef uint64_t size = 16, at
    cdef uint32_t k, i
    while size < 2 * <uint64_t>n:
        size *= 2
    heirs.mask = size - 1
    heirs.some = <uint32_t*>calloc(size, sizeof(uint32_t))
    heirs.head = <uint32_t*>calloc(size, sizeof(uint32_t))
    heirs.following = <uint32_t*>calloc(<size_t>n + 1, sizeof(uint32_t))
    if heirs.some == NULL or heirs.head == NULL or heirs.following == NULL:
        return -1
    for k in range(n):
        i = n - 1 - k
        if heirs.items[i] == NULL:
            continue
        at = _heirs_find(heirs, heirs.items[i])
        heirs.some[at] = i + 1
        heirs.following[i] = heirs.head[at]
        heirs.head[at] = i + 1
    return 0


cdef int counters_inherit(const CompiledPolicy* policy, const PackedFilter** items, uint32_t n, const uint32_t* counted,
                          uint32_t* slots) noexcept nogil:
    """Into `slots` for each filter of `policy`: the counter slot of the one of `items` that has the same key and
    content, else NO_FILTER.

    A slot is handed on once, so that two filters never share one.  0, or -1 without memory.
    """
    cdef Heirs heirs
    cdef uint64_t at
    cdef uint32_t i, heir
    cdef int status
    for i in range(policy.n_filters):
        slots[i] = NO_FILTER
    if n == 0:
        return 0
    memset(&heirs, 0, sizeof(heirs))
    heirs.items = items
    status = _heirs_make(&heirs, n)
    if status == 0:
        for i in range(policy.n_filters):
            at = _heirs_find(&heirs, &policy.filters[i])
            heir = heirs.head[at]
            if heir:
                slots[i] = counted[heir - 1]
                heirs.head[at] = heirs.following[heir - 1]
    free(heirs.some)
    free(heirs.head)
    free(heirs.following)
    return status
