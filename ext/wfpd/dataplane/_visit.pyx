"""One packet's way through the layers of its hook.

The orders below follow Microsoft's "TCP Packet Flows" and "UDP Packet Flows".  A visit is a
small machine: `_advance` steps from layer to layer; where a layer's arbitration needs a callout the visit stops with VISIT_CALLOUT
and goes on in visit_answer().  A block ends the visit after its discard twin.

Flows: a packet's entry is copied from the flow table at the start, changed in the copy, and
stored when the visit has ended with a permit; a blocked first packet therefore creates nothing,
and a failed reauthorization removes the flow.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from wfpd.callouts.api cimport *

from wfpd.model.fields import FIELD
from wfpd.model.layers import BY_SLOT

from ._arbitrate cimport (
    ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, ANSWER_SKIP, STEP_CALLOUT, STREAM_ALLOW_CONNECTION, STREAM_DEFER,
    STREAM_DROP_CONNECTION, STREAM_NEED_MORE, STREAM_NO_ACTION, Arbitration, CalloutAnswer, answer_on_error,
    arbitrate_answer, arbitrate_begin, arbitrate_run,
)
from ._budget cimport (
    ADMITTED, SUSPENDED, Admission, CalloutSlot, watch_admits, watch_called, watch_handed, watch_sample, watch_took,
    wfpd_budget_add, wfpd_budget_clock, wfpd_budget_write,
)
from ._cache cimport cache_find, cache_store
from ._clock cimport wfpd_monotonic
from ._layered cimport classify
from ._flow cimport (
    END_REAUTHORIZATION, END_REUSED, FLOW_BEGINS_IN, FLOW_BEGINS_OUT, FLOW_CLOSING, FLOW_CUT, FLOW_ESTABLISHED,
    FLOW_ESTABLISHED_SEEN, FLOW_FIN_LOCAL, FLOW_FIN_REMOTE, FLOW_GROUP, FLOW_OPENING, FLOW_OTHER, FLOW_OUTBOUND,
    FLOW_STREAM, FLOW_TOLD_BOTH, FLOW_TOLD_LOCAL, FLOW_TOLD_REMOTE, FlowEntry, FlowKey, FlowTable, flow_add_flags,
    flow_answered, flow_find, flow_has_room, flow_hash, flow_is, flow_keep_cut, flow_new_id, flow_not_made,
    flow_note_group, flow_prefetch, flow_remove, flow_store,
)
from ._flow_contexts cimport (
    CONTEXT_EXISTS, CONTEXT_OK, ContextStatus, context_add, context_find, context_has, context_remove,
    contexts_flow_ended,
)
from ._host cimport HostInterface, host_address_type, host_interface
from ._parse cimport (
    FRAGMENT_NONE, N_PARSE_IP_STATUSES, PARSE_NOT_IP, PARSE_OK, PacketView, parse_packet,
)
from ._policy cimport CALLOUT_CONDITIONAL, CALLOUT_PASSES, CALLOUT_PASSES_OWN, FilterBrief, callout_named
from ._reassembly cimport (
    SEGMENT_AFTER_FIN, SEGMENT_INCONSISTENT, SEGMENT_LIMIT, SEGMENT_NEW_SYN, Segment, half_begin, half_free, half_offset,
    half_reset_valid, half_segment, half_skip,
)
from ._stats cimport histogram_add, stats_hit
from ._streams cimport (
    STREAM_BAD_RESET, STREAM_BUSY, STREAM_BYTES, STREAM_CUT, STREAM_FULL, STREAM_HELD, STREAM_INCONSISTENT,
    STREAM_IN_USE, STREAM_LIMIT, STREAM_LOST, STREAM_READY, STREAM_SKIPPED, StreamFilter, StreamHalf, StreamStatus,
    StreamTable, stream_acked, stream_acquire, stream_allow, stream_count, stream_defer, stream_drop,
    stream_filter, stream_is_allowed, stream_release, stream_renew, stream_resume,
)
from ._table cimport CompiledPolicy
from ._types cimport *
from ._values cimport ValueContext, values_fill

cdef CalloutAnswer _PERMIT
memset(&_PERMIT, 0, sizeof(_PERMIT))
_PERMIT.kind = ANSWER_PERMIT
cdef CalloutAnswer _CONTINUE
memset(&_CONTINUE, 0, sizeof(_CONTINUE))

cdef enum:
    TCP_FIN = 0x01
    TCP_SYN = 0x02
    TCP_RST = 0x04
    TCP_ACK = 0x10
    PROTOCOL_TCP = 6
    REASON_CLASSIFY_COMPLETION = 0x10   # FWPS_FIELD_..._ALE_REAUTH_REASON
    ADDRESS_MULTICAST = 3           # NL_ADDRESS_TYPE; broadcast is the next.
    END = 0xFF
    ORDER_LENGTH = 9

# By hook, END-terminated.  PREROUTING and POSTROUTING serve one layer each.
cdef uint8_t _ORDER[5][ORDER_LENGTH]


cdef void _order(int hook, object layers):
    cdef int i
    for i in range(ORDER_LENGTH):
        _ORDER[hook][i] = layers[i] if i < len(layers) else END


_order(HOOK_PREROUTING, (LAYER_INBOUND_IPPACKET,))
_order(HOOK_INPUT, (LAYER_INBOUND_IPPACKET, LAYER_INBOUND_TRANSPORT, LAYER_INBOUND_ICMP_ERROR,
                    LAYER_ALE_AUTH_RECV_ACCEPT, LAYER_ALE_FLOW_ESTABLISHED, LAYER_STREAM_PACKET,
                    LAYER_STREAM, LAYER_DATAGRAM_DATA))
_order(HOOK_FORWARD, (LAYER_IPFORWARD,))
_order(HOOK_OUTPUT, (LAYER_ALE_AUTH_CONNECT, LAYER_ALE_FLOW_ESTABLISHED, LAYER_STREAM, LAYER_DATAGRAM_DATA, LAYER_STREAM_PACKET,
                     LAYER_OUTBOUND_ICMP_ERROR, LAYER_OUTBOUND_TRANSPORT, LAYER_OUTBOUND_IPPACKET))
_order(HOOK_POSTROUTING, (LAYER_OUTBOUND_IPPACKET,))


cdef inline bint _is_ip_layer(uint8_t layer) noexcept nogil:
    return layer in (LAYER_INBOUND_IPPACKET, LAYER_OUTBOUND_IPPACKET, LAYER_IPFORWARD)


cdef inline bint _is_authorization(uint8_t layer) noexcept nogil:
    return layer == LAYER_ALE_AUTH_RECV_ACCEPT or layer == LAYER_ALE_AUTH_CONNECT


cdef inline uint8_t _slot_of(const Visitor* visitor, uint8_t layer) noexcept nogil:
    return layer * 2 + (1 if visitor.view.family == 6 else 0)


cdef inline bint _has_filters(const Visitor* visitor, uint8_t slot) noexcept nogil:
    return visitor.policy.layers[slot].count != 0


include "_visit_flow.pxi"
include "_visit_native.pxi"

# ------------------------------------------------------------------------------- which layers


cdef uint8_t _serves(Visitor* visitor, uint8_t layer) noexcept nogil:
    """The layer to classify at this place of the order, or END to leave it out."""
    cdef const PacketView* view = &visitor.view
    if _is_ip_layer(layer):
        if layer == LAYER_INBOUND_IPPACKET and visitor.input.hook == HOOK_INPUT:
            return END if visitor.hooks_attached & (1 << HOOK_PREROUTING) else layer
        if layer == LAYER_OUTBOUND_IPPACKET and visitor.input.hook == HOOK_OUTPUT:
            return END if visitor.hooks_attached & (1 << HOOK_POSTROUTING) else layer
        return layer
    if view.status != PARSE_OK or view.fragment != FRAGMENT_NONE:
        return END  # Fragments and what is malformed above IP: only layers that need IP alone.
    if layer == LAYER_INBOUND_ICMP_ERROR or layer == LAYER_OUTBOUND_ICMP_ERROR:
        return layer if view.is_icmp_error else END
    if layer == LAYER_STREAM_PACKET:
        return layer if view.has_protocol and view.protocol == PROTOCOL_TCP else END
    if view.is_icmp_error and layer != LAYER_INBOUND_TRANSPORT and layer != LAYER_OUTBOUND_TRANSPORT:
        return END  # ICMP errors never reach ALE or the datagram layer.
    if layer == LAYER_DATAGRAM_DATA:
        return END if view.has_protocol and view.protocol == PROTOCOL_TCP else layer
    if _is_authorization(layer):
        if not visitor.tracked or not _needs_authorization(visitor):
            return END
        return _authorizing_layer(visitor)
    if layer == LAYER_ALE_FLOW_ESTABLISHED:
        if not visitor.tracked or not _proves_established(visitor):
            return END
        visitor.established_now = 1
    return layer


cdef void _context(const Visitor* visitor, uint8_t layer, ValueContext* context) noexcept nogil:
    context.view = &visitor.view
    context.host = visitor.host
    context.layer = layer
    context.outbound = visitor.outbound
    context.loopback = visitor.input.loopback
    context.has_mark = visitor.input.has_mark
    context.reassembled = 0
    context.flow_outbound = 1 if visitor.pending.flags & FLOW_OUTBOUND else 0
    context.needs_authorization = visitor.tracked and not visitor.flow_known and not visitor.outbound
    context.reauthorizing = visitor.reauthorizing
    if layer == LAYER_ALE_AUTH_CONNECT and visitor.resume != NULL:
        context.reauthorizing |= REASON_CLASSIFY_COMPLETION
    context.flow_icmp_type = visitor.pending.icmp_type
    context.mark = visitor.input.mark
    context.in_interface = visitor.input.in_interface
    context.out_interface = visitor.input.out_interface
    context.physical_in = visitor.input.physical_in
    context.physical_out = visitor.input.physical_out
    context.interface_name = visitor.input.interface_name
    context.interface_name_length = visitor.input.interface_name_length


include "_visit_stream.pxi"


cdef inline bint _is_sampled(const Visitor* visitor) noexcept nogil:
    """Every 1,024th packet that a worker decides has its layers' times taken."""
    return (visitor.live and visitor.stats != NULL
            and (visitor.stats.packets[<int>ACTION_PERMIT] + visitor.stats.packets[<int>ACTION_BLOCK]) & 1023 == 0)


cdef void _classify_slot(Visitor* visitor, uint8_t slot) noexcept nogil:
    cdef uint64_t started = wfpd_monotonic() if _is_sampled(visitor) else 0
    _decide_slot(visitor, slot)
    if started:
        histogram_add(&visitor.stats.classify[slot], wfpd_monotonic() - started)


cdef void _decide_slot(Visitor* visitor, uint8_t slot) noexcept nogil:
    cdef ValueContext context
    cdef uint32_t n
    _context(visitor, (slot >> 1) & 15, &context)
    values_fill(&context, visitor.policy.fields_needed[slot], visitor.done, &visitor.values)
    visitor.slot = slot
    visitor.first_traced = visitor.trace.n_callouts if visitor.trace != NULL else 0
    visitor.n_restored = 0
    if visitor.cache != NULL and cache_find(visitor.cache, visitor.policy, slot, &visitor.values, &visitor.probe,
                                            &visitor.arbitration, visitor.hits, &visitor.n_restored):
        return
    n = classify(visitor.policy, slot, &visitor.values, visitor.matches)
    arbitrate_begin(&visitor.arbitration, visitor.policy, visitor.matches, n)


cdef void visit_fill(Visitor* visitor, const uint64_t* needed) noexcept nogil:
    cdef ValueContext context
    _context(visitor, (visitor.slot >> 1) & 15, &context)
    values_fill(&context, needed, visitor.done, &visitor.values)


# ---------------------------------------------------------------------------------- the result


cdef void _count_hits(Visitor* visitor, uint32_t n) noexcept nogil:
    cdef uint32_t i
    if visitor.stats == NULL:
        return
    for i in range(n):
        stats_hit(visitor.stats, visitor.policy.briefs[visitor.hits[i]].counter_slot)


cdef void _note(Visitor* visitor, uint32_t filter, uint8_t reason) noexcept nogil:
    """An event is to tell of this filter, whatever decides the packet."""
    if visitor.n_noted < MAX_NOTED:
        visitor.noted[visitor.n_noted] = filter
        visitor.noted_reason[visitor.n_noted] = reason
        visitor.n_noted += 1
        visitor.decision.log = 1


cdef void _note_audit(Visitor* visitor, uint32_t n_hits) noexcept nogil:
    cdef uint32_t i
    for i in range(n_hits):
        if visitor.policy.briefs[visitor.hits[i]].flags & FLAG_AUDIT:
            _note(visitor, visitor.hits[i],
                  REASON_FILTER if visitor.policy.briefs[visitor.hits[i]].callout == NO_FILTER else REASON_CALLOUT)


cdef void _trace_row(Visitor* visitor) noexcept nogil:
    cdef TraceRow* row
    if visitor.trace == NULL or visitor.trace.n_rows >= MAX_ROWS:
        return
    row = &visitor.trace.rows[visitor.trace.n_rows]
    if visitor.trace.values != NULL:
        visitor.trace.values[visitor.trace.n_rows] = visitor.values
    visitor.trace.n_rows += 1
    row.slot = visitor.slot
    row.action = visitor.arbitration.action
    row.right = visitor.arbitration.right
    row.discard = visitor.in_twin
    row.filter = visitor.arbitration.standing
    row.first_callout = visitor.first_traced
    row.n_callouts = visitor.trace.n_callouts - visitor.first_traced


cdef void _adopt(Visitor* visitor) noexcept nogil:
    """The layer's result becomes the packet's: a block, or the last permit so far."""
    cdef const Arbitration* layer = &visitor.arbitration
    cdef Decision* decision = &visitor.decision
    decision.verdict = layer.action
    decision.reason = layer.reason
    decision.slot = visitor.slot
    decision.filter = layer.standing
    decision.veto = layer.veto
    decision.reply = layer.reply
    decision.absorb = layer.absorb
    visitor.cuts = layer.cut
    decision.callout = NO_FILTER
    if layer.standing != NO_FILTER:
        decision.callout = visitor.policy.briefs[layer.standing].callout
        if visitor.policy.briefs[layer.standing].flags & FLAG_LOG and layer.action == ACTION_PERMIT:
            _note(visitor, layer.standing, layer.reason)
    visitor.have_row = 1


cdef inline bint _would_refuse_flow(Visitor* visitor) noexcept nogil:
    """A new flow for which the table has no room and may make none."""
    return (visitor.flows.block_when_full and not visitor.flow_known
            and not flow_has_room(visitor.flows, visitor.flow_hash, visitor.input.now_ns))


cdef void _layer_decided(Visitor* visitor) noexcept nogil:
    cdef uint8_t action = visitor.arbitration.action
    _trace_row(visitor)
    if visitor.in_twin:
        # A block at the twin suppresses the answer and changes nothing else.
        if action == ACTION_BLOCK:
            visitor.decision.reply = REPLY_NONE
        visitor.finished = 1
        return
    if action != ACTION_NONE:
        _adopt(visitor)
    if visitor.layer == LAYER_STREAM:
        if action == ACTION_BLOCK:
            visitor.blocked = 1
            _stream_cut(visitor)
        else:
            _stream_decided(visitor)
        return
    if visitor.stats != NULL and visitor.arbitration.veto:
        visitor.stats.vetoes[visitor.slot] += 1
    if action == ACTION_BLOCK:
        visitor.blocked = 1
    elif _is_authorization(visitor.layer):
        _flow_authorized(visitor)


cdef inline void _cache_result(Visitor* visitor, bint asks, uint32_t n_hits) noexcept nogil:
    """Keep the layer's result if the cache did not give it and no callout was asked for it, now or before."""
    if not asks:
        cache_store(visitor.cache, &visitor.probe, &visitor.arbitration, visitor.hits, n_hits)
    visitor.probe.set = NULL
    visitor.n_restored = 0


cdef VisitStep _arbitrate(Visitor* visitor) noexcept nogil:
    """Arbitrate the classified layer up to its end or the next callout."""
    cdef uint32_t n_hits = visitor.n_restored
    cdef CalloutAnswer known
    cdef bint asks = arbitrate_run(&visitor.arbitration, visitor.hits, &n_hits) == STEP_CALLOUT
    if visitor.layer == LAYER_STREAM and not visitor.in_twin:
        while asks and _stream_skips(visitor, &known):
            arbitrate_answer(&visitor.arbitration, &known)
            asks = arbitrate_run(&visitor.arbitration, visitor.hits, &n_hits) == STEP_CALLOUT
    elif visitor.cache != NULL:
        _cache_result(visitor, asks, n_hits)
    _count_hits(visitor, n_hits)
    if visitor.arbitration.n_audit:
        _note_audit(visitor, n_hits)
    if not asks:
        _layer_decided(visitor)
        return VISIT_DONE
    if visitor.trace != NULL:
        visitor.trace.n_callouts += 1
    visitor.handed = HANDED_NOTHING
    return VISIT_CALLOUT


cdef void _caught_up(Visitor* visitor) noexcept nogil:
    """From here on nothing has been counted before."""
    if visitor.counted != NULL:
        visitor.stats = visitor.counted
        visitor.counted = NULL


cdef bint _was_answered(Visitor* visitor, CalloutAnswer* answer) noexcept nogil:
    """Whether the visit that is resumed has the answer of the callout that is asked."""
    cdef const Resume* resume = visitor.resume
    cdef uint32_t i
    if resume == NULL or visitor.in_twin:
        return False
    for i in range(resume.n):
        if resume.answers[i].filter == visitor.arbitration.asked:
            answer[0] = resume.answers[i].answer
            if resume.answers[i].n_packet and visitor.edit.replace(
                    visitor, resume.answers[i].packet, resume.answers[i].n_packet):
                answer_on_error(visitor.policy, visitor.arbitration.asked, answer)
            if i + 1 < resume.n:
                return True
            _caught_up(visitor)
            return not resume.asks
    return False


cdef inline void _keep_answer(Visitor* visitor, const CalloutAnswer* answer) noexcept nogil:
    # At the stream layer a packet that is visited again has its bytes behind it, and nobody is asked about them.
    if visitor.layer == LAYER_STREAM:
        return
    if visitor.n_answered < MAX_ANSWERS:
        visitor.answered[visitor.n_answered].filter = visitor.arbitration.asked
        visitor.answered[visitor.n_answered].answer = answer[0]
        if visitor.edit != NULL:
            visitor.edit.sizes[visitor.n_answered] = 0
            if visitor.edit.n_made != visitor.edit.n_kept:
                visitor.edit.keep(visitor)
    visitor.n_answered += 1


cdef VisitStep _run_layer(Visitor* visitor) noexcept nogil:
    """Arbitrate the classified layer as far as it goes without Python."""
    cdef CalloutAnswer answer
    while True:
        if _arbitrate(visitor) == VISIT_DONE:
            return VISIT_DONE
        if _was_answered(visitor, &answer):
            _keep_answer(visitor, &answer)
            arbitrate_answer(&visitor.arbitration, &answer)
            continue
        # A twin's goes the long way: who gives late packets their verdict has to learn first of the block that stands.
        if not visitor.calls_native or visitor.in_twin:
            return VISIT_CALLOUT
        if visit_is_native(visitor):
            visit_native(visitor, &answer)
            if visitor.handed or (visitor.given != NULL and visitor.given[0]):
                return VISIT_CALLOUT
        elif not _is_spared(visitor, &answer):
            return VISIT_CALLOUT
        if visitor.stream_stage == STREAM_HELD_HALF:
            _stream_answered(visitor, &answer)
        _keep_answer(visitor, &answer)
        arbitrate_answer(&visitor.arbitration, &answer)


cdef bint _enter_twin(Visitor* visitor) noexcept nogil:
    """After a block: start the discard twin, if it has filters and the block was no absorb."""
    cdef uint8_t twin = visitor.slot + TWIN_SLOTS
    if visitor.in_twin or visitor.decision.absorb or not _has_filters(visitor, twin):
        return False
    visitor.in_twin = 1
    _classify_slot(visitor, twin)
    return True


cdef bint _enter_next(Visitor* visitor) noexcept nogil:
    """Classify the next layer of the order that has filters; false at the end of the order."""
    cdef uint8_t place, layer
    while True:
        place = _ORDER[visitor.input.hook][visitor.stage]
        if place == END:
            return False
        visitor.stage += 1
        if visitor.counted != NULL and visitor.stage > visitor.resume.stage:
            _caught_up(visitor)     # The layer that it had stopped at is not needed any more.
        if place == LAYER_STREAM:
            if _stream_enter(visitor):
                return True
            if visitor.blocked:
                return False
            continue
        layer = _serves(visitor, place)
        if layer == END:
            continue
        visitor.layer = layer
        if _is_authorization(layer):
            if _would_refuse_flow(visitor):
                visitor.limit_block = 1
                visitor.slot = _slot_of(visitor, layer)
                return False
            _flow_authorize(visitor, _slot_of(visitor, layer))
        if place == LAYER_INBOUND_ICMP_ERROR and layer == place:
            visitor.stage = ORDER_LENGTH - 1  # ICMP errors end here.
        if _has_filters(visitor, _slot_of(visitor, layer)):
            _classify_slot(visitor, _slot_of(visitor, layer))
            return True


cdef void _conclude(Visitor* visitor) noexcept nogil:
    """The order has come to its end, or a block has ended it."""
    cdef Decision* decision = &visitor.decision
    cdef const PacketView* view = &visitor.view
    if visitor.limit_block:
        decision.verdict = ACTION_BLOCK
        decision.reason = REASON_LIMIT
        decision.slot = visitor.slot
        decision.filter = NO_FILTER
        decision.callout = NO_FILTER
    elif not visitor.blocked and view.status != PARSE_OK:
        memset(decision, 0, sizeof(Decision))
        decision.log = visitor.n_noted != 0
        decision.verdict = ACTION_BLOCK if visitor.policy.on_malformed == WORD_BLOCK else ACTION_PERMIT
        decision.reason = REASON_MALFORMED
        decision.malformed = view.status
        decision.slot = NO_SLOT
        decision.filter = NO_FILTER
        decision.callout = NO_FILTER
    elif not visitor.have_row and visitor.tracked and visitor.flow_known and visitor.pending.slot != NO_SLOT:
        decision.reason = REASON_FLOW
        decision.slot = visitor.pending.slot
        if visitor.pending.filter != NO_FILTER:
            decision.filter = visitor.policy.layers[decision.slot].first + visitor.pending.filter
    _flow_close(visitor)
    _settle_flow(visitor)
    visitor.finished = 1


cdef VisitStep _advance(Visitor* visitor) noexcept nogil:
    while not visitor.finished:
        if visitor.blocked and visitor.in_twin:
            visitor.finished = 1
        elif visitor.blocked:
            if visitor.concluded or not _enter_twin(visitor):
                break
            if _run_layer(visitor) == VISIT_CALLOUT:
                return VISIT_CALLOUT
        elif not _enter_next(visitor):
            break
        elif _run_layer(visitor) == VISIT_CALLOUT:
            return VISIT_CALLOUT
    _conclude(visitor)
    return VISIT_DONE


cdef void _reset(Visitor* visitor) noexcept nogil:
    _stream_abandon(visitor)        # Of the visit before, if it was left.
    _caught_up(visitor)
    if visitor.resume != NULL and not visitor.resume.gone:
        visitor.counted, visitor.stats = visitor.stats, NULL
    visitor.n_answered = 0
    _settle_flow(visitor)
    visitor.stream_stage = STREAM_NOT_BEGUN
    visitor.stream_passes = visitor.stream_partial = 0
    visitor.stream_reset = visitor.stream_bad_reset = 0
    visitor.stream_kept = 0
    visitor.layer = 0
    memset(&visitor.decision, 0, sizeof(Decision))
    visitor.decision.verdict = ACTION_PERMIT
    visitor.decision.reason = REASON_NO_MATCH
    visitor.decision.slot = NO_SLOT
    visitor.decision.filter = NO_FILTER
    visitor.decision.callout = NO_FILTER
    visitor.stage = 0
    visitor.n_noted = 0
    visitor.in_twin = 0
    visitor.finished = 0
    visitor.blocked = 0
    visitor.concluded = 0
    visitor.have_row = 0
    visitor.limit_block = 0
    visitor.midstream = 0
    visitor.established_now = 0
    visitor.reauthorizing = 0
    visitor.tracked = 0
    visitor.flow_known = 0
    visitor.cuts = 0
    visitor.n_edited = 0
    visitor.replaced = 0
    if visitor.edit != NULL:
        visitor.edit.n_made = visitor.edit.n_kept = visitor.edit.log_size = visitor.edit.lost = 0
    visitor.pending.flags = 0
    visitor.done[0] = 0
    visitor.done[1] = 0
    if visitor.trace != NULL:
        visitor.trace.n_rows = 0
        visitor.trace.n_callouts = 0


cdef void _find_loopback(Visitor* visitor) noexcept nogil:
    cdef const HostInterface* interface
    cdef uint32_t index = visitor.input.out_interface if visitor.outbound else visitor.input.in_interface
    if visitor.input.loopback:
        return
    interface = host_interface(visitor.host, index)
    if interface != NULL and interface.loopback:
        visitor.input.loopback = 1


cdef inline bint _leaves(const VisitInput* given) noexcept nogil:
    return given.hook == HOOK_OUTPUT or given.hook == HOOK_POSTROUTING


cdef bint visit_tracks(const Visitor* visitor) noexcept nogil:
    cdef uint8_t six
    for six in range(2):
        if (_has_filters(visitor, LAYER_ALE_AUTH_RECV_ACCEPT * 2 + six)
                or _has_filters(visitor, LAYER_ALE_AUTH_CONNECT * 2 + six)
                or _has_filters(visitor, LAYER_ALE_FLOW_ESTABLISHED * 2 + six)
                or _has_filters(visitor, LAYER_STREAM * 2 + six)):
            return visitor.flows != NULL
    return False


cdef uint64_t visit_prepare(Visitor* visitor, const VisitInput* given, PacketView* view) noexcept nogil:
    cdef FlowKey key
    cdef uint64_t hash
    parse_packet(given.data, given.captured, given.original, given.parse_flags, view)
    if given.hook != HOOK_INPUT and given.hook != HOOK_OUTPUT:
        return 0
    visitor.input = given[0]
    visitor.outbound = _leaves(given)
    visitor.view = view[0]
    if not _tracked(visitor):
        return 0
    _flow_key(visitor, &key)
    hash = flow_hash(visitor.flows, &key)
    flow_prefetch(visitor.flows, hash, 0)
    return hash


cdef VisitStep visit_begin(Visitor* visitor, const VisitInput* given) noexcept nogil:
    cdef uint8_t status
    visitor.input = given[0]
    _reset(visitor)
    visitor.outbound = _leaves(given)
    if given.view != NULL:
        visitor.view = given.view[0]
    else:
        parse_packet(given.data, given.captured, given.original, given.parse_flags, &visitor.view)
    status = visitor.view.status
    if status == PARSE_NOT_IP:
        visitor.decision.reason = REASON_NOT_IP
        return VISIT_DONE
    if status != PARSE_OK and visitor.stats != NULL:
        visitor.stats.malformed[status] += 1
    if status == PARSE_OK or status >= N_PARSE_IP_STATUSES:
        _find_loopback(visitor)
        _flow_open(visitor)
        if _is_cut(visitor):
            return VISIT_DONE
    else:
        visitor.stage = ORDER_LENGTH - 1
    return _advance(visitor)


cdef VisitStep visit_answer(Visitor* visitor, const CalloutAnswer* answer) noexcept nogil:
    cdef CalloutAnswer meant = answer[0]
    if visitor.stream_stage == STREAM_HELD_HALF:
        _stream_answered(visitor, &meant)
    _keep_answer(visitor, &meant)
    arbitrate_answer(&visitor.arbitration, &meant)
    if _run_layer(visitor) == VISIT_CALLOUT:
        return VISIT_CALLOUT
    return _advance(visitor)


cdef bint visit_reauthorizes(const Visitor* visitor) noexcept nogil:
    return _is_authorization(visitor.layer) and (
        visitor.reauthorizing or (visitor.resume != NULL and visitor.layer == LAYER_ALE_AUTH_CONNECT))


cdef bint visit_abandon(Visitor* visitor) noexcept nogil:
    _trace_row(visitor)
    _stream_let_go(visitor)
    if not visitor.in_twin:
        _settle_flow(visitor)
        return False
    _conclude(visitor)
    return True


cdef void visit_leave(Visitor* visitor) noexcept nogil:
    _stream_abandon(visitor)
