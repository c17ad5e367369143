# A visit's flow: found or prepared before the layers, kept after them.  Included by _visit.pyx.


cdef uint16_t _icmp_request(uint8_t family, uint8_t kind) noexcept nogil:
    """The type that names the conversation: a reply is filed under its request."""
    if family == 6:
        return 128 if kind == 129 else kind
    if kind == 0:
        return 8
    if kind == 14 or kind == 16 or kind == 18:
        return kind - 1
    return kind


cdef void _flow_key(const Visitor* visitor, FlowKey* key) noexcept nogil:
    cdef const PacketView* view = &visitor.view
    memset(key, 0, sizeof(FlowKey))
    key.family = view.family
    key.protocol = view.protocol
    if visitor.outbound:
        key.local_hi, key.local_lo = view.source_hi, view.source_lo
        key.remote_hi, key.remote_lo = view.destination_hi, view.destination_lo
        key.local_port, key.remote_port = view.source_port, view.destination_port
    else:
        key.local_hi, key.local_lo = view.destination_hi, view.destination_lo
        key.remote_hi, key.remote_lo = view.source_hi, view.source_lo
        key.local_port, key.remote_port = view.destination_port, view.source_port
    if view.has_icmp:
        key.local_port = (_icmp_request(view.family, view.icmp_type) << 8) | view.icmp_code
        key.remote_port = view.icmp_id if view.has_icmp_id else 0
    elif not view.has_ports:
        key.local_port = 0
        key.remote_port = 0


cdef bint _tracked(const Visitor* visitor) noexcept nogil:
    """Whether flows matter to this packet: some ALE layer of its family has filters."""
    cdef const PacketView* view = &visitor.view
    if visitor.flows == NULL or view.status != PARSE_OK or view.fragment != FRAGMENT_NONE or not view.has_protocol:
        return False
    if view.is_icmp_error or view.transport_offset == 0 or not view.has_addresses:
        return False
    if visitor.input.hook != HOOK_INPUT and visitor.input.hook != HOOK_OUTPUT:
        return False
    return (_has_filters(visitor, _slot_of(visitor, LAYER_ALE_AUTH_RECV_ACCEPT))
            or _has_filters(visitor, _slot_of(visitor, LAYER_ALE_AUTH_CONNECT))
            or _has_filters(visitor, _slot_of(visitor, LAYER_ALE_FLOW_ESTABLISHED))
            or (_has_filters(visitor, _slot_of(visitor, LAYER_STREAM)) and view.protocol == PROTOCOL_TCP))


cdef bint _midstream_outbound(const Visitor* visitor) noexcept nogil:
    """Direction of a flow picked up in its middle (docs/semantics.md); true: the local end started it."""
    cdef const FlowKey* key = &visitor.pending.key
    if not visitor.live:
        return visitor.outbound != 0
    if visitor.host != NULL and (visitor.host.listening[key.local_port >> 3] >> (key.local_port & 7)) & 1:
        return False
    if key.local_port != key.remote_port:
        return key.remote_port < key.local_port
    return visitor.outbound != 0


cdef inline bint _flow_look_up(Visitor* visitor) noexcept nogil:
    visitor.flow_hash = flow_hash(visitor.flows, &visitor.key)
    return flow_find(visitor.flows, &visitor.key, visitor.flow_hash, visitor.input.now_ns, &visitor.pending)


cdef bint _to_group(const Visitor* visitor) noexcept nogil:
    """Whether the packet goes to a multicast or broadcast address."""
    return host_address_type(visitor.host, visitor.view.family, visitor.view.destination_hi,
                             visitor.view.destination_lo) >= ADDRESS_MULTICAST


cdef bint _flow_of_group(Visitor* visitor) noexcept nogil:
    """Inbound: the flow to a group that the packet answers, or the one of all inbound groups; true if it is there.

    Changes the packet's key to that flow's ("ALE Multicast/Broadcast Traffic").
    """
    cdef FlowKey own = visitor.key
    cdef bint to_group = _to_group(visitor)
    if flow_answered(visitor.flows, &own, to_group, visitor.input.now_ns, &visitor.key):
        if _flow_look_up(visitor):
            return True
    visitor.key = own
    if to_group:
        memset(&visitor.key, 0, sizeof(FlowKey))
        visitor.key.family = own.family
        visitor.key.inbound_group = 1
    else:
        visitor.flow_hash = flow_hash(visitor.flows, &visitor.key)
        return False
    return _flow_look_up(visitor)


cdef void _flow_new(Visitor* visitor) noexcept nogil:
    """The entry that the packet makes if it is permitted."""
    cdef const PacketView* view = &visitor.view
    cdef FlowEntry* flow = &visitor.pending
    memset(flow, 0, sizeof(FlowEntry))
    flow.key = visitor.key
    if visitor.resume != NULL:
        flow.id = visitor.resume.flow_id
        if visitor.resume.provisional & PROVISIONAL_STREAM:
            flow.flags = FLOW_STREAM
    flow.first_ns = visitor.input.now_ns
    flow.filter = NO_FILTER
    flow.slot = NO_SLOT
    flow.state = FLOW_OTHER
    flow.icmp_type = view.icmp_type if view.has_icmp else 0
    flow.interface = visitor.input.in_interface if visitor.input.in_interface else visitor.input.out_interface
    if visitor.input.capture_interface:
        flow.interface = visitor.input.capture_interface
    if view.protocol == PROTOCOL_TCP:
        flow.state = FLOW_OPENING
    elif visitor.outbound and _to_group(visitor):
        flow.state = FLOW_GROUP


cdef inline bint _from_starter(const Visitor* visitor) noexcept nogil:
    return (visitor.outbound != 0) == ((visitor.pending.flags & FLOW_OUTBOUND) != 0)


cdef inline bint _may_begin_anew(const FlowEntry* flow) noexcept nogil:
    """Whether a SYN on its ports begins another flow; on a cut one's only when no end can go on with it any more."""
    if flow.flags & FLOW_CUT:
        return flow.flags & FLOW_TOLD_BOTH == FLOW_TOLD_BOTH
    return flow.state == FLOW_CLOSING


cdef void _flow_open(Visitor* visitor) noexcept nogil:
    """Find the packet's flow, or prepare a new one in `pending`."""
    cdef const PacketView* view = &visitor.view
    cdef bint tcp = view.has_tcp != 0
    cdef bint opening = tcp and (view.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN
    cdef bint found, starts_here
    visitor.tracked = _tracked(visitor)
    if not visitor.tracked:
        return
    _flow_key(visitor, &visitor.key)
    found = _flow_look_up(visitor)
    if found and opening and _may_begin_anew(&visitor.pending):
        flow_remove(visitor.flows, &visitor.key, visitor.flow_hash, visitor.input.now_ns, END_REUSED)
        found = False
    elif not found and not visitor.outbound and view.protocol != PROTOCOL_TCP:
        found = _flow_of_group(visitor)
    visitor.flow_known = found
    if found:
        visitor.decision.flow_id = visitor.pending.id
        visitor.decision.to_server = _from_starter(visitor)
        return
    _flow_new(visitor)
    visitor.midstream = tcp and not opening
    # An RST that the stack sends for what is no flow opens none: it never reaches ALE ("SYN, no listener" of
    # "TCP Packet Flows").  The policy's own tcp_reset is such a one.
    if visitor.outbound and view.tcp_flags & TCP_RST and tcp:
        visitor.tracked = 0
        return
    starts_here = _midstream_outbound(visitor) if visitor.midstream else visitor.outbound != 0
    if starts_here:
        visitor.pending.flags |= FLOW_OUTBOUND


cdef uint8_t _authorizing_layer(const Visitor* visitor) noexcept nogil:
    return LAYER_ALE_AUTH_CONNECT if visitor.pending.flags & FLOW_OUTBOUND else LAYER_ALE_AUTH_RECV_ACCEPT


cdef bint _needs_authorization(Visitor* visitor) noexcept nogil:
    """A new flow, or one whose authorizing layer's filters have changed since ("ALE Reauthorization")."""
    cdef uint8_t slot = _slot_of(visitor, _authorizing_layer(visitor))
    visitor.reauthorizing = 0
    if not visitor.flow_known:
        return True
    if visitor.pending.generation != visitor.policy.layer_generation[slot]:
        visitor.reauthorizing = 1
        return True
    return False


cdef void _flow_authorize(Visitor* visitor, uint8_t slot) noexcept nogil:
    """The layer that is now asked, if it has filters, is the one that authorizes the flow."""
    visitor.pending.generation = visitor.policy.layer_generation[slot]
    visitor.pending.decided = visitor.policy.generation
    visitor.pending.slot = NO_SLOT
    visitor.pending.filter = NO_FILTER
    visitor.pending.reason = REASON_NO_MATCH


cdef void _flow_authorized(Visitor* visitor) noexcept nogil:
    """The layer did not block; what stands is kept with the flow."""
    cdef uint32_t standing = visitor.arbitration.standing
    visitor.pending.slot = visitor.slot
    if standing != NO_FILTER:
        visitor.pending.filter = standing - visitor.policy.layers[visitor.slot].first
        visitor.pending.reason = visitor.arbitration.reason


cdef bint _proves_established(const Visitor* visitor) noexcept nogil:
    """Whether this packet completes the handshake, or shows that it was completed."""
    cdef const PacketView* view = &visitor.view
    cdef uint8_t flags = view.tcp_flags
    if visitor.pending.flags & FLOW_ESTABLISHED_SEEN:
        return False
    if view.protocol != PROTOCOL_TCP:
        return not visitor.flow_known
    if not view.has_tcp or flags & TCP_RST or not flags & TCP_ACK:
        return False
    if visitor.pending.flags & FLOW_OUTBOUND:
        if not visitor.outbound:
            return (flags & TCP_SYN) != 0 or visitor.midstream
        return not flags & TCP_SYN
    if flags & TCP_SYN:
        return False
    # A server that sends data or closes has seen the handshake's end, should only output be attached.
    return not visitor.outbound or visitor.midstream or view.payload_length != 0 or (flags & TCP_FIN) != 0


cdef void _flow_progress(Visitor* visitor) noexcept nogil:
    """Move the flow's state by a permitted packet."""
    cdef const PacketView* view = &visitor.view
    cdef FlowEntry* flow = &visitor.pending
    if flow.state != FLOW_GROUP or visitor.outbound:  # Answers do not keep it open.
        flow.last_ns = visitor.input.now_ns if visitor.input.now_ns > flow.last_ns else flow.last_ns
    if visitor.established_now:
        flow.flags |= FLOW_ESTABLISHED_SEEN
        if flow.state == FLOW_OPENING:
            flow.state = FLOW_ESTABLISHED
    if not view.has_tcp:
        return
    if view.tcp_flags & TCP_SYN:
        flow.begins[visitor.outbound != 0] = view.tcp_sequence + 1
        flow.marks |= FLOW_BEGINS_OUT if visitor.outbound else FLOW_BEGINS_IN
    if view.tcp_flags & TCP_FIN:
        flow.flags |= FLOW_FIN_LOCAL if visitor.outbound else FLOW_FIN_REMOTE
    if (view.tcp_flags & TCP_RST and not visitor.stream_bad_reset) or (flow.flags & FLOW_FIN_LOCAL and flow.flags & FLOW_FIN_REMOTE):
        flow.state = FLOW_CLOSING


# ------------------------------------------------------------------------------------ cut flows
#
# The one place where the end of a connection is remembered, for a callout's tcp_reset at any layer and for every block
# of the stream layer.  The reset of a blocked packet reaches its sender only.  The other end is reset when its next packet
# comes, so the flow is marked as cut, with who cut it: in its entry, or where flows are not tracked (forwarded packets,
# policies without ALE filters) in an entry made for nothing else, under one key for both directions.


cdef bint _cut_key(const Visitor* visitor, FlowKey* key) noexcept nogil:
    """The key of an untracked flow's cut; true if the packet comes from the lesser end."""
    cdef const PacketView* view = &visitor.view
    cdef bint lesser = (
        view.source_hi < view.destination_hi
        or (view.source_hi == view.destination_hi and (
            view.source_lo < view.destination_lo
            or (view.source_lo == view.destination_lo and view.source_port < view.destination_port))))
    memset(key, 0, sizeof(FlowKey))
    key.family = view.family
    key.protocol = view.protocol
    key.only_cut = 1
    if lesser:
        key.local_hi, key.local_lo, key.local_port = view.source_hi, view.source_lo, view.source_port
        key.remote_hi, key.remote_lo, key.remote_port = view.destination_hi, view.destination_lo, view.destination_port
    else:
        key.local_hi, key.local_lo, key.local_port = view.destination_hi, view.destination_lo, view.destination_port
        key.remote_hi, key.remote_lo, key.remote_port = view.source_hi, view.source_lo, view.source_port
    return lesser


cdef bint _is_cuttable(const Visitor* visitor) noexcept nogil:
    cdef const PacketView* view = &visitor.view
    return (visitor.flows != NULL and view.status == PARSE_OK and view.fragment == FRAGMENT_NONE and view.has_tcp
            and view.has_addresses and not view.is_icmp_error)


cdef void _keep_cut(Visitor* visitor, bint local) noexcept nogil:
    """The packet's sender knows, if it is being reset; the flow closes when both ends do."""
    cdef FlowEntry* flow = &visitor.pending
    if visitor.decision.reply == REPLY_TCP_RESET:
        flow.flags |= FLOW_TOLD_LOCAL if local else FLOW_TOLD_REMOTE
    flow_keep_cut(visitor.flows, flow, visitor.flow_hash, visitor.input.now_ns)


cdef void _decide_cut(Visitor* visitor) noexcept nogil:
    """Block a packet of a cut flow, in the name of the filter that cut it while that policy stands."""
    cdef const FlowEntry* flow = &visitor.pending
    visitor.decision.verdict = ACTION_BLOCK
    visitor.decision.reply = REPLY_TCP_RESET
    visitor.decision.slot = flow.cut_slot
    if flow.cut_generation == visitor.policy.generation and flow.cut_filter != NO_FILTER:
        visitor.decision.filter = flow.cut_filter
        visitor.decision.callout = visitor.policy.briefs[flow.cut_filter].callout


cdef bint _is_cut(Visitor* visitor) noexcept nogil:
    """Whether the packet's flow was cut: then its verdict is in `decision`, and no layer is asked.

    An RST passes: ours goes to the other end like this.
    """
    cdef FlowKey key
    cdef uint64_t hash
    cdef bint local = visitor.outbound != 0
    if not _is_cuttable(visitor):
        return False
    if visitor.tracked:
        if not visitor.flow_known or not visitor.pending.flags & FLOW_CUT:
            return False
    elif visitor.input.now_ns > visitor.flows.cut_until_ns:
        return False
    else:
        local = _cut_key(visitor, &key)
        hash = flow_hash(visitor.flows, &key)
        if not flow_find(visitor.flows, &key, hash, visitor.input.now_ns, &visitor.pending):
            return False
        visitor.flow_hash = hash
        if visitor.view.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN and _may_begin_anew(&visitor.pending):
            flow_remove(visitor.flows, &key, hash, visitor.input.now_ns, END_REUSED)
            return False
    visitor.decision.reason = REASON_FLOW
    if not visitor.view.tcp_flags & TCP_RST:
        _decide_cut(visitor)
        _keep_cut(visitor, local)
    visitor.finished = 1
    return True


cdef bint _find_cut(Visitor* visitor) noexcept nogil:
    """Prepare the entry of an untracked flow that is cut now; true if the packet comes from the lesser end.

    It is looked for, so that one whose time is over is not gone on with.
    """
    cdef FlowEntry* flow = &visitor.pending
    cdef FlowKey key
    cdef bint lesser = _cut_key(visitor, &key)
    visitor.flow_hash = flow_hash(visitor.flows, &key)
    if not flow_find(visitor.flows, &key, visitor.flow_hash, visitor.input.now_ns, flow):
        memset(flow, 0, sizeof(FlowEntry))
        flow.key = key
        flow.first_ns = visitor.input.now_ns
        flow.filter = NO_FILTER
        flow.slot = NO_SLOT
        flow.state = FLOW_OTHER
    return lesser


cdef bint _cuts(Visitor* visitor) noexcept nogil:
    """Mark the flow as cut, if the block that stands does that."""
    cdef FlowEntry* flow = &visitor.pending
    cdef bint local = visitor.outbound != 0
    if not visitor.cuts or visitor.policy.audit or not _is_cuttable(visitor) or visitor.limit_block:
        return False
    if visitor.view.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN:
        return False                # There is no other end yet.
    if visitor.view.tcp_flags & TCP_RST and not visitor.flow_known:
        return False                # What it would end is nothing that is known, or ended already.
    if not visitor.tracked:
        local = _find_cut(visitor)
    elif flow.flags & FLOW_STREAM:
        stream_drop(visitor.flows.streams, flow.id)
    flow.flags |= FLOW_CUT
    flow.cut_slot, flow.cut_filter = visitor.decision.slot, visitor.decision.filter
    flow.cut_generation = visitor.policy.generation
    stream_count(visitor.flows.streams, STREAM_CUT, 1)
    _keep_cut(visitor, local)
    return True


cdef uint64_t _flow_keep(Visitor* visitor, bint from_starter) noexcept nogil:
    """Store the flow as the packet leaves it; its id."""
    cdef uint64_t id = visitor.pending.id
    cdef bint stored
    _flow_progress(visitor)
    stored = flow_store(visitor.flows, &visitor.pending, visitor.flow_hash, visitor.input.now_ns,
                        0 if from_starter else 1, visitor.view.length)
    # No room, or another worker has made the flow meanwhile: the stream begun here is nobody's.
    if visitor.pending.flags & FLOW_STREAM and (not stored or visitor.pending.id != id):
        stream_drop(visitor.flows.streams, id)
    return visitor.pending.id


cdef void _flow_close(Visitor* visitor) noexcept nogil:
    """Keep what the visit decided about the flow."""
    cdef bint from_starter
    if not visitor.tracked:
        if visitor.decision.verdict == ACTION_BLOCK:
            _cuts(visitor)
        return
    from_starter = _from_starter(visitor)
    visitor.decision.flow_id = visitor.pending.id
    visitor.decision.to_server = from_starter
    if visitor.decision.verdict == ACTION_BLOCK and not visitor.stream_kept:
        if not visitor.flow_known and visitor.pending.flags & FLOW_STREAM:
            stream_drop(visitor.flows.streams, visitor.pending.id)
            visitor.pending.flags &= ~<uint16_t>FLOW_STREAM
        elif visitor.pending.flags & FLOW_STREAM:
            flow_add_flags(visitor.flows, &visitor.key, visitor.flow_hash, FLOW_STREAM)
        if _cuts(visitor):
            return
        if visitor.flow_known and visitor.reauthorizing and _is_authorization(visitor.layer):
            flow_remove(visitor.flows, &visitor.key, visitor.flow_hash, visitor.input.now_ns, END_REAUTHORIZATION)
        return
    visitor.decision.flow_id = _flow_keep(visitor, from_starter)
    if visitor.pending.state == FLOW_GROUP and visitor.outbound:
        flow_note_group(visitor.flows, &visitor.key, visitor.input.now_ns)
