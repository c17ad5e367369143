# A visit's stream layer: the packet's bytes into their place, then pass after pass over what is in order and not
# decided.  Included by _visit.pyx.


cdef enum:
    TCP_URG = 0x20
    PASS_DATA = 0
    PASS_DISCONNECT = 1
    PASS_ABORT = 2
    STREAM_NOT_BEGUN = 0            # Visitor.stream_stage
    STREAM_STATIC = 1               # No callout matches: no bytes are needed.
    STREAM_HELD_HALF = 2            # The visitor has hold of the direction.
    STREAM_OVER = 3


cdef void _stream_let_go(Visitor* visitor) noexcept nogil:
    if visitor.stream_stage == STREAM_HELD_HALF:
        stream_release(visitor.flows.streams, visitor.stream, visitor.outbound_stream)
    visitor.stream_stage = STREAM_OVER
    visitor.stream = NULL


cdef void _stream_abandon(Visitor* visitor) noexcept nogil:
    """A visit that was left before its end has not stored its flow: who drops the stream later must know of it."""
    _stream_let_go(visitor)
    if visitor.finished or not visitor.pending.flags & FLOW_STREAM:
        return
    if visitor.flow_known:
        flow_add_flags(visitor.flows, &visitor.key, visitor.flow_hash, FLOW_STREAM)
    else:
        stream_drop(visitor.flows.streams, visitor.pending.id)


cdef void _stream_refuse(Visitor* visitor, uint8_t reason) noexcept nogil:
    """The packet does not pass, without an answer: it comes again, or should not have come."""
    visitor.decision.verdict = ACTION_BLOCK
    visitor.decision.reason = reason
    visitor.decision.slot = _slot_of(visitor, LAYER_STREAM)
    visitor.decision.filter = NO_FILTER
    visitor.decision.callout = NO_FILTER
    visitor.decision.reply = REPLY_NONE
    visitor.decision.veto = 0
    visitor.have_row = 1
    visitor.blocked = 1
    visitor.stream_kept = 1


cdef void _stream_fault(Visitor* visitor) noexcept nogil:
    """A limit keeps the bytes from being looked at: the policy's on_error decides."""
    if visitor.policy.on_error == WORD_BLOCK and not visitor.policy.audit:
        _stream_refuse(visitor, REASON_LIMIT)
        return
    if visitor.stream != NULL:
        visitor.stream.lost = 1
    stream_count(visitor.flows.streams, STREAM_LOST, 1)


cdef void _stream_cut(Visitor* visitor) noexcept nogil:
    """The layer has blocked: the flow is cut, and what it kept of the direction is of no use any more."""
    cdef StreamHalf* half
    cdef int i
    visitor.decision.reply = REPLY_TCP_RESET
    if visitor.policy.audit:
        if visitor.stream_stage == STREAM_HELD_HALF:
            half = &visitor.stream.halves[visitor.outbound_stream]
            half.missed += <uint64_t>(half.half.next - half.half.decided)
            half.permitted = half.half.decided = half.half.next
            for i in range(half.n_filters):
                half.filters[i].seen = max(half.filters[i].seen, half.half.next)
                half.filters[i].wants = 0
        _stream_let_go(visitor)
        visitor.stream_kept = 1
        return
    if visitor.stream_stage == STREAM_HELD_HALF:
        half_free(&visitor.stream.halves[visitor.outbound_stream].half, &visitor.flows.streams.pool)
    _stream_let_go(visitor)
    visitor.cuts = 1


cdef uint32_t _stream_initial(const Visitor* visitor) noexcept nogil:
    """The sequence number of the first byte, or of the first that is seen."""
    cdef const PacketView* view = &visitor.view
    cdef uint32_t begin = visitor.pending.begins[visitor.outbound_stream]
    if view.tcp_flags & TCP_SYN:
        return view.tcp_sequence + 1
    # Far from the known begin the stream was not looked at so far.
    if (visitor.pending.marks & (FLOW_BEGINS_OUT if visitor.outbound_stream else FLOW_BEGINS_IN)
            and view.tcp_sequence - begin < visitor.flows.streams.limits.window):
        return begin
    return view.tcp_sequence


cdef void _stream_skip(Visitor* visitor, StreamHalf* half) noexcept nogil:
    """Go on behind what the receiver has and we never saw."""
    cdef int64_t at, passed
    cdef int i
    if not visitor.stream.acked_known[visitor.outbound_stream]:
        return
    at = half_offset(&half.half, visitor.stream.acked[visitor.outbound_stream])
    passed = half_skip(&half.half, at)
    if passed == 0:
        return
    half.missed += <uint64_t>passed
    half.permitted = max(half.permitted, half.half.decided)
    for i in range(half.n_filters):
        half.filters[i].seen = max(half.filters[i].seen, half.half.decided)
        half.filters[i].wants = 0
    stream_count(visitor.flows.streams, STREAM_SKIPPED, <uint64_t>passed)


cdef void _stream_reset_seen(Visitor* visitor, StreamHalf* half) noexcept nogil:
    cdef int64_t acked = half.half.next
    if visitor.stream.acked_known[visitor.outbound_stream]:
        acked = half_offset(&half.half, visitor.stream.acked[visitor.outbound_stream])
    if half_reset_valid(&half.half, visitor.view.tcp_sequence, acked):
        visitor.stream_reset = 1
    else:
        visitor.stream_bad_reset = 1
        stream_count(visitor.flows.streams, STREAM_BAD_RESET, 1)


cdef bint _is_keep_alive(const Visitor* visitor, const StreamHalf* half, int64_t start) noexcept nogil:
    """One byte, of any value, before the byte awaited, which the receiver has acknowledged (RFC 9293, 3.8.4)."""
    return (visitor.view.payload_length == 1 and not visitor.view.tcp_flags & (TCP_SYN | TCP_FIN)
            and start == half.half.next - 1 and visitor.stream.acked_known[visitor.outbound_stream]
            and half_offset(&half.half, visitor.stream.acked[visitor.outbound_stream]) >= half.half.next)


cdef bint _stream_put(Visitor* visitor, StreamHalf* half) noexcept nogil:
    """Put the packet's bytes into their place; false if the packet's fate is settled by that."""
    cdef const PacketView* view = &visitor.view
    cdef StreamTable* table = visitor.flows.streams
    cdef Segment segment
    cdef unsigned int facts
    cdef int64_t before = half.half.next, start
    segment.data = view.data + view.payload_offset
    segment.length = view.payload_length
    segment.sequence = view.tcp_sequence
    segment.syn = view.tcp_flags & TCP_SYN != 0
    segment.fin = view.tcp_flags & TCP_FIN != 0
    start = half_offset(&half.half, segment.sequence + segment.syn)
    visitor.packet_end = start + segment.length
    if _is_keep_alive(visitor, half, start):
        return True
    facts = half_segment(&half.half, &table.pool, &table.limits, &segment, visitor.policy.audit != 0)
    stream_count(table, STREAM_BYTES, <uint64_t>(half.half.next - before))
    if facts & (SEGMENT_INCONSISTENT | SEGMENT_AFTER_FIN | SEGMENT_NEW_SYN):
        stream_count(table, STREAM_INCONSISTENT, 1)
        if not visitor.policy.audit:
            _stream_refuse(visitor, REASON_FLOW)
            return False
    if facts & SEGMENT_LIMIT:
        stream_count(table, STREAM_LIMIT, 1)
        if half.holds and start > half.half.next and not visitor.policy.audit:
            _stream_refuse(visitor, REASON_LIMIT)   # It comes again when there is room.
        else:
            _stream_fault(visitor)
        return False
    return True


cdef bint _stream_take(Visitor* visitor) noexcept nogil:
    """Take hold of the packet's direction and put its bytes there; false if nothing is to be classified."""
    cdef const PacketView* view = &visitor.view
    cdef StreamTable* table = visitor.flows.streams
    cdef bint resets = view.tcp_flags & TCP_RST != 0
    cdef StreamHalf* half
    cdef StreamStatus status
    if visitor.pending.id == 0:
        visitor.pending.id = flow_new_id(visitor.flows)
    status = stream_acquire(table, visitor.pending.id, visitor.outbound_stream, not resets, &visitor.stream)
    if status == STREAM_FULL:
        _stream_fault(visitor)
    elif status == STREAM_IN_USE:
        stream_count(table, STREAM_BUSY, 1)
        _stream_refuse(visitor, REASON_FLOW)
    if status != STREAM_READY:
        return False
    visitor.stream_stage = STREAM_HELD_HALF
    visitor.pending.flags |= FLOW_STREAM
    half = &visitor.stream.halves[visitor.outbound_stream]
    stream_renew(table, visitor.stream, visitor.policy.layer_generation[visitor.slot])
    if visitor.stream.lost or (resets and not half.half.started):
        return False
    if not half.half.started:
        half_begin(&half.half, _stream_initial(visitor))
        half.holds = 1
    _stream_skip(visitor, half)
    if resets:
        _stream_reset_seen(visitor, half)
        return visitor.stream_reset
    if view.payload_length and (view.payload_offset == 0
                                or view.payload_offset + view.payload_length > view.captured):
        _stream_fault(visitor)      # The copy was cut.
        return False
    return _stream_put(visitor, half)


cdef bint _stream_begin(Visitor* visitor) noexcept nogil:
    """Whether the packet has something for the layer; the matches are then in place."""
    cdef const PacketView* view = &visitor.view
    cdef uint8_t slot = _slot_of(visitor, LAYER_STREAM)
    cdef ValueContext context
    cdef uint32_t i
    if not visitor.tracked or not view.has_tcp or not _has_filters(visitor, slot):
        return False
    visitor.outbound_stream = visitor.outbound != 0
    if visitor.pending.flags & FLOW_STREAM and view.tcp_flags & TCP_ACK:
        stream_acked(visitor.flows.streams, visitor.pending.id, 1 - visitor.outbound_stream, view.tcp_acknowledgment)
    if view.payload_length == 0 and not view.tcp_flags & (TCP_FIN | TCP_RST):
        return False
    _context(visitor, LAYER_STREAM, &context)
    values_fill(&context, visitor.policy.fields_needed[slot], visitor.done, &visitor.values)
    visitor.slot = slot
    visitor.stream_matches = classify(visitor.policy, slot, &visitor.values, visitor.matches)
    visitor.stream_stage = STREAM_STATIC
    for i in range(visitor.stream_matches):
        if visitor.policy.briefs[visitor.matches[i]].action >= FILTER_CALLOUT_TERMINATING:
            return _stream_take(visitor)
    return visitor.stream_matches != 0


cdef bint _stream_next_pass(Visitor* visitor) noexcept nogil:
    """Choose what is to be indicated next; false if there is nothing."""
    cdef StreamHalf* half = &visitor.stream.halves[visitor.outbound_stream]
    cdef int64_t decided = min(half.permitted, half.half.decided)
    visitor.stream_kind = PASS_DATA
    if visitor.stream_reset:
        visitor.stream_kind = PASS_ABORT
        return not half.abort_told
    if half.deferred:
        return False
    if decided < half.half.next and (visitor.stream_passes == 0 or visitor.stream_partial):
        visitor.stream_passes = 1
        visitor.stream_partial = 0
        return True
    visitor.stream_kind = PASS_DISCONNECT
    return half.half.fin == half.half.next == decided and not half.fin_told


cdef void _stream_finish(Visitor* visitor) noexcept nogil:
    """Nothing more is to be classified: does the packet pass?"""
    cdef StreamHalf* half
    if visitor.stream_stage == STREAM_HELD_HALF and not visitor.blocked:
        half = &visitor.stream.halves[visitor.outbound_stream]
        if (half.holds and not visitor.stream.lost and visitor.packet_end > half.permitted
                and not visitor.policy.audit and not visitor.view.tcp_flags & TCP_RST):
            stream_count(visitor.flows.streams, STREAM_HELD, 1)
            _stream_refuse(visitor, REASON_FLOW)
    _stream_let_go(visitor)


cdef bint _stream_enter(Visitor* visitor) noexcept nogil:
    """Begin the next pass; false when the layer is through with the packet."""
    cdef bint more
    if visitor.stream_stage == STREAM_NOT_BEGUN:
        more = _stream_begin(visitor)
        if more and visitor.stream_stage == STREAM_HELD_HALF:
            more = _stream_next_pass(visitor)
    else:
        more = visitor.stream_stage == STREAM_HELD_HALF and _stream_next_pass(visitor)
    if not more:
        _stream_finish(visitor)
        return False
    visitor.layer = LAYER_STREAM
    visitor.slot = _slot_of(visitor, LAYER_STREAM)
    visitor.first_traced = visitor.trace.n_callouts if visitor.trace != NULL else 0
    visitor.n_restored = 0
    visitor.probe.set = NULL
    arbitrate_begin(&visitor.arbitration, visitor.policy, visitor.matches, visitor.stream_matches)
    visitor.arbitration.waterfall = 1
    visitor.stream_holds = 0
    if visitor.stream_stage == STREAM_HELD_HALF:
        visitor.stream_limit = visitor.stream_least = visitor.stream.halves[visitor.outbound_stream].half.next
    return True


cdef uint32_t _stream_flags(const Visitor* visitor, bint no_more, bint full) noexcept nogil:
    cdef uint32_t flags = STREAM_FLAG_RECEIVE
    if visitor.view.tcp_flags & TCP_URG:
        flags |= STREAM_FLAG_RECEIVE_EXPEDITED
    if visitor.stream_kind == PASS_DISCONNECT:
        flags |= STREAM_FLAG_RECEIVE_DISCONNECT
    elif visitor.stream_kind == PASS_ABORT:
        flags |= STREAM_FLAG_RECEIVE_ABORT
    if visitor.outbound_stream:
        flags = ((flags & (STREAM_FLAG_RECEIVE | STREAM_FLAG_RECEIVE_EXPEDITED)) << 16
                 | (flags & (STREAM_FLAG_RECEIVE_DISCONNECT | STREAM_FLAG_RECEIVE_ABORT)) << 17)
    if no_more or visitor.stream_kind != PASS_DATA:
        flags |= STREAM_FLAG_NO_MORE_DATA
    return flags | (STREAM_FLAG_BUFFER_LIMIT if full else 0)


cdef void _stream_saw(Visitor* visitor, bint inspects, int64_t seen) noexcept nogil:
    """The filter that is asked has decided the bytes below `seen`: those after it see no more than that."""
    visitor.stream_least = min(visitor.stream_least, seen)
    if not inspects:
        visitor.stream_limit = min(visitor.stream_limit, seen)


cdef bint _stream_skips(Visitor* visitor, CalloutAnswer* answer) noexcept nogil:
    """Whether the filter that is asked has nothing new to say, which is `answer`; else the indication is made ready."""
    cdef StreamHalf* half = &visitor.stream.halves[visitor.outbound_stream]
    cdef uint32_t filter = visitor.arbitration.asked
    cdef const FilterBrief* item = &visitor.policy.briefs[filter]
    cdef bint inspects = item.action == FILTER_CALLOUT_INSPECTION, no_more, full
    cdef StreamFilter* entry = stream_filter(half, filter)
    cdef int64_t start = entry.seen if entry != NULL else half.half.decided
    cdef int64_t end = visitor.stream_limit if visitor.stream_kind == PASS_DATA else half.half.next
    answer[0] = _PERMIT
    if stream_is_allowed(visitor.stream, filter):
        return True
    if not inspects and not visitor.policy.callout_registered[item.callout] & CALLOUT_PASSES:
        visitor.stream_holds = 1
    no_more = half.half.fin == half.half.next and end == half.half.next
    full = end - start >= visitor.flows.streams.limits.pending
    if visitor.stream_kind == PASS_DATA:
        if start >= end and entry != NULL and entry.continued:
            _stream_saw(visitor, inspects, end)
            answer[0] = _CONTINUE
            if entry.continued == ANSWER_SKIP:
                answer.kind = ANSWER_SKIP
            return True
        if start >= end or (entry != NULL and entry.wants > end and not no_more and not full):
            _stream_saw(visitor, inspects, min(start, end))
            return True
    else:
        start, full = end, False
    visitor.indication.data = half.half.buffer + (start - half.half.base) if end > start else NULL
    visitor.indication.length = <uint32_t>(end - start)
    visitor.indication.offset = <uint64_t>start
    visitor.indication.direction = visitor.outbound_stream
    visitor.indication.flags = _stream_flags(visitor, no_more, full)
    visitor.indication.missed = 0
    if entry != NULL:
        visitor.indication.missed = <uint32_t>min(half.missed - entry.missed, <uint64_t>0xFFFFFFFF)
        entry.missed = half.missed
    return False


cdef void _stream_control(Visitor* visitor, const FilterBrief* item, CalloutAnswer* answer) noexcept nogil:
    """Turn what the callout asks for into an answer; one that may not be given is on_error's."""
    cdef uint8_t word = item.on_error if item.on_error != WORD_DEFAULT else visitor.policy.on_error
    cdef bint waits = answer.stream_action == STREAM_NEED_MORE or answer.stream_action == STREAM_DEFER
    cdef uint8_t action = answer.stream_action
    answer.enforced = 0
    answer.kind = ANSWER_PERMIT
    if action == STREAM_DROP_CONNECTION:
        answer.kind = ANSWER_BLOCK if item.action == FILTER_CALLOUT_UNKNOWN else ANSWER_CONTINUE
        answer.stream_action = STREAM_NO_ACTION
    elif waits and visitor.indication.flags & (STREAM_FLAG_NO_MORE_DATA | STREAM_FLAG_BUFFER_LIMIT) or (
            action == STREAM_DEFER and visitor.outbound_stream):
        answer.kind = ANSWER_BLOCK if word == WORD_BLOCK else ANSWER_PERMIT
        answer.stream_action = STREAM_NO_ACTION
        answer.failed = 1


cdef void _stream_answered(Visitor* visitor, CalloutAnswer* answer) noexcept nogil:
    """Note how far the callout has come, and what its answer means to arbitration."""
    cdef StreamHalf* half = &visitor.stream.halves[visitor.outbound_stream]
    cdef uint32_t filter = visitor.arbitration.asked
    cdef const FilterBrief* item = &visitor.policy.briefs[filter]
    cdef StreamFilter* entry = stream_filter(half, filter)
    cdef int64_t start = <int64_t>visitor.indication.offset
    cdef uint32_t n = visitor.indication.length
    if answer.stream_action != STREAM_NO_ACTION:
        _stream_control(visitor, item, answer)
    if answer.stream_action == STREAM_NEED_MORE or answer.stream_action == STREAM_DEFER:
        n = 0
        if answer.stream_action == STREAM_DEFER:
            stream_defer(visitor.flows.streams, visitor.stream, visitor.outbound_stream)
        elif entry != NULL:
            entry.wants = start + visitor.indication.length + max(answer.required, <uint32_t>1)
    elif answer.kind != ANSWER_CONTINUE and 0 < answer.enforced < n:
        n = answer.enforced
        visitor.stream_partial = 1
    if answer.stream_action == STREAM_ALLOW_CONNECTION:
        stream_allow(visitor.flows.streams, visitor.stream, filter)
    if visitor.stream_kind != PASS_DATA:
        visitor.stream_partial = 0  # No byte was shown: what waits goes on waiting.
        return
    if entry != NULL:
        entry.seen = max(entry.seen, start + n)
        entry.continued = ANSWER_SKIP if answer.kind == ANSWER_SKIP else answer.kind == ANSWER_CONTINUE
    _stream_saw(visitor, item.action == FILTER_CALLOUT_INSPECTION, start + n)


cdef void _stream_decided(Visitor* visitor) noexcept nogil:
    """A pass has ended without a block."""
    cdef StreamHalf* half
    if visitor.stream_stage != STREAM_HELD_HALF:
        visitor.stream_stage = STREAM_OVER
        return
    half = &visitor.stream.halves[visitor.outbound_stream]
    if visitor.stream_kind == PASS_DATA:
        half.permitted = max(half.permitted, visitor.stream_limit)
        half.half.decided = max(half.half.decided, visitor.stream_least)
        half.holds = visitor.stream_holds
    elif visitor.stream_kind == PASS_DISCONNECT:
        half.fin_told = 1
    else:
        half.abort_told = 1
    visitor.stage -= 1              # The next pass, at the same place of the order.
