# Calling a compiled callout.  Included by _visit.pyx.

# By slot: the layer's fields, and whether a block there may absorb.
cdef uint64_t _LAYER_FIELDS[N_SLOTS][2]
cdef uint8_t _ABSORBS[N_SLOTS]


cdef void _layer_tables():
    cdef uint32_t slot, id_
    for slot, (layer, _) in BY_SLOT.items():
        _ABSORBS[slot] = layer.absorb
        for name in layer.fields:
            id_ = FIELD[name].id
            _LAYER_FIELDS[slot][id_ >> 6] |= <uint64_t>1 << (id_ & 63)


_layer_tables()


cdef int _native_value(const WfpdCall* call, uint32_t field, uint64_t* hi, uint64_t* lo) noexcept nogil:
    cdef Visitor* visitor = <Visitor*>call.host
    cdef uint64_t needed[2]
    if field >= N_FIELDS or not (_LAYER_FIELDS[visitor.slot][field >> 6] >> (field & 63)) & 1:
        return 0
    needed[0] = needed[1] = 0
    needed[field >> 6] = <uint64_t>1 << (field & 63)
    visit_fill(visitor, needed)
    if not value_present(&visitor.values, field):
        return 0
    if hi != NULL:
        hi[0] = visitor.values.hi[field]
    if lo != NULL:
        lo[0] = visitor.values.lo[field]
    return 1


cdef void _native_call(Visitor* visitor, WfpdCall* call) noexcept nogil:
    cdef const PacketView* view = &visitor.view
    memset(call, 0, sizeof(WfpdCall))
    call.size = sizeof(WfpdCall)
    call.hook = visitor.input.hook
    call.layer = (visitor.slot >> 1) & 15
    call.family = view.family
    call.outbound = visitor.outbound
    call.action = visitor.arbitration.action
    call.right = visitor.arbitration.right
    call.discard = visitor.in_twin
    call.has_protocol = view.has_protocol
    call.protocol = view.protocol if view.has_protocol else 0
    call.truncated = view.truncated
    call.packet = view.data
    call.captured = view.captured
    call.original = view.length
    if view.status == PARSE_OK:
        call.transport_offset = view.transport_offset
        call.payload_offset = view.payload_offset
        call.payload_length = view.payload_length
    call.filter = visitor.arbitration.asked
    call.flow_id = visitor.pending.id if visitor.tracked and visitor.flow_known else 0
    call.now_ns = visitor.input.now_ns
    call.host = visitor
    call.value = _native_value


cdef bint _native_answered(const Visitor* visitor, const WfpdAnswer* said, CalloutAnswer* answer) noexcept nogil:
    """Take the answer over; false where it cannot be given."""
    if said.kind == WFPD_CONTINUE:
        return True
    if said.kind == WFPD_PERMIT:
        answer.kind = ANSWER_PERMIT
        answer.clear_right = said.clear_right != 0
        return not said.absorb and not said.reply
    answer.kind = ANSWER_BLOCK
    answer.clear_right = said.clear_right != 0
    answer.absorb = said.absorb != 0
    answer.reply = said.reply
    return (said.kind == WFPD_BLOCK and said.reply <= REPLY_ICMP_UNREACHABLE
            and (not said.absorb or (not said.reply and _ABSORBS[visitor.slot])))


cdef void _ask_native(Visitor* visitor, const CalloutSlot* slot, CalloutAnswer* answer) noexcept nogil:
    cdef WfpdCall call
    cdef WfpdAnswer said
    _native_call(visitor, &call)
    memset(&said, 0, sizeof(said))
    said.size = sizeof(said)
    memset(answer, 0, sizeof(CalloutAnswer))
    slot.native.classify(slot.native.state, &call, &said)
    if not _native_answered(visitor, &said, answer):
        wfpd_budget_add(&slot.watch.n_failed, 1)
        answer_on_error(visitor.policy, visitor.arbitration.asked, answer)


cdef bint visit_is_native(const Visitor* visitor) noexcept nogil:
    cdef const CompiledPolicy* policy = visitor.policy
    return policy.has_native and policy.callout_slots[policy.briefs[visitor.arbitration.asked].callout].native != NULL


cdef void visit_native(Visitor* visitor, CalloutAnswer* answer) noexcept nogil:
    cdef const CompiledPolicy* policy = visitor.policy
    cdef const CalloutSlot* slot = &policy.callout_slots[policy.briefs[visitor.arbitration.asked].callout]
    cdef bint budgeted = visitor.calls_native and slot.budget_ns != 0
    cdef bint sampled = visitor.n_native & 1023 == 0
    cdef Admission admission = ADMITTED
    cdef uint64_t began = wfpd_budget_clock() if budgeted or sampled else 0, ended
    visitor.n_native += 1
    if budgeted:
        admission = watch_admits(slot, began)
        if admission == SUSPENDED:
            answer_on_error(policy, visitor.arbitration.asked, answer)
            return
        visitor.called = slot
        wfpd_budget_write(&visitor.called_ns, began)
    _ask_native(visitor, slot, answer)
    if not began:
        return
    ended = wfpd_budget_clock()
    if budgeted:
        wfpd_budget_write(&visitor.called_ns, 0)
        watch_took(slot, admission, began, ended)
    if sampled:
        watch_sample(slot.watch, ended - began)
