# What a snapshot works out once of its checked policy: included by _table.pyx.


cdef void layers_resolve(CompiledPolicy* policy, const CompiledPolicy* previous) noexcept nogil:
    """Generation, largest filter count and fields looked at, by slot."""
    cdef uint32_t slot, i, j
    cdef uint16_t field
    cdef const PackedFilter* item
    for slot in range(N_SLOTS):
        policy.layer_generation[slot] = policy.generation
        if previous != NULL and previous.layers[slot].hash == policy.layers[slot].hash:
            policy.layer_generation[slot] = previous.layer_generation[slot]
        if policy.layers[slot].count > policy.max_layer_filters:
            policy.max_layer_filters = policy.layers[slot].count
    for i in range(policy.n_filters):
        item = &policy.filters[i]
        for j in range(item.n_conditions):
            field = policy.conditions[item.first_condition + j].field
            policy.fields_needed[item.slot][field >> 6] |= (<uint64_t>1) << (field & 63)


cdef void callouts_in_use(const CompiledPolicy* policy, uint8_t* used) noexcept nogil:
    cdef uint32_t i
    for i in range(policy.n_filters):
        if policy.filters[i].callout != NO_FILTER:
            used[policy.filters[i].callout] = 1


cdef void briefs_make(CompiledPolicy* policy) noexcept nogil:
    cdef const PackedFilter* item
    cdef FilterBrief* brief
    cdef uint32_t i
    for i in range(policy.n_filters):
        item, brief = &policy.filters[i], &policy.briefs[i]
        brief.callout, brief.counter_slot = item.callout, policy.counter_slots[i]
        brief.sublayer, brief.flags = item.sublayer, item.flags
        brief.action, brief.reply = item.action, item.reply


cdef inline uint64_t _identity_hash(const PackedFilter* item) noexcept nogil:
    cdef const uint64_t* key = <const uint64_t*>item.key
    return (key[0] ^ key[1] * <uint64_t>0x9E3779B97F4A7C15 ^ item.hash) * <uint64_t>0x9E3779B97F4A7C15


cdef inline bint _same_filter(const PackedFilter* a, const PackedFilter* b) noexcept nogil:
    return a.hash == b.hash and memcmp(a.key, b.key, 16) == 0


cdef struct Heirs:              # Filters of a policy by identity; equal ones are a chain, in rank order.
    uint64_t mask
    uint32_t* some              # [mask + 1] A filter of the identity + 1; 0: free.  At most half full.
    uint32_t* head              # [mask + 1] The first that is left + 1; 0: none.
    uint32_t* following         # [filters] The next of the same identity + 1.


cdef inline uint64_t _heirs_find(const Heirs* heirs, const CompiledPolicy* policy,
                                 const PackedFilter* item) noexcept nogil:
    """Where the identity of `item` is, or would be."""
    cdef uint64_t at = (_identity_hash(item) >> 20) & heirs.mask
    while heirs.some[at] and not _same_filter(&policy.filters[heirs.some[at] - 1], item):
        at = (at + 1) & heirs.mask
    return at


cdef int _heirs_make(Heirs* heirs, const CompiledPolicy* policy) noexcept nogil:
    cdef uint64_t size = 16, at
    cdef uint32_t k, i
    while size < 2 * <uint64_t>policy.n_filters:
        size *= 2
    heirs.mask = size - 1
    heirs.some = <uint32_t*>calloc(size, sizeof(uint32_t))
    heirs.head = <uint32_t*>calloc(size, sizeof(uint32_t))
    heirs.following = <uint32_t*>calloc(<size_t>policy.n_filters + 1, sizeof(uint32_t))
    if heirs.some == NULL or heirs.head == NULL or heirs.following == NULL:
        return -1
    for k in range(policy.n_filters):
        i = policy.n_filters - 1 - k
        at = _heirs_find(heirs, policy, &policy.filters[i])
        heirs.some[at] = i + 1
        heirs.following[i] = heirs.head[at]
        heirs.head[at] = i + 1
    return 0


cdef int counters_inherit(CompiledPolicy* policy, const CompiledPolicy* previous) noexcept nogil:
    """Into counter_slots: the slot of `previous`'s filter of the same key and content, else NO_FILTER.

    A slot is handed on once, so that two filters never share one.  0, or -1 without memory.
    """
    cdef Heirs heirs
    cdef uint64_t at
    cdef uint32_t i, heir
    cdef int status
    for i in range(policy.n_filters):
        policy.counter_slots[i] = NO_FILTER
    if previous == NULL or previous.n_filters == 0:
        return 0
    memset(&heirs, 0, sizeof(heirs))
    status = _heirs_make(&heirs, previous)
    if status == 0:
        for i in range(policy.n_filters):
            at = _heirs_find(&heirs, previous, &policy.filters[i])
            heir = heirs.head[at]
            if heir:
                policy.counter_slots[i] = previous.counter_slots[heir - 1]
                heirs.head[at] = heirs.following[heir - 1]
    free(heirs.some)
    free(heirs.head)
    free(heirs.following)
    return status
