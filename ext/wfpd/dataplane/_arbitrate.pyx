"""Filter arbitration within one layer (Microsoft, "Filter Arbitration").

State: an action (none, permit, block) and the right to write it.  Sublayers are visited by
falling weight, all of them; in each the first terminating result counts.  While the right is
set a result replaces the standing one; once it is clear only a callout's block of a standing
permit does (a veto).  Matches arrive in exactly that order, pruned of what can never be reached;
a callout that turns out to terminate ends its sublayer here.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ._parse cimport parse_status_name
from ._table cimport CompiledPolicy, FilterBrief, Snapshot
from ._types cimport (
    ACTION_BLOCK, ACTION_NONE, ACTION_PERMIT, Decision, FILTER_BLOCK, FILTER_CALLOUT_INSPECTION, FILTER_CALLOUT_TERMINATING,
    FILTER_PERMIT, FLAG_ABSORB, FLAG_AUDIT, FLAG_CLEAR_ACTION_RIGHT, FLAG_PERMIT_IF_UNREGISTERED, NO_FILTER,
    NO_SLOT, REASON_CALLOUT, REASON_ERROR, REASON_FILTER, REASON_LATE, REASON_MALFORMED, REASON_MISSING_CALLOUT,
    REASON_NO_MATCH, REASON_VETO, REPLY_NONE, WORD_BLOCK, WORD_DEFAULT,
)

ACTION_NAMES = (None, "permit", "block")
REPLY_NAMES = (None, "tcp_reset", "icmp_unreachable")
REASON_NAMES = (
    "no_match", "filter", "callout", "veto", "missing_callout", "malformed", "flow", "limit", "late", "error", "not_ip",
)


cdef void arbitrate_begin(Arbitration* state, const CompiledPolicy* policy, const uint32_t* matches,
                          uint32_t n_matches) noexcept nogil:
    state.policy = policy
    state.matches = matches
    state.n_matches = n_matches
    state.next = 0
    state.asked = NO_FILTER
    state.action = ACTION_NONE
    state.right = 1
    state.reason = REASON_NO_MATCH
    state.veto = 0
    state.reply = REPLY_NONE
    state.absorb = 0
    state.n_audit = 0
    state.ended = NO_SUBLAYER
    state.standing = NO_FILTER
    state.waterfall = 0


cdef inline bint _merge(Arbitration* state, uint32_t index, uint8_t action, bint clear, uint8_t reason,
                        bint from_callout) noexcept nogil:
    """Whether the result of filter `index` became the standing one."""
    if state.waterfall:
        clear = action == ACTION_BLOCK
        state.next = state.n_matches if clear else state.next
    elif state.right:
        state.veto = 0
    elif from_callout and action == ACTION_BLOCK and state.action == ACTION_PERMIT:
        state.veto = 1
        clear = True
        if reason == REASON_CALLOUT:
            reason = REASON_VETO
    else:
        return False
    state.action = action
    state.right = 0 if clear else 1
    state.reason = reason
    state.standing = index
    state.reply = REPLY_NONE
    state.absorb = 0
    state.cut = 0
    return True


cdef void _static_result(Arbitration* state, uint32_t index, const FilterBrief* item) noexcept nogil:
    cdef bint clear = (item.flags & FLAG_CLEAR_ACTION_RIGHT) != 0
    if item.action == FILTER_PERMIT:
        _merge(state, index, ACTION_PERMIT, clear, REASON_FILTER, False)
    elif _merge(state, index, ACTION_BLOCK, True, REASON_FILTER, False):
        state.reply = item.reply
        state.absorb = 1 if item.flags & FLAG_ABSORB else 0


cdef void _missing_result(Arbitration* state, uint32_t index, const FilterBrief* item) noexcept nogil:
    # A missing callout acts as a block, or by its flag as a permit.
    if item.flags & FLAG_PERMIT_IF_UNREGISTERED:
        _merge(state, index, ACTION_PERMIT, (item.flags & FLAG_CLEAR_ACTION_RIGHT) != 0, REASON_MISSING_CALLOUT, False)
    else:
        _merge(state, index, ACTION_BLOCK, True, REASON_MISSING_CALLOUT, False)


cdef ArbitrationStep arbitrate_run(Arbitration* state, uint32_t* hits, uint32_t* n_hits) noexcept nogil:
    cdef const FilterBrief* item
    cdef uint32_t index
    while state.next < state.n_matches:
        index = state.matches[state.next]
        item = &state.policy.briefs[index]
        state.next += 1
        if item.sublayer == state.ended:
            continue
        if item.flags & FLAG_AUDIT:
            if state.n_audit < 255:
                state.n_audit += 1
        elif item.action == FILTER_PERMIT or item.action == FILTER_BLOCK:
            _static_result(state, index, item)
            state.ended = item.sublayer
        elif state.policy.callout_registered[item.callout]:
            state.asked = index
            hits[n_hits[0]] = index
            n_hits[0] += 1
            return STEP_CALLOUT
        elif item.action == FILTER_CALLOUT_INSPECTION:
            continue
        else:
            _missing_result(state, index, item)
            state.ended = item.sublayer
        hits[n_hits[0]] = index
        n_hits[0] += 1
    return STEP_DONE


cdef void arbitrate_answer(Arbitration* state, const CalloutAnswer* answer) noexcept nogil:
    cdef const FilterBrief* item = &state.policy.briefs[state.asked]
    cdef uint8_t action = ACTION_BLOCK
    cdef uint8_t reason = REASON_CALLOUT
    if item.action == FILTER_CALLOUT_INSPECTION:
        return  # Its result is forced to CONTINUE, whatever it says.
    if answer.kind == ANSWER_SKIP:
        return
    if answer.kind == ANSWER_CONTINUE and item.action != FILTER_CALLOUT_TERMINATING:
        return
    if answer.kind == ANSWER_PERMIT:
        action = ACTION_PERMIT
    if answer.failed:
        reason = REASON_ERROR
    elif answer.late:
        reason = REASON_LATE
    state.ended = item.sublayer
    if _merge(state, state.asked, action, answer.clear_right != 0, reason, True) and action == ACTION_BLOCK:
        state.reply = answer.reply
        state.absorb = answer.absorb
        state.cut = answer.cut


cdef void answer_on_error(const CompiledPolicy* policy, uint32_t asked, CalloutAnswer* answer) noexcept nogil:
    cdef uint8_t word = policy.briefs[asked].on_error
    if word == WORD_DEFAULT:
        word = policy.on_error
    memset(answer, 0, sizeof(CalloutAnswer))
    answer.failed = 1
    answer.kind = ANSWER_BLOCK if word == WORD_BLOCK else ANSWER_PERMIT
    answer.clear_right = word == WORD_BLOCK


cdef dict decision_dict(const Decision* decision):
    return {
        "verdict": ACTION_NAMES[decision.verdict] or "none", "reason": REASON_NAMES[decision.reason],
        "malformed": parse_status_name(decision.malformed) if decision.reason == REASON_MALFORMED else None,
        "slot": None if decision.slot == NO_SLOT else decision.slot,
        "filter": None if decision.filter == NO_FILTER else decision.filter,
        "callout": None if decision.callout == NO_FILTER else decision.callout,
        "veto": bool(decision.veto), "absorb": bool(decision.absorb), "reply": REPLY_NAMES[decision.reply],
        "would_block": bool(decision.would_block), "flow_id": decision.flow_id, "to_server": bool(decision.to_server),
    }


def arbitrate_layer(Snapshot snapshot, matches, answers):
    """Cold door: decide one layer from `matches` (filter indexes in rank order).

    `answers(filter_index, action, right)` stands in for the callouts: it gets the action so far
    (None, 'permit', 'block') and the write right, and returns a dict with `kind` ('permit',
    'block', 'continue') and optionally `clear_right`, `absorb`, `reply`, `failed`, `late`.
    Returns action, right, reason, filter, veto, callouts, hits.
    """
    cdef Arbitration state
    cdef CalloutAnswer answer
    cdef uint32_t n = <uint32_t>len(matches)
    cdef uint32_t n_hits = 0
    cdef uint32_t i
    cdef uint32_t* numbers = <uint32_t*>calloc(n + 1, sizeof(uint32_t))
    cdef uint32_t* hits = <uint32_t*>calloc(n + 1, sizeof(uint32_t))
    called = []
    if numbers == NULL or hits == NULL:
        free(numbers)
        free(hits)
        raise MemoryError()
    try:
        for i in range(n):
            numbers[i] = matches[i]
        arbitrate_begin(&state, &snapshot.policy, numbers, n)
        while arbitrate_run(&state, hits, &n_hits) == STEP_CALLOUT:
            called.append(state.asked)
            given = answers(state.asked, ACTION_NAMES[state.action], bool(state.right))
            memset(&answer, 0, sizeof(answer))
            answer.kind = ("continue", "permit", "block").index(given["kind"])
            answer.clear_right = bool(given.get("clear_right"))
            answer.absorb = bool(given.get("absorb"))
            answer.reply = given.get("reply", 0)
            answer.failed = bool(given.get("failed"))
            answer.late = bool(given.get("late"))
            arbitrate_answer(&state, &answer)
        return {
            "action": ACTION_NAMES[state.action] or "none",
            "right": bool(state.right),
            "reason": REASON_NAMES[state.reason],
            "filter": None if state.standing == NO_FILTER else state.standing,
            "veto": bool(state.veto),
            "callouts": called,
            "hits": [hits[i] for i in range(n_hits)],
            "audit": state.n_audit,
            "reply": state.reply,
            "absorb": bool(state.absorb),
        }
    finally:
        free(numbers)
        free(hits)
