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


cdef inline uint64_t _identity_hash(const PackedFilter* item) noexcept nogil:
    cdef const uint64_t* key = <const uint64_t*>item.key
    return (key[0] ^ key[1] * <uint64_t>0x9E3779B97F4A7C15 ^ item.hash) * <uint64_t>0x9E3779B97F4A7C15


cdef inline bint _same_filter(const PackedFilter* a, const PackedFilter* b) noexcept nogil:
    return a.hash == b.hash and memcmp(a.key, b.key, 16) == 0


cdef int counters_inherit(CompiledPolicy* policy, const CompiledPolicy* previous) noexcept nogil:
    """Into counter_slots: the slot of `previous`'s filter of the same key and content, else NO_FILTER.

    A slot is handed on once, so that two filters never share one.  0, or -1 without memory.
    """
    cdef uint64_t size = 16, at
    cdef uint32_t i
    cdef uint32_t* table        # Filter of `previous` + 1; 0: free.  At most half full.
    cdef uint8_t* handed
    for i in range(policy.n_filters):
        policy.counter_slots[i] = NO_FILTER
    if previous == NULL or previous.n_filters == 0:
        return 0
    while size < 2 * <uint64_t>previous.n_filters:
        size *= 2
    table = <uint32_t*>calloc(size, sizeof(uint32_t))
    handed = <uint8_t*>calloc(previous.n_filters, 1)
    if table == NULL or handed == NULL:
        free(table)
        free(handed)
        return -1
    for i in range(previous.n_filters):
        at = (_identity_hash(&previous.filters[i]) >> 20) & (size - 1)
        while table[at]:
            at = (at + 1) & (size - 1)
        table[at] = i + 1
    for i in range(policy.n_filters):
        at = (_identity_hash(&policy.filters[i]) >> 20) & (size - 1)
        while table[at]:
            if not handed[table[at] - 1] and _same_filter(&previous.filters[table[at] - 1], &policy.filters[i]):
                handed[table[at] - 1] = 1
                policy.counter_slots[i] = previous.counter_slots[table[at] - 1]
                break
            at = (at + 1) & (size - 1)
    free(table)
    free(handed)
    return 0
