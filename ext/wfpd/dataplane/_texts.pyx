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

cdef enum:
    FIRST_ENTRIES = 16


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
    cdef TextEntry* entry
    cdef uint32_t at = hash & ids.mask
    while True:
        entry = &ids.entries[at]
        if entry.id == 0 or entry.hash == hash and entry.length == length and text_equal(
                ids, policy.bytes + entry.offset, text, length):
            return entry
        at = (at + 1) & ids.mask


cdef uint32_t text_id(const TextIds* ids, const CompiledPolicy* policy, const uint8_t* text,
                      uint64_t length) noexcept nogil:
    cdef uint32_t found = text_entry(ids, policy, text, length, text_hash(text, length)).id
    return found if found else TEXT_OTHER


cdef bint texts_room(TextIds* ids) noexcept nogil:
    """Room for one text more, with half of the entries free; whether there is."""
    cdef uint32_t i, at, mask = 2 * ids.mask + 1
    cdef TextEntry* entries
    if 2 * ids.n + 2 <= ids.mask + 1:
        return True
    entries = <TextEntry*>calloc(<size_t>mask + 1, sizeof(TextEntry)) if mask < <uint32_t>1 << 30 else NULL
    if entries == NULL:
        return False
    for i in range(ids.mask + 1):
        if ids.entries[i].id:
            at = ids.entries[i].hash & mask
            while entries[at].id:
                at = (at + 1) & mask
            entries[at] = ids.entries[i]
    free(ids.entries)
    ids.entries = entries
    ids.mask = mask
    return True


cdef bint text_add(TextIds* ids, const CompiledPolicy* policy, uint32_t index) noexcept nogil:
    """Give the text an id if it has none; False when memory ran out."""
    cdef const PackedText* text = &policy.texts[index]
    cdef const uint8_t* start = policy.bytes + text.offset
    cdef uint32_t hash
    cdef TextEntry* entry
    if ids.entries == NULL:
        return True
    if not texts_room(ids):
        return False
    hash = text_hash(start, text.length)
    entry = text_entry(ids, policy, start, text.length, hash)
    if entry.id == 0:
        ids.n += 1
        entry.hash = hash
        entry.id = ids.n
        entry.offset = text.offset
        entry.length = text.length
    return True


cdef bint atom_texts(TextIds* ids, const CompiledPolicy* policy, const PackedAtom* atom,
                     uint32_t most_set) noexcept nogil:
    """Add the whole texts that the atom names; False when memory ran out."""
    cdef const PackedSet* item
    cdef uint32_t i
    if atom.op == OP_TEXT_EQUAL or atom.op == OP_TEXT_EQUAL_NO_CASE:
        ids.folded = ids.folded or atom.op == OP_TEXT_EQUAL_NO_CASE
        return text_add(ids, policy, atom.ref)
    if atom.op != OP_IN_SET:
        return True
    item = &policy.sets[atom.ref]
    if item.kind == SET_TEXTS and item.count <= most_set:
        for i in range(item.count):
            if not text_add(ids, policy, item.first + i):
                return False
    return True


cdef bint condition_texts(TextIds* ids, const CompiledPolicy* policy, const PackedCondition* condition,
                          uint32_t most_set) noexcept nogil:
    """Add the whole texts that the condition names; False when memory ran out."""
    cdef const PackedTerm* term
    cdef uint32_t t, a
    for t in range(condition.n_terms):
        term = &policy.terms[condition.first_term + t]
        for a in range(term.n_atoms):
            if not atom_texts(ids, policy, &policy.atoms[term.first_atom + a], most_set):
                return False
    return True


cdef bint field_texts(TextIds* ids, const CompiledPolicy* policy, uint32_t first, uint32_t count,
                      uint32_t most_set) noexcept nogil:
    """Add all texts of the filters' conditions on the field; False when memory ran out."""
    cdef const PackedFilter* filter
    cdef uint32_t i, c
    for i in range(first, first + count):
        filter = &policy.filters[i]
        for c in range(filter.first_condition, filter.first_condition + filter.n_conditions):
            if policy.conditions[c].field == ids.field and not condition_texts(
                    ids, policy, &policy.conditions[c], most_set):
                return False
    return True


cdef int texts_make(const CompiledPolicy* policy, uint32_t first, uint32_t count, uint16_t field, uint32_t most_set,
                    TextIds* ids) noexcept nogil:
    memset(ids, 0, sizeof(TextIds))
    ids.field = field
    field_texts(ids, policy, first, count, most_set)  # Without entries: only whether some filter ignores case.
    ids.mask = FIRST_ENTRIES - 1
    ids.entries = <TextEntry*>calloc(FIRST_ENTRIES, sizeof(TextEntry))
    return 0 if ids.entries != NULL and field_texts(ids, policy, first, count, most_set) else -1


cdef void texts_free(TextIds* ids) noexcept nogil:
    free(ids.entries)
    memset(ids, 0, sizeof(TextIds))
