"""Why a layer answers as it does for one packet: what holds, what misses by one condition, step by step.

Filters lie in rank order (sublayers by falling weight, filters by falling weight), so the first near
misses of a sublayer are its best ones: they would have been asked first.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS

from ._arbitrate import ACTION_NAMES
from ._arbitrate cimport (
    ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, STEP_CALLOUT, Arbitration, CalloutAnswer, arbitrate_answer,
    arbitrate_begin, arbitrate_run,
)
from ._layered cimport classify
from ._part cimport Part
from ._policy cimport (
    AddedFilters, CompiledPolicy, FilterBrief, OP_EMPTY, OP_IN_SET, OP_TEXT_EQUAL, OP_TEXT_RANGE, PackedAtom,
    PackedCondition, PackedFilter, PackedLayer, PackedTerm, PackedText, condition_matches, is_gone,
)
from ._table cimport Snapshot, _fill_values
from ._types cimport (
    FILTER_BLOCK, FILTER_CALLOUT_INSPECTION, FILTER_CALLOUT_TERMINATING, FILTER_PERMIT, FLAG_AUDIT,
    FLAG_PERMIT_IF_UNREGISTERED, FieldValues, N_SLOTS, NO_FILTER, value_present,
)

cdef enum:
    NONE_FAILS = 0xFFFFFFFF
    SEVERAL_FAIL = 0xFFFFFFFE

_OPS = {int(op): op for op in Op}
_ANSWERS = {"continue": ANSWER_CONTINUE, "permit": ANSWER_PERMIT, "block": ANSWER_BLOCK}


cdef uint32_t failing_condition(const CompiledPolicy* policy, const PackedFilter* item,
                                const FieldValues* values) noexcept nogil:
    """Position of the only condition that fails, NONE_FAILS or SEVERAL_FAIL."""
    cdef uint32_t i, found = NONE_FAILS
    for i in range(item.n_conditions):
        if condition_matches(policy, policy.conditions + item.first_condition + i, values):
            continue
        if found != NONE_FAILS:
            return SEVERAL_FAIL
        found = i
    return found


cdef void part_collect(const CompiledPolicy* part, const PackedLayer* layer, const uint32_t* ids,
                       const uint64_t* gone, const FieldValues* values, Findings* findings) noexcept nogil:
    """Look at one part's filters; `ids` are their numbers, NULL: their own."""
    cdef uint32_t index, fails, kept = 0, sublayer = NO_FILTER
    cdef const PackedFilter* item
    for index in range(layer.first, layer.first + layer.count):
        if is_gone(gone, index):
            continue
        item = part.filters + index
        if item.sublayer != sublayer:
            sublayer, kept = item.sublayer, 0
        fails = failing_condition(part, item, values)
        if fails == NONE_FAILS:
            findings.held[findings.n_held] = index if ids == NULL else ids[index]
            findings.n_held += 1
        elif fails != SEVERAL_FAIL and kept < findings.most:
            findings.near[findings.n_near].filter = index if ids == NULL else ids[index]
            findings.near[findings.n_near].condition = fails
            findings.n_near += 1
            kept += 1


cdef void findings_collect(const CompiledPolicy* policy, const PackedLayer* base, unsigned int slot,
                           const FieldValues* values, Findings* findings) noexcept nogil:
    cdef const AddedFilters* added
    cdef uint32_t i
    findings.n_held = findings.n_near = 0
    part_collect(policy, base, NULL, policy.gone, values, findings)
    for i in range(policy.n_added):
        added = &policy.added[i]
        part_collect(added.policy, &added.policy.layers[slot], added.ids, added.policy.gone, values, findings)


cdef str step_said(const Arbitration* before, const Arbitration* after, Snapshot snapshot, uint32_t index,
                   answer):
    """What filter `index` said when arbitration came to it."""
    cdef const FilterBrief* item = &snapshot.policy.briefs[index]
    if item.sublayer == before.ended:
        return "not_reached"
    if item.flags & FLAG_AUDIT:
        return "audit"
    if after.ended != item.sublayer:
        return "continue"
    if item.action == FILTER_PERMIT or item.action == FILTER_BLOCK:
        return ACTION_NAMES[item.action]
    if answer is None:
        return "permit" if item.flags & FLAG_PERMIT_IF_UNREGISTERED else "block"
    return "permit" if answer[0] == "permit" else "block"


cdef int answer_fill(CalloutAnswer* answer, given) except -1:
    memset(answer, 0, sizeof(CalloutAnswer))
    answer.kind = _ANSWERS[given[0]]
    answer.clear_right = bool(given[1])
    return 0


cdef dict step_take(Arbitration* state, Snapshot snapshot, uint32_t place, uint32_t* hits, answers):
    """Arbitrate the match at `place`, by letting arbitration see one match more than before."""
    cdef Arbitration before = state[0]
    cdef CalloutAnswer answer
    cdef uint32_t index = state.matches[place], n_hits = 0
    given = None
    state.n_matches = place + 1
    if arbitrate_run(state, hits, &n_hits) == STEP_CALLOUT:
        given = next(answers, ("continue", False))
        answer_fill(&answer, given)
        arbitrate_answer(state, &answer)
    stands = state.standing == index
    return {
        "filter": index, "said": step_said(&before, state, snapshot, index, given), "answer": given, "stands": stands,
        "veto": bool(stands and state.veto), "action": ACTION_NAMES[state.action] or "none", "right": bool(state.right),
    }


cdef list steps_of(Snapshot snapshot, const uint32_t* matches, uint32_t n, uint32_t* hits, answers):
    cdef Arbitration state
    cdef uint32_t place
    arbitrate_begin(&state, &snapshot.policy, matches, 0)
    given = iter(answers)
    return [step_take(&state, snapshot, place, hits, given) for place in range(n)]


cdef value_of(const FieldValues* values, unsigned int field, bint v6):
    """A field's value as the model has it: an int, bytes, or None for EMPTY."""
    if not value_present(values, field):
        return None
    if not FIELDS[field].type_for(6 if v6 else 4).bits:
        return (<const char*>values.hi[field])[:values.lo[field]]
    return (<object>values.hi[field] << 64) | values.lo[field]


cdef list sublayers_of(Snapshot snapshot, unsigned int slot):
    """(sublayer, its weight, its filters here) of those that have filters at the slot, in order."""
    cdef const CompiledPolicy* policy = &snapshot.policy
    cdef const PackedLayer* layer = &snapshot.root.part.policy.layers[slot]
    cdef const CompiledPolicy* part
    cdef uint32_t i, k
    cdef size_t n = len(snapshot.root.sublayer_names)
    cdef uint32_t* counts = <uint32_t*>calloc(n + 1, sizeof(uint32_t))
    if counts == NULL:
        raise MemoryError()
    try:
        for i in range(layer.first, layer.first + layer.count):
            if not is_gone(policy.gone, i):
                counts[policy.briefs[i].sublayer] += 1
        for k in range(policy.n_added):
            part = policy.added[k].policy
            for i in range(part.layers[slot].first, part.layers[slot].first + part.layers[slot].count):
                if not is_gone(part.gone, i):
                    counts[policy.briefs[policy.added[k].ids[i]].sublayer] += 1
        found = [(i, policy.sublayer_weights[i], counts[i]) for i in range(<uint32_t>n) if counts[i]]
        return sorted(found, key=lambda entry: (-entry[1], entry[0]))
    finally:
        free(counts)


cdef dict values_named(Snapshot snapshot, unsigned int slot, const FieldValues* values):
    """The fields that the slot's filters name."""
    cdef const uint64_t* needed = snapshot.policy.fields_needed[slot]
    cdef uint32_t field
    return {item.name: value_of(values, item.id, slot & 1) for field, item in enumerate(FIELDS)
            if needed[field >> 6] >> (field & 63) & 1}


cdef list ordered(Snapshot snapshot, list indexes):
    """In order of arbitration: that of the numbers, unless some were added to the base."""
    return sorted(indexes, key=snapshot._rank if snapshot.policy.n_added else None)


cdef list best_near(Snapshot snapshot, const Findings* findings):
    """The first near misses of each sublayer over all parts, in order of arbitration."""
    cdef uint32_t i
    failed = {findings.near[i].filter: findings.near[i].condition for i in range(findings.n_near)}
    kept = {}
    found = []
    for index in ordered(snapshot, list(failed)):
        sublayer = snapshot.policy.briefs[<uint32_t>index].sublayer
        kept[sublayer] = kept.get(sublayer, 0) + 1
        if kept[sublayer] <= findings.most:
            found.append((index, failed[index]))
    return found


cdef dict explain_layer(Snapshot snapshot, unsigned int slot, const FieldValues* values, uint32_t most, answers):
    cdef const CompiledPolicy* policy = &snapshot.policy
    cdef const PackedLayer* base = &snapshot.root.part.policy.layers[slot]
    cdef uint32_t room = policy.max_layer_filters + 1, n, i
    cdef Findings findings
    cdef uint32_t* matches = <uint32_t*>calloc(room, sizeof(uint32_t))
    findings.most = most
    findings.held = <uint32_t*>calloc(room, sizeof(uint32_t))
    findings.near = <NearMiss*>calloc(room, sizeof(NearMiss))
    try:
        if matches == NULL or findings.held == NULL or findings.near == NULL:
            raise MemoryError()
        with nogil:
            n = classify(policy, slot, values, matches)
            findings_collect(policy, base, slot, values, &findings)
        held = ordered(snapshot, [findings.held[i] for i in range(findings.n_held)])
        near = best_near(snapshot, &findings)
        return {
            "slot": slot,
            "sublayers": sublayers_of(snapshot, slot),
            "values": values_named(snapshot, slot, values),
            "held": held,
            "near": near,
            "order": ordered(snapshot, held + [index for index, _ in near]),
            "matches": [matches[i] for i in range(n)],
            "steps": steps_of(snapshot, matches, n, findings.held, answers),  # What it held is copied by now.
        }
    finally:
        free(matches)
        free(findings.held)
        free(findings.near)


def explain_values(Snapshot snapshot not None, unsigned int slot, dict values not None, uint32_t most=5,
                   answers=()) -> dict:
    """Explain one layer for `values` (by field name, as Snapshot.match() takes them).

    `matches`: what classify() hands to arbitration.  `held`: every filter whose conditions hold, also
    those that arbitration never comes to.  `order`: both of them and near misses, in order of arbitration.  `near`: (filter, position of the condition) where that one
    condition alone fails, the first `most` of each sublayer.  `steps`: what arbitration made of each
    match, a dict with `filter`, `said` (permit, block, continue, audit, not_reached), `answer` (the
    callout's, or None), `stands`, `veto`, and `action` and `right` after it.  `sublayers`: (index, weight,
    number of filters) of those that have filters here, in order.  `values`: those of the fields that
    the layer's filters name.  `answers`: (kind, clear_right) of callouts, in order; past
    their end a callout continues.
    """
    cdef FieldValues vector
    texts = _fill_values(&vector, values, snapshot._slot(slot) & 1)
    result = explain_layer(snapshot, slot, &vector, most, answers)
    del texts
    return result


cdef bytes text_at(const CompiledPolicy* policy, uint32_t index):
    cdef const PackedText* text = policy.texts + index
    return (<const char*>policy.bytes)[text.offset:<uint64_t>text.offset + text.length]


cdef atom_at(Part part, uint32_t index):
    cdef const CompiledPolicy* policy = &part.policy
    cdef const PackedAtom* atom = policy.atoms + index
    op = _OPS[atom.op]
    if atom.op == OP_EMPTY:
        return Atom(op)
    if atom.op == OP_IN_SET:
        return Atom(op, set=part.name(policy.sets[atom.ref].name))
    if atom.op == OP_TEXT_RANGE:
        return Atom(op, text=text_at(policy, atom.ref),
                    text_high=None if atom.open_high else text_at(policy, atom.ref + 1))
    if atom.op >= OP_TEXT_EQUAL:
        return Atom(op, text=text_at(policy, atom.ref))
    return Atom(op, (<object>atom.low_hi << 64) | atom.low_lo, (<object>atom.high_hi << 64) | atom.high_lo)


cdef term_at(Part part, uint32_t index):
    cdef const PackedTerm* term = part.policy.terms + index
    cdef uint32_t i
    return Term(tuple([atom_at(part, term.first_atom + i) for i in range(term.n_atoms)]), bool(term.negate))


cdef object condition_at(Part part, uint32_t index):
    cdef const PackedCondition* condition = part.policy.conditions + index
    cdef uint32_t k
    return Condition(condition.field, tuple([term_at(part, condition.first_term + k)
                                             for k in range(condition.n_terms)]))


def filter_conditions(Snapshot snapshot not None, uint32_t index) -> tuple:
    """The conditions of one filter, in the model's words, as the snapshot has them."""
    cdef Part part
    cdef const PackedFilter* item
    cdef uint32_t i
    part, place = snapshot.root.place(index)
    item = part.filter(place)
    return tuple([condition_at(part, item.first_condition + i) for i in range(item.n_conditions)])
