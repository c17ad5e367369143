# Calling a compiled callout.  Included by _visit.pyx.

# By slot: the layer's fields, and whether a block there may absorb.
cdef uint64_t _LAYER_FIELDS[N_SLOTS][2]
cdef uint8_t _ABSORBS[N_SLOTS]
cdef uint8_t _IS_LAYER[N_SLOTS]


cdef void _layer_tables():
    cdef uint32_t slot, id_
    for slot, (layer, _) in BY_SLOT.items():
        _ABSORBS[slot] = layer.absorb
        _IS_LAYER[slot] = 1
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


cdef int _native_slot(const Visitor* visitor, uint32_t layer) noexcept nogil:
    """Slot of a layer by the number that a callout gives, in the packet's family; -1: there is none."""
    if layer >= N_SLOTS // 2 or not _IS_LAYER[2 * layer]:
        return -1
    return 2 * layer + (visitor.slot & 1)


cdef inline const CalloutSlot* _asked_slot(const Visitor* visitor) noexcept nogil:
    return &visitor.policy.callout_slots[visitor.policy.briefs[visitor.arbitration.asked].callout]


cdef void _settle_flow(Visitor* visitor) noexcept nogil:
    """After the visit: the contexts of a flow that the packet has not made after all end."""
    cdef uint64_t flow_id = visitor.provisional
    if flow_id == 0:
        return
    visitor.provisional = 0
    if not flow_is(visitor.flows, &visitor.key, visitor.flow_hash, flow_id):
        flow_not_made(visitor.flows, flow_id)


cdef inline const CalloutSlot* _named_slot(const Visitor* visitor, const char* name) noexcept nogil:
    """That of the callout of this name, NULL where none is registered under it."""
    cdef uint32_t found = NO_FILTER if name == NULL else callout_named(visitor.policy, name)
    if found == NO_FILTER:
        return NULL
    return &visitor.policy.callout_slots[found]


cdef int _native_set_flow_context(const WfpdCall* call, uint32_t layer, uint64_t value) noexcept nogil:
    return _keep_with_flow(call, _asked_slot(<Visitor*>call.host), layer, value)


cdef int _native_set_flow_context_of(const WfpdCall* call, const char* name, uint32_t layer,
                                     uint64_t value) noexcept nogil:
    return _keep_with_flow(call, _named_slot(<Visitor*>call.host, name), layer, value)


cdef int _keep_with_flow(const WfpdCall* call, const CalloutSlot* slot, uint32_t layer, uint64_t value) noexcept nogil:
    cdef Visitor* visitor = <Visitor*>call.host
    cdef int at = _native_slot(visitor, layer)
    cdef ContextStatus status
    if slot == NULL:
        return WFPD_REFUSED_NO_CALLOUT
    if at < 0 or value == 0 or not slot.keeps or slot.number == 0:
        return WFPD_REFUSED_PARAMETER
    if call.flow_id == 0:
        return WFPD_REFUSED_NO_FLOW
    status = context_add(visitor.flows.contexts, call.flow_id, <uint8_t>at, slot.number, value, False)
    if status != CONTEXT_OK:
        return WFPD_REFUSED_EXISTS if status == CONTEXT_EXISTS else WFPD_REFUSED_FULL
    if at == visitor.slot and slot.number == _asked_slot(visitor).number:
        (<WfpdCall*>call).flow_context = value
    if not visitor.flow_known:
        visitor.provisional = call.flow_id
    elif not flow_is(visitor.flows, &visitor.key, visitor.flow_hash, call.flow_id):
        contexts_flow_ended(visitor.flows.contexts, call.flow_id)   # Another worker has ended it meanwhile.
    return WFPD_OK


cdef int _native_remove_flow_context(const WfpdCall* call, uint32_t layer) noexcept nogil:
    return _let_go_of(call, _asked_slot(<Visitor*>call.host), layer)


cdef int _native_remove_flow_context_of(const WfpdCall* call, const char* name, uint32_t layer) noexcept nogil:
    return _let_go_of(call, _named_slot(<Visitor*>call.host, name), layer)


cdef int _let_go_of(const WfpdCall* call, const CalloutSlot* slot, uint32_t layer) noexcept nogil:
    cdef Visitor* visitor = <Visitor*>call.host
    cdef int at = _native_slot(visitor, layer)
    if slot == NULL:
        return WFPD_REFUSED_NO_CALLOUT
    if at < 0:
        return WFPD_REFUSED_PARAMETER
    if call.flow_id == 0:
        return WFPD_REFUSED_NO_FLOW
    if not context_remove(visitor.flows.contexts, call.flow_id, <uint8_t>at, slot.number):
        return WFPD_REFUSED_NOT_FOUND
    if at == visitor.slot and slot.number == _asked_slot(visitor).number:
        (<WfpdCall*>call).flow_context = 0
    return WFPD_OK


cdef int _native_writable(const WfpdCall* call) noexcept nogil:
    cdef const Visitor* visitor = <const Visitor*>call.host
    return WFPD_REFUSED_NO_BUFFER if visitor.edit == NULL else visitor.edit.writable(visitor)


cdef int _native_write(const WfpdCall* call, uint32_t offset, const uint8_t* bytes, uint32_t n) noexcept nogil:
    cdef Visitor* visitor = <Visitor*>call.host
    cdef int status = WFPD_REFUSED_NO_BUFFER if visitor.edit == NULL else visitor.edit.write(visitor, offset, bytes, n)
    if status == WFPD_OK:
        _native_packet(visitor, <WfpdCall*>call)
    return status


cdef int _native_replace(const WfpdCall* call, const uint8_t* bytes, uint32_t n) noexcept nogil:
    cdef Visitor* visitor = <Visitor*>call.host
    cdef int status = WFPD_REFUSED_NO_BUFFER if visitor.edit == NULL else visitor.edit.replace(visitor, bytes, n)
    if status == WFPD_OK:
        _native_packet(visitor, <WfpdCall*>call)
    return status


cdef void _native_packet(const Visitor* visitor, WfpdCall* call) noexcept nogil:
    """The members about the packet's bytes."""
    cdef const PacketView* view = &visitor.view
    call.truncated = view.truncated
    call.packet = view.data
    call.captured = view.captured
    call.original = view.length
    call.fragment = view.fragment
    call.transport_offset = call.payload_offset = call.payload_length = 0
    if view.status == PARSE_OK:
        call.transport_offset = view.transport_offset
        call.payload_offset = view.payload_offset
        call.payload_length = view.payload_length


cdef void _native_flow(Visitor* visitor, WfpdCall* call) noexcept nogil:
    if not visitor.tracked:
        return
    if visitor.pending.id == 0:
        visitor.pending.id = flow_new_id(visitor.flows)
    call.flow_id = visitor.pending.id
    call.flow_context = _native_context(visitor)


cdef inline uint64_t _native_context(const Visitor* visitor) noexcept nogil:
    """What the callout that is asked keeps with the flow here; 0: nothing."""
    cdef uint32_t number = _asked_slot(visitor).number
    if number == 0 or not visitor.tracked or visitor.pending.id == 0:
        return 0
    return context_find(visitor.flows.contexts, visitor.pending.id, visitor.slot, number)


cdef bint _is_spared(const Visitor* visitor, CalloutAnswer* answer) noexcept nogil:
    """Whether a Python callout that is called for flows with its context only need not be asked, which needs no interpreter."""
    cdef const CalloutSlot* slot = _asked_slot(visitor)
    if (slot.native != NULL or _changed_by_completion(visitor)
            or not visitor.policy.callout_registered[visitor.policy.briefs[visitor.arbitration.asked].callout] & CALLOUT_CONDITIONAL
            or (visitor.tracked and visitor.pending.id
                and context_has(visitor.flows.contexts, visitor.pending.id, visitor.slot, slot.number))):
        return False
    memset(answer, 0, sizeof(CalloutAnswer))
    answer.kind = ANSWER_SKIP
    return True


cdef void _native_stream(const Visitor* visitor, WfpdCall* call) noexcept nogil:
    cdef uint32_t flags = visitor.indication.flags
    call.stream = visitor.indication.data
    call.stream_offset = visitor.indication.offset
    call.stream_length = visitor.indication.length if visitor.indication.data != NULL else 0
    call.stream_direction = visitor.indication.direction
    call.stream_missed = visitor.indication.missed
    call.streams = visitor.flows.streams.number
    if flags & (STREAM_FLAG_RECEIVE_EXPEDITED | STREAM_FLAG_SEND_EXPEDITED):
        call.stream_flags |= WFPD_STREAM_EXPEDITED
    if flags & (STREAM_FLAG_RECEIVE_DISCONNECT | STREAM_FLAG_SEND_DISCONNECT):
        call.stream_flags |= WFPD_STREAM_DISCONNECT
    if flags & (STREAM_FLAG_RECEIVE_ABORT | STREAM_FLAG_SEND_ABORT):
        call.stream_flags |= WFPD_STREAM_ABORT
    if flags & STREAM_FLAG_NO_MORE_DATA:
        call.stream_flags |= WFPD_STREAM_NO_MORE_DATA
    if flags & STREAM_FLAG_BUFFER_LIMIT:
        call.stream_flags |= WFPD_STREAM_BUFFER_LIMIT


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
    _native_packet(visitor, call)
    call.in_interface, call.out_interface = visitor.input.in_interface, visitor.input.out_interface
    if visitor.host != NULL:
        call.compartment = visitor.host.compartment
    call.ale_classify_required = visitor.tracked and (not visitor.flow_known or visitor.reauthorizing)
    call.filter = visitor.arbitration.asked
    if visitor.policy.filter_contexts != NULL:
        call.filter_context = visitor.policy.filter_contexts[call.filter]
    _native_flow(visitor, call)
    if visitor.stream != NULL:
        _native_stream(visitor, call)
    call.now_ns = visitor.input.now_ns
    call.host = visitor
    call.value = _native_value
    call.set_flow_context = _native_set_flow_context
    call.remove_flow_context = _native_remove_flow_context
    call.writable = _native_writable
    call.write = _native_write
    call.replace = _native_replace
    call.resume = stream_resume
    call.set_flow_context_of = _native_set_flow_context_of
    call.remove_flow_context_of = _native_remove_flow_context_of
    if visitor.policy.context_texts != NULL:
        call.provider_context = visitor.policy.context_texts[call.filter].text
        call.provider_context_length = visitor.policy.context_texts[call.filter].length
    call.injected = visitor.input.injected


cdef bint _may_defer(const Visitor* visitor) noexcept nogil:
    """Only what is received, for a callout that packets wait for, and not at the end."""
    cdef const FilterBrief* item = &visitor.policy.briefs[visitor.arbitration.asked]
    return not (visitor.indication.direction or item.action == FILTER_CALLOUT_INSPECTION
                or visitor.policy.callout_registered[item.callout] & CALLOUT_PASSES
                or visitor.indication.flags & (STREAM_FLAG_NO_MORE_DATA | STREAM_FLAG_BUFFER_LIMIT))


cdef bint _native_streamed(const Visitor* visitor, const WfpdAnswer* said, CalloutAnswer* answer) noexcept nogil:
    """The same of what is answered at the layer stream only."""
    if visitor.stream == NULL or said.absorb or said.reply or said.enforced:
        return False
    answer.required = said.required
    if said.kind == WFPD_NEED_MORE:
        answer.stream_action = STREAM_NEED_MORE
        return not visitor.indication.flags & (STREAM_FLAG_NO_MORE_DATA | STREAM_FLAG_BUFFER_LIMIT)
    if said.kind == WFPD_DEFER:
        answer.stream_action = STREAM_DEFER
        return _may_defer(visitor)
    answer.stream_action = STREAM_DROP_CONNECTION if said.kind == WFPD_DROP_CONNECTION else STREAM_ALLOW_CONNECTION
    return said.kind <= WFPD_ALLOW_CONNECTION


cdef bint _native_answered(const Visitor* visitor, const WfpdAnswer* said, CalloutAnswer* answer) noexcept nogil:
    """Take the answer over; false where it cannot be given."""
    if said.kind >= WFPD_NEED_MORE:
        return _native_streamed(visitor, said, answer)
    if said.enforced and (visitor.stream == NULL or said.enforced > visitor.indication.length):
        return False
    answer.enforced = said.enforced
    if said.kind == WFPD_CONTINUE:
        return True
    answer.clear_right = said.clear_right != 0
    if said.kind == WFPD_PERMIT:
        answer.kind = ANSWER_PERMIT
        return not said.absorb and not said.reply
    answer.kind = ANSWER_BLOCK
    answer.absorb = said.absorb != 0
    answer.reply = said.reply
    answer.cut = said.reply == REPLY_TCP_RESET and not said.one_side
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
    if said.kind == WFPD_PEND or said.kind == WFPD_ASK_PYTHON:
        visitor.handed = HANDED_PENDED if said.kind == WFPD_PEND else HANDED_ASKED
        return
    if not _native_answered(visitor, &said, answer):
        memset(answer, 0, sizeof(CalloutAnswer))
        wfpd_budget_add(&slot.watch.n_failed, 1)
        if visitor.edit != NULL:
            visitor.edit.take_back(visitor)
        answer_on_error(visitor.policy, visitor.arbitration.asked, answer)


cdef bint _changed_by_completion(const Visitor* visitor) noexcept nogil:
    """Whether the callout that is asked has been completed with what the packet becomes."""
    cdef const Resume* resume = visitor.resume
    return (resume != NULL and resume.changes and not visitor.in_twin
            and resume.answers[resume.n - 1].filter == visitor.arbitration.asked)


cdef bint visit_is_native(const Visitor* visitor) noexcept nogil:
    cdef const CompiledPolicy* policy = visitor.policy
    return (policy.has_native and _asked_slot(visitor).native != NULL and not visitor.handed
            and not _changed_by_completion(visitor))


cdef void visit_native(Visitor* visitor, CalloutAnswer* answer) noexcept nogil:
    cdef const CompiledPolicy* policy = visitor.policy
    cdef const CalloutSlot* slot = _asked_slot(visitor)
    cdef bint budgeted = visitor.calls_native and slot.budget_ns != 0
    cdef bint sampled = visitor.n_native & 1023 == 0
    cdef Admission admission = ADMITTED
    cdef uint8_t said = policy.callout_registered[policy.briefs[visitor.arbitration.asked].callout]
    cdef uint64_t began, ended
    if visitor.edit != NULL:
        visitor.edit.marked = 0
    if said & CALLOUT_CONDITIONAL and not _native_context(visitor):
        memset(answer, 0, sizeof(CalloutAnswer))
        answer.kind = ANSWER_SKIP
        return
    if visitor.input.injected and said & CALLOUT_PASSES_OWN and visitor.handed != HANDED_MARKED:
        visitor.handed = HANDED_MARKED
        return
    visitor.handed = HANDED_NOTHING
    began = wfpd_budget_clock() if budgeted or sampled else 0
    visitor.n_native += 1
    if budgeted:
        admission = watch_admits(slot, began)
        if admission == SUSPENDED:
            answer_on_error(policy, visitor.arbitration.asked, answer)
            return
        visitor.called = slot
        wfpd_budget_write(&visitor.called_ns, began)
    if visitor.calls_native:
        watch_called(slot.watch, visitor.caller)
    _ask_native(visitor, slot, answer)
    if not began:
        return
    ended = wfpd_budget_clock()
    if budgeted:
        wfpd_budget_write(&visitor.called_ns, 0)
        if visitor.handed:
            watch_handed(slot, admission, began, ended)
        else:
            watch_took(slot, admission, began, ended)
    if sampled:
        watch_sample(slot.watch, ended - began)
