"""A hash table from texts to small numbers, made with the tables and asked once a packet and text field.

Application paths and user names are compared as a whole by most filters; as numbers side by side
they are cut like ports.  The hash disregards ASCII case (bit 0x20 of every byte), so that one
function serves both comparisons.  Entries come from the policy alone: a packet cannot add any, and
a chain is as long as the policy's texts make it.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from ._policy cimport (
    OP_IN_SET, OP_TEXT_EQUAL, OP_TEXT_EQUAL_NO_CASE, SET_TEXTS, CompiledPolicy, PackedAtom, PackedCondition, PackedFilter,
    PackedSet, PackedTerm, PackedText,
)
from ._text_set cimport text_hash


cdef inline uint8_t lower(uint8_t byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef bint text_equal(const TextIds* ids, const uint8_t* a, const uint8_t* b, uint64_t length) noexcept nogil:
    cdef uint64_t i
    if length == 0 or memcmp(a, b, length) == 0:
        return True
    if not ids.folded:
        return False
    for i in range(length):
        if lower(a[i]) != lower(b[i]):
            return False
    return True


cdef TextEntry* text_entry(const TextIds* ids, const CompiledPolicy* policy, const uint8_t* text, uint64_t length,
                           uint32_t hash) noexcept nogil:
    """The entry of the text, or the free one where it would be."""
    cdef uint32_t at = hash & ids.mask
    cdef const PackedText* known
    while ids.entries[at].id:
        if ids.entries[at].hash == hash:
            known = &policy.texts[ids.entries[at].text]
            if known.length == length and text_equal(ids, policy.bytes + known.offset, text, length):
                break
        at = (at + 1) & ids.mask
    return &ids.entries[at]


cdef uint32_t text_id(const TextIds* ids, const CompiledPolicy* policy, const uint8_t* text,
                      uint64_t length) noexcept nogil:
    cdef uint32_t found = text_entry(ids, policy, text, length, text_hash(text, length)).id
    return found if found else TEXT_OTHER


cdef void text_add(TextIds* ids, const CompiledPolicy* policy, uint32_t index) noexcept nogil:
    cdef const PackedText* text = &policy.texts[index]
    cdef const uint8_t* start = policy.bytes + text.offset
    cdef uint32_t hash = text_hash(start, text.length)
    cdef TextEntry* entry = text_entry(ids, policy, start, text.length, hash)
    if entry.id == 0:
        ids.n += 1
        entry.hash = hash
        entry.text = index
        entry.id = ids.n


cdef uint64_t atom_texts(TextIds* ids, const CompiledPolicy* policy, const PackedAtom* atom,
                         uint32_t most_set) noexcept nogil:
    """How many whole texts the atom names; added to `ids` once that has entries."""
    cdef const PackedSet* item
    cdef uint32_t i
    if atom.op == OP_TEXT_EQUAL or atom.op == OP_TEXT_EQUAL_NO_CASE:
        ids.folded = ids.folded or atom.op == OP_TEXT_EQUAL_NO_CASE
        if ids.entries != NULL:
            text_add(ids, policy, atom.ref)
        return 1
    if atom.op != OP_IN_SET:
        return 0
    item = &policy.sets[atom.ref]
    if item.kind != SET_TEXTS or item.count > most_set:
        return 0
    if ids.entries != NULL:
        for i in range(item.count):
            text_add(ids, policy, item.first + i)
    return item.count


cdef uint64_t field_texts(TextIds* ids, const CompiledPolicy* policy, uint32_t first, uint32_t count,
                          uint32_t most_set) noexcept nogil:
    """All texts of the filters' conditions on the field, counted with repetition."""
    cdef const PackedFilter* filter
    cdef const PackedCondition* condition
    cdef const PackedTerm* term
    cdef uint64_t n = 0
    cdef uint32_t i, c, t, a
    for i in range(first, first + count):
        filter = &policy.filters[i]
        for c in range(filter.n_conditions):
            condition = &policy.conditions[filter.first_condition + c]
            if condition.field != ids.field:
                continue
            for t in range(condition.n_terms):
                term = &policy.terms[condition.first_term + t]
                for a in range(term.n_atoms):
                    n += atom_texts(ids, policy, &policy.atoms[term.first_atom + a], most_set)
    return n


cdef int texts_make(const CompiledPolicy* policy, uint32_t first, uint32_t count, uint16_t field, uint32_t most_set,
                    TextIds* ids) noexcept nogil:
    cdef uint64_t n, size = 16
    memset(ids, 0, sizeof(TextIds))
    ids.field = field
    n = field_texts(ids, policy, first, count, most_set)
    while size < 2 * n:
        size *= 2
    ids.entries = <TextEntry*>calloc(size, sizeof(TextEntry)) if size <= <uint64_t>1 << 30 else NULL
    if ids.entries == NULL:
        return -1
    ids.mask = <uint32_t>(size - 1)
    field_texts(ids, policy, first, count, most_set)
    return 0


cdef void texts_free(TextIds* ids) noexcept nogil:
    free(ids.entries)
    memset(ids, 0, sizeof(TextIds))
