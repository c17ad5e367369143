"""Whether a condition holds for one vector of values: slow and obvious, for residuals and for tests."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, strcmp

from ._set cimport set_has
from ._text_set cimport SetText, text_set_has
from ._types cimport FieldValues, NO_FILTER, value_present


cdef int text_compare(const uint8_t* a, uint64_t a_length, const uint8_t* b, uint64_t b_length) noexcept nogil:
    """Bytewise order: below, at or above 0."""
    cdef uint64_t shared = a_length if a_length < b_length else b_length
    cdef int order = memcmp(a, b, shared) if shared else 0
    if order:
        return order
    return (a_length > b_length) - (a_length < b_length)


cdef uint32_t callout_named(const CompiledPolicy* policy, const char* name) noexcept nogil:
    cdef const CalloutSlot* slot
    cdef uint32_t i
    for i in range(policy.n_callout_slots):
        slot = &policy.callout_slots[i]
        if (slot.successor and slot.successor < policy.n_callout_slots) or (slot.over != NULL and slot.over[0]):
            continue
        if slot.name != NULL and strcmp(slot.name, name) == 0:
            return i if policy.callout_registered[i] else NO_FILTER
    return NO_FILTER


cdef inline uint8_t _fold(uint8_t byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef bint _equal_no_case(const uint8_t* a, const uint8_t* b, uint64_t length) noexcept nogil:
    cdef uint64_t i
    for i in range(length):
        if _fold(a[i]) != _fold(b[i]):
            return False
    return True


cdef bint _contains(const uint8_t* text, uint64_t length, const uint8_t* part, uint64_t part_length) noexcept nogil:
    cdef uint64_t i
    if part_length == 0:
        return True
    if part_length > length:
        return False
    for i in range(length - part_length + 1):
        if text[i] == part[0] and memcmp(text + i, part, part_length) == 0:
            return True
    return False


cdef uint64_t _class_end(const uint8_t* glob, uint64_t length, uint64_t at) noexcept nogil:
    """Position of the `]` that closes the `[` at `at`; 0 if none does (then `[` is itself)."""
    cdef uint64_t i = at + 1
    if i < length and glob[i] == 33:  # !
        i += 1
    i += 1  # A `]` that comes first is a member.
    while i < length:
        if glob[i] == 93:
            return i
        i += 1
    return 0


cdef bint _class_has(const uint8_t* glob, uint64_t at, uint64_t end, uint8_t byte) noexcept nogil:
    cdef uint64_t i = at + 1
    cdef bint negated = glob[i] == 33
    cdef bint found = False
    if negated:
        i += 1
    while i < end:
        if i + 2 < end and glob[i + 1] == 45:  # low-high
            found = found or glob[i] <= byte <= glob[i + 2]
            i += 3
        else:
            found = found or glob[i] == byte
            i += 1
    return found != negated


cdef bint _glob_holds(const uint8_t* glob, uint64_t length, const uint8_t* text, uint64_t text_length) noexcept nogil:
    """`*` any bytes, `?` one byte, `[a-z]` `[!a-z]` one byte of a class; the whole text has to match.

    Only the last `*` is ever taken back to (an earlier one could match no more), so the work is at
    most glob length * text length: linear in the text for a given glob.
    """
    cdef uint64_t g = 0, t = 0, star = 0, resume = 0, end
    cdef bint starred = False, one
    while t < text_length:
        one = False
        end = 0
        if g < length:
            if glob[g] == 42:
                starred = True
                star = g + 1
                resume = t
                g += 1
                continue
            if glob[g] == 91:
                end = _class_end(glob, length, g)
            if end:
                one = _class_has(glob, g, end, text[t])
            else:
                one = glob[g] == 63 or glob[g] == text[t]
        if one:
            g = end + 1 if end else g + 1
            t += 1
        elif starred:
            resume += 1
            t = resume
            g = star
        else:
            return False
    while g < length and glob[g] == 42:
        g += 1
    return g == length


cdef bint _in_set(const CompiledPolicy* policy, uint32_t ref, uint64_t hi, uint64_t lo) noexcept nogil:
    cdef const PackedSet* item = policy.sets + ref
    if item.kind == SET_TEXTS:
        return text_set_has(policy.text_index + ref, <const SetText*>(policy.texts + item.first), policy.bytes,
                            item.count, <const uint8_t*>hi, lo)
    return set_has(policy.set_index + ref, hi, lo)


cdef bint _text_holds(const CompiledPolicy* policy, const PackedAtom* atom, const uint8_t* text,
                      uint64_t length) noexcept nogil:
    cdef const PackedText* record = policy.texts + atom.ref
    cdef const uint8_t* wanted = policy.bytes + record.offset
    cdef uint64_t size = record.length
    if atom.op == OP_TEXT_EQUAL:
        return length == size and text_compare(text, length, wanted, size) == 0
    if atom.op == OP_TEXT_EQUAL_NO_CASE:
        return length == size and _equal_no_case(text, wanted, size)
    if atom.op == OP_TEXT_STARTS:
        return length >= size and text_compare(text, size, wanted, size) == 0
    if atom.op == OP_TEXT_ENDS:
        return length >= size and text_compare(text + (length - size), size, wanted, size) == 0
    if atom.op == OP_TEXT_CONTAINS:
        return _contains(text, length, wanted, size)
    if atom.op == OP_TEXT_GLOB:
        return _glob_holds(wanted, size, text, length)
    if text_compare(wanted, size, text, length) > 0:
        return False
    if atom.open_high:
        return True
    return text_compare(text, length, policy.bytes + record[1].offset, record[1].length) <= 0


cdef bint _atom_holds(const CompiledPolicy* policy, const PackedAtom* atom, uint64_t hi, uint64_t lo) noexcept nogil:
    """Whether the test holds for a value that is there."""
    if atom.op == OP_RANGE:
        return at_most(atom.low_hi, atom.low_lo, hi, lo) and at_most(hi, lo, atom.high_hi, atom.high_lo)
    if atom.op == OP_ALL_SET:
        return (hi & atom.low_hi) == atom.low_hi and (lo & atom.low_lo) == atom.low_lo
    if atom.op == OP_ANY_SET:
        return (hi & atom.low_hi) != 0 or (lo & atom.low_lo) != 0
    if atom.op == OP_NONE_SET:
        return (hi & atom.low_hi) == 0 and (lo & atom.low_lo) == 0
    if atom.op == OP_EMPTY:
        return False
    if atom.op == OP_IN_SET:
        return _in_set(policy, atom.ref, hi, lo)
    return _text_holds(policy, atom, <const uint8_t*>hi, lo)


cdef bint _term_holds(const CompiledPolicy* policy, const PackedTerm* term, bint present, uint64_t hi,
                      uint64_t lo) noexcept nogil:
    cdef uint32_t i
    cdef const PackedAtom* atom
    for i in range(term.n_atoms):
        atom = policy.atoms + term.first_atom + i
        if _atom_holds(policy, atom, hi, lo) if present else (atom.op == OP_EMPTY and not term.negate):
            return not term.negate
    return present and term.negate


cdef bint condition_matches(const CompiledPolicy* policy, const PackedCondition* condition,
                            const FieldValues* values) noexcept nogil:
    cdef bint present = value_present(values, condition.field)
    cdef uint32_t i
    for i in range(condition.n_terms):
        if _term_holds(policy, policy.terms + condition.first_term + i, present, values.hi[condition.field],
                       values.lo[condition.field]):
            return True
    return False


cdef bint filter_matches(const CompiledPolicy* policy, uint32_t index, const FieldValues* values) noexcept nogil:
    cdef const PackedFilter* item = policy.filters + index
    cdef uint32_t i
    for i in range(item.n_conditions):
        if not condition_matches(policy, policy.conditions + item.first_condition + i, values):
            return False
    return True
