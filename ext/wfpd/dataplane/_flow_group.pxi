# Who may answer a packet to a multicast or broadcast address ("ALE Multicast/Broadcast Traffic").  Included by _flow.pyx.


cdef inline bint _is_icmp(const FlowKey* key) noexcept nogil:
    return key.protocol == PROTOCOL_ICMP or key.protocol == PROTOCOL_ICMPV6


cdef FlowKey* _group_place(FlowTable* table, const FlowKey* key, bint to_group) noexcept nogil:
    """Where the flow is remembered whose local end is that of `key`, without its address if `to_group`."""
    cdef uint64_t h = wfpd_mix(table.seed[0], (<uint64_t>key.protocol << 24) | (<uint64_t>key.family << 16) | key.local_port)
    if _is_icmp(key):
        h = wfpd_mix(h, key.remote_port)
    if not to_group:
        h = wfpd_mix(wfpd_mix(h, key.local_hi), key.local_lo ^ table.seed[1])
    return &table.groups[(h >> 20) & (GROUP_PLACES - 1)]


cdef void flow_note_group(FlowTable* table, const FlowKey* key, uint64_t now_ns) noexcept nogil:
    wfpd_lock(&table.group_lock)
    _group_place(table, key, False)[0] = key[0]
    _group_place(table, key, True)[0] = key[0]
    if now_ns + GROUP_SECONDS * SECOND > table.group_until_ns:
        wfpd_put(&table.group_until_ns, now_ns + GROUP_SECONDS * SECOND)
    wfpd_unlock(&table.group_lock)


cdef bint flow_answered(FlowTable* table, const FlowKey* key, bint to_group, uint64_t now_ns, FlowKey* found) noexcept nogil:
    if now_ns > wfpd_get(&table.group_until_ns):
        return False
    wfpd_lock(&table.group_lock)
    found[0] = _group_place(table, key, to_group)[0]
    wfpd_unlock(&table.group_lock)
    if found.family != key.family or found.protocol != key.protocol or found.local_port != key.local_port:
        return False
    if _is_icmp(key) and found.remote_port != key.remote_port:
        return False
    return to_group or (found.local_hi == key.local_hi and found.local_lo == key.local_lo)
