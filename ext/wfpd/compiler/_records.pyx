"""The records of filters, conditions, terms and tests, from rows.

Done in C because a policy has 100,000 filters and a million of the other records.  What names other
objects (sets, texts, callouts) is looked up by `pack.py`, once for each distinct condition.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from wfpd.model._rows cimport AN_OBJECT, FilterRows, Row, RowCondition, Span

from hashlib import blake2b

cdef enum:
    NONE32 = 0xFFFFFFFF
    N_SLOTS = 64
    ATOM_SIZE = 40
    DIGEST = 8

cdef struct FilterRecord:       # format.FILTER
    uint8_t[16] key
    uint64_t weight
    uint32_t name
    uint32_t provider
    uint16_t sublayer
    uint8_t slot
    uint8_t action
    uint16_t flags
    uint8_t reply
    uint8_t on_error
    uint32_t callout
    uint32_t context
    uint32_t first_condition
    uint32_t n_conditions
    uint8_t[8] digest

cdef struct ConditionRecord:    # format.CONDITION
    uint16_t field
    uint16_t n_terms
    uint32_t first_term

cdef struct TermRecord:         # format.TERM
    uint16_t reserved
    uint8_t negate
    uint8_t reserved2
    uint32_t n_atoms
    uint32_t first_atom

cdef struct AtomRecord:         # format.ATOM; op 0 is RANGE
    uint64_t head
    Span range

cdef struct Rank:
    uint64_t place              # Slot, then the sublayer's index.
    uint64_t weight
    uint32_t order
    uint32_t row


cdef int _by_rank(const void* left, const void* right) noexcept nogil:
    cdef const Rank* one = <const Rank*>left
    cdef const Rank* two = <const Rank*>right
    if one.place != two.place:
        return 1 if one.place > two.place else -1
    if one.weight != two.weight:
        return 1 if one.weight < two.weight else -1
    if one.order != two.order:
        return 1 if one.order > two.order else -1
    return (one.row > two.row) - (one.row < two.row)


cdef class Shape:
    """What pack.py found for one combination of provider, sublayer, action and so on."""
    cdef FilterRecord record
    cdef bytes decides          # The part of what a filter decides that all filters of the shape share.
    cdef object named           # Content of what the shape names.

    def __init__(self, uint32_t provider, uint16_t sublayer, uint8_t action, uint16_t flags, uint8_t reply,
                 uint8_t on_error, uint32_t callout, uint32_t context, bytes decides, named):
        self.record.provider, self.record.sublayer, self.record.action = provider, sublayer, action
        self.record.flags, self.record.reply, self.record.on_error = flags, reply, on_error
        self.record.callout, self.record.context = callout, context
        self.decides, self.named = decides, named


cdef class Encoded:
    """A condition that is more than ranges, at one family."""
    cdef uint16_t field
    cdef list terms             # (negate, number of tests)
    cdef bytes atoms            # ATOM records.
    cdef bytes decides
    cdef object named

    def __init__(self, uint16_t field, list terms, bytes atoms, bytes decides, named):
        self.field, self.terms, self.atoms, self.decides, self.named = field, terms, atoms, decides, named


cdef class _Buffer:
    """Bytes that grow."""
    cdef bytearray data
    cdef Py_ssize_t size

    def __cinit__(self, Py_ssize_t expected=4096):
        self.data = bytearray(max(expected, 64))

    cdef int add(self, const void* data, Py_ssize_t length) except -1:
        cdef Py_ssize_t wanted = self.size + length
        if wanted > len(self.data):
            self.data += bytes(max(len(self.data) // 2, length))
        memcpy(<char*>self.data + self.size, data, length)
        self.size = wanted
        return 0

    cdef bytearray whole(self):
        del self.data[self.size:]
        return self.data


def ranked(FilterRows rows not None, dict rank not None):
    """Indices of the rows in packed order: by slot, then rank of the sublayer, weight falling, order rising."""
    cdef Rank* ranks = _ranks(rows, [rank[shape[1]] for shape in rows.shapes])
    cdef size_t i
    try:
        return [ranks[i].row for i in range(rows.n_rows)]
    finally:
        free(ranks)


cdef Rank* _ranks(FilterRows rows, list sublayers) except NULL:
    """One for each row, sorted; the caller frees them."""
    cdef Rank* ranks = <Rank*>malloc((rows.n_rows + 1) * sizeof(Rank))
    cdef Row* row
    cdef size_t i
    if ranks == NULL:
        raise MemoryError()
    for i in range(rows.n_rows):
        row = &rows.rows[i]
        ranks[i].place = <uint64_t>row.slot << 32 | <uint32_t>sublayers[row.shape]
        ranks[i].weight, ranks[i].order, ranks[i].row = row.weight, row.order, <uint32_t>i
    with nogil:
        qsort(ranks, rows.n_rows, sizeof(Rank), _by_rank)
    return ranks


cdef class Writer:
    """One run over the filters of a policy."""
    cdef FilterRows rows
    cdef object encode          # (Condition, family) -> Encoded
    cdef object string          # text -> index
    cdef list shapes
    cdef dict encoded
    cdef _Buffer filters, conditions, terms, atoms, content
    cdef uint32_t n_conditions, n_terms, n_atoms
    cdef uint32_t* strings      # By name.

    def __init__(self, FilterRows rows not None, list shapes not None, encode, string):
        cdef size_t i
        self.rows, self.shapes, self.encode, self.string = rows, shapes, encode, string
        self.encoded = {}
        self.filters = _Buffer(rows.n_rows * sizeof(FilterRecord))
        self.conditions = _Buffer(rows.n_conditions * sizeof(ConditionRecord))
        self.terms = _Buffer(rows.n_conditions * sizeof(TermRecord))
        self.atoms = _Buffer(rows.n_conditions * ATOM_SIZE)
        self.content = _Buffer()
        self.strings = <uint32_t*>malloc((rows.n_names + 1) * sizeof(uint32_t))
        if self.strings == NULL:
            raise MemoryError()
        for i in range(rows.n_names):
            self.strings[i] = NONE32

    def __dealloc__(self):
        free(self.strings)

    def run(self):
        """By slot (first filter, count, digest); then the sections filters, conditions, terms, atoms."""
        cdef Rank* ranks = _ranks(self.rows, [(<Shape>shape).record.sublayer for shape in self.shapes])
        cdef size_t i, begin
        cdef unsigned int slot
        layers = []
        try:
            i = 0
            for slot in range(N_SLOTS):
                begin = i
                named = set()
                digests = _Buffer()
                while i < self.rows.n_rows and ranks[i].place >> 32 == slot:
                    self._filter(&self.rows.rows[ranks[i].row], named, digests)
                    i += 1
                digest = 0
                if i > begin:
                    whole = blake2b(digests.whole(), digest_size=DIGEST)
                    for content in sorted(named):
                        whole.update(len(content).to_bytes(4, "little") + content)
                    digest = int.from_bytes(whole.digest(), "little")
                layers.append((begin, i - begin, digest))
        finally:
            free(ranks)
        return layers, [part.whole() for part in (self.filters, self.conditions, self.terms, self.atoms)]

    cdef int _filter(self, Row* row, set named, _Buffer digests) except -1:
        cdef Shape shape = self.shapes[row.shape]
        cdef FilterRecord record = shape.record
        cdef size_t i
        cdef bytes digest
        memcpy(record.key, row.key, 16)
        record.weight, record.slot = row.weight, <uint8_t>row.slot
        if self.strings[row.name] == NONE32:
            self.strings[row.name] = self.string(self.rows.name_bytes(row.name))
        record.name = self.strings[row.name]
        record.first_condition, record.n_conditions = self.n_conditions, row.n_conditions
        named.update(shape.named)
        self.content.size = 0
        self.content.add(row.key, 16)
        self.content.add(&row.weight, 8)
        self.content.add(<const char*>shape.decides, len(shape.decides))
        for i in range(row.first_condition, row.first_condition + row.n_conditions):
            self._condition(&self.rows.conditions[i], row.slot & 1, named)
        digest = blake2b(memoryview(self.content.data)[:self.content.size], digest_size=DIGEST).digest()
        memcpy(record.digest, <const char*>digest, DIGEST)
        digests.add(<const char*>digest, DIGEST)
        self.filters.add(&record, sizeof(record))
        return 0

    cdef int _condition(self, RowCondition* item, bint is_v6, set named) except -1:
        cdef ConditionRecord record
        cdef TermRecord term
        cdef AtomRecord atom
        cdef uint32_t i
        cdef uint32_t[4] head
        if item.count == AN_OBJECT:
            return self._object(item.first, is_v6, named)
        record.field, record.n_terms, record.first_term = item.field, item.count != 0, self.n_terms
        self.conditions.add(&record, sizeof(record))
        self.n_conditions += 1
        head[:] = [item.field, item.count != 0, 0, item.count]
        self.content.add(head, 8 if item.count == 0 else 16)
        if item.count == 0:
            return 0
        term.reserved = term.negate = term.reserved2 = 0
        term.n_atoms, term.first_atom = item.count, self.n_atoms
        self.terms.add(&term, sizeof(term))
        self.n_terms += 1
        self.n_atoms += item.count
        atom.head = 0
        for i in range(item.count):
            atom.range = self.rows.spans[item.first + i]
            self.atoms.add(&atom, ATOM_SIZE)
            self.content.add(&atom, ATOM_SIZE)
        return 0

    cdef int _object(self, uint32_t index, bint is_v6, set named) except -1:
        cdef ConditionRecord record
        cdef TermRecord term
        cdef Encoded found = self.encoded.get((index, is_v6))
        if found is None:
            found = self.encode(self.rows.objects[index], 6 if is_v6 else 4)
            self.encoded[index, is_v6] = found
        record.field, record.n_terms, record.first_term = found.field, len(found.terms), self.n_terms
        self.conditions.add(&record, sizeof(record))
        self.n_conditions += 1
        term.reserved = term.reserved2 = 0
        for negate, n_atoms in found.terms:
            term.negate, term.n_atoms, term.first_atom = negate, n_atoms, self.n_atoms
            self.terms.add(&term, sizeof(term))
            self.n_terms += 1
            self.n_atoms += n_atoms
        self.atoms.add(<const char*>found.atoms, len(found.atoms))
        self.content.add(<const char*>found.decides, len(found.decides))
        named.update(found.named)
        return 0


def record_sizes():
    """Bytes of each record written here, by its name in the format."""
    return {
        "FILTER": sizeof(FilterRecord), "CONDITION": sizeof(ConditionRecord), "TERM": sizeof(TermRecord),
        "ATOM": sizeof(AtomRecord),
    }
