"""The filters of a policy: a sequence of `Filter`, each made when somebody looks at it."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

import uuid
from collections.abc import Sequence

from wfpd.errors import Location
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS
from wfpd.model.policy import Filter

cdef uint8_t[2][256] field_bits     # By family (0: v4); 0: no number.
for _field in FIELDS:
    field_bits[0][<uint32_t>_field.id] = _field.type_for(4).bits
    field_bits[1][<uint32_t>_field.id] = _field.type_for(6).bits
_RANGE = Op.RANGE
_LOW64 = 0xFFFFFFFFFFFFFFFF


cdef int _grown(void** array, size_t* capacity, size_t needed, size_t size) except -1:
    """Room for `needed` elements of `size` bytes."""
    cdef size_t wanted = capacity[0]
    cdef void* found
    if needed <= wanted:
        return 0
    wanted = max(needed, wanted + wanted // 2, <size_t>64)
    found = realloc(array[0], wanted * size)
    if found == NULL:
        raise MemoryError()
    array[0] = found
    capacity[0] = wanted
    return 0


cdef class FilterRows:
    """Filters in reading order.  It compares equal to any sequence of the same filters."""

    def __cinit__(self, filters=()):
        self.shapes, self.texts, self.objects = [], [""], []
        self._shape_index, self._object_index, self._name_index = {}, {}, {}

    def __init__(self, filters=()):
        for item in filters:
            self.append(item)

    def __dealloc__(self):
        free(self.rows)
        free(self.conditions)
        free(self.spans)
        free(self.names)
        free(self.name_ends)

    def append(self, item not None):
        """Add one Filter."""
        cdef Row row
        cdef RowCondition condition
        cdef const uint8_t[::1] key = item.key.bytes
        memset(&row, 0, sizeof(row))
        memcpy(row.key, &key[0], 16)
        name = item.name.encode()
        if name not in self._name_index:
            self._name_index[name] = self.add_name(name, len(name))
        row.name, row.weight, row.order, row.slot = self._name_index[name], item.weight, item.order, item.slot
        row.line, row.column = item.location.line, item.location.column
        row.shape = self.add_shape((
            item.provider, item.sublayer, item.action, item.callout, item.flags, item.reply, item.on_error,
            item.provider_context, item.location.file,
        ))
        if item.description:
            row.text = <uint32_t>len(self.texts)
            self.texts.append(item.description)
        row.first_condition, row.n_conditions = <uint32_t>self.n_conditions, len(item.conditions)
        for each in item.conditions:
            self.describe(each, 6 if row.slot & 1 else 4, &condition)
            self.add_condition(&condition)
        self.add_row(&row)

    cdef uint32_t add_name(self, const char* text, size_t length) except 0xFFFFFFFF:
        _grown(<void**>&self.names, &self.names_capacity, self.n_names_bytes + length, 1)
        _grown(<void**>&self.name_ends, &self.name_capacity, self.n_names + 1, sizeof(uint32_t))
        if self.n_names_bytes + length > <size_t>0xFFFFFFFE:
            raise MemoryError()
        memcpy(self.names + self.n_names_bytes, text, length)
        self.n_names_bytes += length
        self.name_ends[self.n_names] = <uint32_t>self.n_names_bytes
        self.n_names += 1
        return <uint32_t>self.n_names - 1

    cdef uint32_t add_shape(self, tuple shape) except 0xFFFFFFFF:
        index = self._shape_index.get(shape)
        if index is None:
            index = self._shape_index[shape] = len(self.shapes)
            self.shapes.append(shape)
        return index

    cdef int add_row(self, const Row* row) except -1:
        _grown(<void**>&self.rows, &self.row_capacity, self.n_rows + 1, sizeof(Row))
        self.rows[self.n_rows] = row[0]
        self.n_rows += 1
        return 0

    cdef int add_condition(self, const RowCondition* condition) except -1:
        _grown(<void**>&self.conditions, &self.condition_capacity, self.n_conditions + 1, sizeof(RowCondition))
        self.conditions[self.n_conditions] = condition[0]
        self.n_conditions += 1
        return 0

    cdef int add_span(self, const Span* span) except -1:
        _grown(<void**>&self.spans, &self.span_capacity, self.n_spans + 1, sizeof(Span))
        self.spans[self.n_spans] = span[0]
        self.n_spans += 1
        return 0

    cdef int describe(self, condition, unsigned int family, RowCondition* into) except -1:
        """A Condition as ranges if it is no more than that, else as an object."""
        cdef Span span
        cdef unsigned int bits = field_bits[family == 6][<uint32_t>condition.field]
        into.field, into.specificity = condition.field, condition.specificity
        into.first, into.count = <uint32_t>self.n_spans, 0
        terms = condition.terms
        if not terms:
            return 0
        if bits and len(terms) == 1 and terms[0].atoms and not terms[0].negate:
            most = (<object>1 << bits) - 1
            atoms = terms[0].atoms
            if all(atom.op is _RANGE and 0 <= atom.low <= atom.high <= most for atom in atoms):
                for atom in atoms:
                    span.low_hi, span.low_lo = atom.low >> 64, atom.low & _LOW64
                    span.high_hi, span.high_lo = atom.high >> 64, atom.high & _LOW64
                    self.add_span(&span)
                into.count = len(atoms)
                return 0
        index = self._object_index.get(id(condition))
        if index is None:
            index = self._object_index[id(condition)] = len(self.objects)
            self.objects.append(condition)
        into.first, into.count = index, AN_OBJECT
        return 0

    cdef object condition_at(self, size_t index):
        cdef RowCondition* item = &self.conditions[index]
        cdef Span* span
        cdef uint32_t i
        if item.count == AN_OBJECT:
            return self.objects[item.first]
        atoms = []
        for i in range(item.count):
            span = &self.spans[item.first + i]
            atoms.append(Atom(_RANGE, (<object>span.low_hi << 64) | span.low_lo,
                              (<object>span.high_hi << 64) | span.high_lo))
        return Condition(item.field, (Term(tuple(atoms)),) if atoms else (), item.specificity)

    cdef bytes name_bytes(self, uint32_t index):
        cdef uint32_t start = self.name_ends[index - 1] if index else 0
        return self.names[start:self.name_ends[index]]

    cdef object _filter(self, size_t index):
        cdef Row* row = &self.rows[index]
        cdef size_t i
        provider, sublayer, action, callout, flags, reply, on_error, context, file = self.shapes[row.shape]
        conditions = tuple([
            self.condition_at(i) for i in range(row.first_condition, row.first_condition + row.n_conditions)
        ])
        return Filter(
            self.name_bytes(row.name).decode(), uuid.UUID(bytes=(<char*>row.key)[:16]), row.slot, sublayer, action,
            row.order, row.weight, conditions, flags, callout, reply, on_error, provider, context,
            self.texts[row.text], Location(file, row.line, row.column),
        )

    def __len__(self):
        return self.n_rows

    def __getitem__(self, where):
        if isinstance(where, slice):
            return tuple([self._filter(i) for i in range(*where.indices(self.n_rows))])
        index = where + self.n_rows if where < 0 else where
        if not 0 <= index < self.n_rows:
            raise IndexError(where)
        return self._filter(index)

    def __iter__(self):
        cdef size_t i
        for i in range(self.n_rows):
            yield self._filter(i)

    def __eq__(self, other):
        if not isinstance(other, (FilterRows, tuple, list)):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other))

    def __hash__(self):
        return hash(tuple(self))

    def __repr__(self):
        return repr(tuple(self))

    def __add__(self, other):
        return (*self, *other)

    def slots(self):
        """The slots of layers that have filters."""
        cdef size_t i
        cdef uint8_t[256] seen
        memset(seen, 0, sizeof(seen))
        for i in range(self.n_rows):
            seen[self.rows[i].slot & 255] = 1
        return frozenset(slot for slot in range(256) if seen[slot])

    def names_with(self, unsigned int flag):
        """Names of the filters that have the flag, each once, in reading order."""
        cdef size_t i
        wanted = [bool(shape[4] & flag) for shape in self.shapes]
        if True not in wanted:
            return []
        found = {}
        for i in range(self.n_rows):
            if wanted[self.rows[i].shape]:
                found[self.rows[i].name] = None
        return list(dict.fromkeys([self.name_bytes(name).decode() for name in found]))

    def keys(self):
        """(key, order, name) of each filter."""
        cdef size_t i
        for i in range(self.n_rows):
            yield (<char*>self.rows[i].key)[:16], self.rows[i].order, self.name_bytes(self.rows[i].name).decode()


Sequence.register(FilterRows)
