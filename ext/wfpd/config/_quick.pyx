"""Filters from the tape to rows, without a Python object for each.

A filter is taken here if everything it says has been said before by one that was right (its layer,
action, flags: its *shape*), or is a number, an address or a list of them.  What is seen for the first time
is read by `filters.py` and `conditions.py`, with a report of its own, and remembered; whatever is wrong,
or merits a lint, is left to them altogether, so that there is one place for every rule and every message.
`test_quick.py` compares the two.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport qsort

from wfpd.model._rows cimport FilterRows, Row, RowCondition, Span
from ._tape cimport DOUBLED, Items, MAPPING, NOTHING, PLAIN, QUOTED, SEQUENCE, Tape

from hashlib import sha1

from wfpd.config.layer_names import FIELD_NAMES
from wfpd.config.report import Report, Speaker, TooManyProblems
from wfpd.model.fields import Vocabulary
from wfpd.model.layers import EMPTY_FIELDS
from wfpd.model.policy import NAMESPACE

include "_numbers.pxi"

cdef enum:
    MOST_CONDITIONS = 64
    MOST_REMEMBERED = 100000    # Values of one field that are kept.
    RANGES_AT_ONCE = 256        # A list of more is left to `conditions.py`.

    NO_NUMBER = 0
    NUMBER = 1
    ADDRESS = 2

_PORT_LIKE = ("ip_local_port", "ip_remote_port", "icmp_type", "icmp_code")


cdef class _Field:
    """A name that a condition may have at a layer."""
    cdef object field, vocabulary
    cdef str label
    cdef uint32_t id
    cdef int kind
    cdef uint64_t top
    cdef uint32_t bits
    cdef bint linted, is_protocol, is_port_like
    cdef dict seen              # Value as written: _Pair.

    def __init__(self, str label, field, vocabulary, uint64_t top):
        self.label, self.field, self.vocabulary, self.top = label, field, vocabulary, top
        self.id, self.bits = field.id, field.type.bits
        self.linted = label in EMPTY_FIELDS
        self.is_protocol, self.is_port_like = label == "ip_protocol", label in _PORT_LIKE
        self.seen = {}
        if field.is_address:
            self.kind = ADDRESS
        elif field.type.is_integer and not field.is_flags and vocabulary is not Vocabulary.ICMP_TYPE:
            self.kind = NUMBER


cdef class _Pair:
    """A condition at v4 and at v6 layers."""
    cdef RowCondition[2] at


cdef class _Place:
    """One layer and family of a shape."""
    cdef uint16_t slot
    cdef bint is_v6, aliased
    cdef dict names             # Label as bytes: _Field.
    cdef bytes suffix           # Of the text whose hash is the key.


cdef class _Shape:
    cdef uint32_t row_shape
    cdef list places
    cdef bytes prefix
    cdef str provider
    cdef dict weight_kinds      # Of the sublayer; a reference to the reader's.


cdef class _Text:
    """Bytes that a filter is recognised by."""
    cdef bytearray data
    cdef Py_ssize_t size

    def __cinit__(self):
        self.data = bytearray(4096)

    cdef int add(self, const void* data, Py_ssize_t length) except -1:
        if self.size + length > len(self.data):
            self.data += bytes(len(self.data) + length)
        memcpy(<char*>self.data + self.size, data, length)
        self.size += length
        return 0

    cdef int add_node(self, Tape tape, uint32_t index) except -1:
        """What the node says, whatever its layout: kinds, and lengths with texts.  0 if there is an escape."""
        cdef uint32_t i, end = tape.after(index), length
        cdef uint8_t kind
        for i in range(index, end):
            kind = tape.kind(i)
            length = tape.after(i) - i if kind >= SEQUENCE else tape.length(i)
            self.add(&kind, 1)
            self.add(&length, 4)
            if kind == PLAIN or kind == QUOTED:
                self.add(tape.text_at(i), length)
            elif kind < SEQUENCE and kind != NOTHING:
                return 0
        return 1

    cdef bytes taken(self):
        cdef bytes found = (<char*>self.data)[:self.size]
        self.size = 0
        return found


cdef inline bint _says(Tape tape, uint32_t index, const char* word, uint32_t length) noexcept nogil:
    return tape.length(index) == length and memcmp(tape.text_at(index), word, length) == 0


cdef class QuickReader:
    """Reads for one `FilterReader`, whose tables it shares."""
    cdef object reader          # FilterReader
    cdef object top_of
    cdef FilterRows rows
    cdef Tape tape
    cdef str file
    cdef dict shapes, weights, fields, names_at
    cdef _Text text
    cdef Span[2][RANGES_AT_ONCE] spans
    cdef RowCondition[2][MOST_CONDITIONS] conditions

    def __init__(self, reader not None, top_of not None):
        """`top_of`: the largest value of a field."""
        self.reader, self.top_of, self.rows = reader, top_of, reader.filters
        self.shapes, self.weights, self.fields, self.names_at = {}, {}, {}, {}
        self.text = _Text()

    def read(self, speaker, Items items not None, left):
        """Every filter of a section; `left(speaker, node)` reads those that are not taken here."""
        cdef uint32_t i = items.index + 1
        self.tape, self.file = items.tape, speaker.file
        while i < self.tape.cells.ends[items.index]:
            if not self._take(i):
                left(speaker, self.tape.node(i))
            i = self.tape.after(i)

    cdef bint _take(self, uint32_t index) except -1:
        """Add the filter at the index; False, and nothing done, if it is for the other reader."""
        cdef Tape tape = self.tape
        cdef uint32_t i = index + 1, value, name = 0, weight = 0, when = 0, text = 0
        cdef _Shape shape
        if tape.kind(index) != MAPPING:
            return False
        self.text.size = 0
        while i < tape.cells.ends[index]:
            value = i + 1
            if _says(tape, i, b"name", 4):
                name = value
            elif _says(tape, i, b"weight", 6):
                weight = value
            elif _says(tape, i, b"when", 4):
                when = value
            elif _says(tape, i, b"description", 11):
                text = value
            elif _says(tape, i, b"key", 3):
                return False
            elif not self.text.add_node(tape, i) or not self.text.add_node(tape, value):
                return False
            i = tape.after(value)
        if name == 0 or self.reader.has_own_keys or not self._is_name(name):
            return False
        if text and (tape.kind(text) > QUOTED or tape.length(text) > <uint32_t>self.reader.limits.text_length):
            return False
        shape = self._shape(index, self.text.taken())
        return shape is not None and self._add(index, shape, name, weight, when, text)

    cdef bint _is_name(self, uint32_t index) except -1:
        cdef const uint8_t* at = self.tape.text_at(index)
        cdef uint32_t i, length
        if self.tape.kind(index) > QUOTED:
            return False
        length = self.tape.length(index)
        for i in range(length):
            if at[i] < 32 or at[i] > 126:
                return False
        return 0 < length <= <uint32_t>self.reader.limits.name_length

    # What filters have in common.

    cdef _Shape _shape(self, uint32_t index, bytes written):
        found = self.shapes.get(written)
        if found is None:
            found = self.shapes[written] = self._learn_shape(index) or False
        return found or None

    cdef object _learn_shape(self, uint32_t index):
        """The shape of a filter that is right; None of one that is wrong or disabled."""
        cdef _Shape shape = _Shape()
        cdef _Place place
        speaker = self._trial()
        try:
            found = self.reader.shape(speaker, self.tape.node(index))
        except TooManyProblems:
            return None
        if speaker.report.errors or speaker.report.lints or found.action is None or not found.enabled:
            return None
        shape.row_shape = self.rows.add_shape((
            found.provider, found.sublayer, found.action, found.callout, found.flags, found.reply, found.on_error,
            found.context, self.file,
        ))
        shape.provider = found.provider
        shape.weight_kinds = self.reader.weight_kinds.setdefault(found.sublayer, {})
        shape.prefix = NAMESPACE.bytes + f"{found.provider}\0filter\0".encode()
        shape.places = []
        for each in found.places:
            for family in each.families:
                place = _Place()
                place.slot, place.is_v6 = each.layer.slot(family), family == 6
                place.aliased = bool(each.layer.aliases)
                place.names = self._names(each.layer)
                suffix = found.suffix(each, family)
                place.suffix = f"\0{suffix}".encode() if suffix else b""
                shape.places.append(place)
        return shape

    cdef dict _names(self, layer):
        if layer.index not in self.names_at:
            found = {}
            for label, (field, vocabulary) in FIELD_NAMES[layer.index].items():
                key = label, field.id, vocabulary
                if key not in self.fields:
                    top = 0 if field.is_address or not field.type.is_integer else self.top_of(field)
                    self.fields[key] = _Field(label, field, vocabulary, top)
                found[label.encode()] = self.fields[key]
            self.names_at[layer.index] = found
        return self.names_at[layer.index]

    cdef object _trial(self):
        """A speaker whose report nobody sees."""
        return Speaker(Report(100), self.file, "filter")

    # One filter.

    cdef bint _add(self, uint32_t index, _Shape shape, uint32_t name, uint32_t weight, uint32_t when,
                   uint32_t text) except -1:
        cdef Tape tape = self.tape
        cdef Row row
        cdef _Place place
        cdef uint64_t exact = 0, base = 0
        cdef bint is_auto = True
        cdef int count
        cdef size_t first = self.rows.n_conditions
        if weight and not self._weight(weight, &is_auto, &exact, &base):
            return False
        if not self._kind_noted(shape, is_auto, exact, base):
            return False
        if self.reader.n_engine_filters + len(shape.places) > self.reader.limits.filters:
            return False
        memset(&row, 0, sizeof(row))
        counts = []
        for place in shape.places:
            count = self._conditions(place, when)
            if count < 0:
                self.rows.n_conditions = first
                return False
            counts.append(count)
        plain_name = (<const char*>tape.text_at(name))[:tape.length(name)]
        if not self.reader.take_name(shape.provider, plain_name.decode("ascii")):
            self.rows.n_conditions = first
            return False
        row.name = self.rows.add_name(<const char*>tape.text_at(name), tape.length(name))
        row.order, row.shape = self.reader.order, shape.row_shape
        self.reader.order += 1
        tape.place(tape.start(index), &row.line, &row.column)
        if text and tape.length(text):
            row.text = <uint32_t>len(self.rows.texts)
            self.rows.texts.append(tape.text(text))
        row.first_condition = <uint32_t>first
        for place, n_conditions in zip(shape.places, counts):
            row.slot, row.n_conditions = place.slot, n_conditions
            row.weight = base | self._auto_weight(&row) if is_auto else exact
            self._set_key(&row, shape.prefix + plain_name + place.suffix)
            self.rows.add_row(&row)
            row.first_condition += row.n_conditions
        self.reader.n_engine_filters += len(shape.places)
        return True

    cdef int _set_key(self, Row* row, bytes content) except -1:
        """A UUID of version 5 (RFC 9562)."""
        cdef bytes digest = sha1(content, usedforsecurity=False).digest()
        memcpy(row.key, <const char*>digest, 16)
        row.key[6] = (row.key[6] & 0x0F) | 0x50
        row.key[8] = (row.key[8] & 0x3F) | 0x80
        return 0

    cdef uint64_t _auto_weight(self, const Row* row) noexcept nogil:
        """`weights.auto_weight` of the conditions that are rows already."""
        cdef uint64_t total = 0
        cdef uint32_t i
        for i in range(row.n_conditions):
            total += self.rows.conditions[row.first_condition + i].specificity
        return (<uint64_t>min(row.n_conditions, <uint16_t>15) << 56) | (min(total, <uint64_t>0xFFFF) << 40)

    cdef bint _weight(self, uint32_t index, bint* is_auto, uint64_t* exact, uint64_t* base) except -1:
        cdef Tape tape = self.tape
        if tape.kind(index) <= QUOTED and not decimal_read(tape.text_at(index), tape.length(index), exact):
            is_auto[0] = False
            return True
        self.text.size = 0
        if not self.text.add_node(tape, index):
            return False
        written = self.text.taken()
        found = self.weights.get(written)
        if found is None:
            speaker = self._trial()
            weight = self.reader.weight(speaker, tape.node(index))
            if speaker.report.errors:
                return False
            found = self.weights[written] = (weight.auto, weight.exact or 0, weight.range)
        is_auto[0], exact[0], base[0] = found[0], found[1], <uint64_t>found[2] << 60
        return True

    cdef bint _kind_noted(self, _Shape shape, bint is_auto, uint64_t exact, uint64_t base) except -1:
        """Whether the sublayer has such a weight already; the first of a kind is noted by the other reader."""
        if is_auto:
            return base != 0 or False in shape.weight_kinds
        return exact >= <uint64_t>1 << 60 or True in shape.weight_kinds

    # Conditions.

    cdef int _conditions(self, _Place place, uint32_t when) except -2:
        """Add the conditions at one place; how many, or -1 to leave the filter."""
        cdef Tape tape = self.tape
        cdef uint32_t i, end
        cdef int count = 0
        cdef bint has_protocol = False, has_port = False
        cdef _Field field
        cdef uint64_t[4] given
        cdef RowCondition condition
        if when == 0:
            return 0
        if tape.kind(when) != MAPPING:
            return -1
        memset(given, 0, sizeof(given))
        i, end = when + 1, tape.cells.ends[when]
        while i < end:
            field = place.names.get((<const char*>tape.text_at(i))[:tape.length(i)])
            if field is None or field.linted or field.id > 255 or given[field.id >> 6] >> (field.id & 63) & 1:
                return -1
            given[field.id >> 6] |= <uint64_t>1 << (field.id & 63)
            has_protocol |= field.is_protocol
            has_port |= field.is_port_like
            if not self._condition(field, i + 1, place.is_v6, &condition):
                return -1
            self.rows.add_condition(&condition)
            count += 1
            i = tape.after(i + 1)
        return -1 if place.aliased and has_port and not has_protocol else count

    cdef bint _condition(self, _Field field, uint32_t index, bint is_v6, RowCondition* into) except -1:
        cdef _Pair pair
        if field.kind != NO_NUMBER and self._plain(field, index, is_v6, into):
            return True
        self.text.size = 0
        if not self.text.add_node(self.tape, index):
            return False
        written = self.text.taken()
        pair = field.seen.get(written)
        if pair is None:
            speaker = self._trial()
            found = self.reader.conditions.read(
                speaker, field.field, field.vocabulary, field.label, self.tape.node(index)
            )
            if found is None or speaker.report.errors or speaker.report.lints:
                return False
            pair = self._remembered(field, written, found)
        into[0] = pair.at[is_v6]
        return True

    cdef _Pair _remembered(self, _Field field, bytes written, found):
        cdef _Pair pair = _Pair()
        if len(field.seen) >= MOST_REMEMBERED:
            field.seen.clear()
        self.rows.describe(found[0], 4, &pair.at[0])
        self.rows.describe(found[1], 6, &pair.at[1])
        field.seen[written] = pair
        return pair

    cdef bint _plain(self, _Field field, uint32_t index, bint is_v6, RowCondition* into) except -1:
        """A number, an address, a range or a list of them."""
        cdef Tape tape = self.tape
        cdef uint32_t i, end, count = 0, n_listed = 0, bits
        cdef int family = 6 if is_v6 else 4
        cdef int own = family
        cdef Span span
        i, end = index, index + 1
        if tape.kind(index) == SEQUENCE:
            i, end = index + 1, tape.cells.ends[index]
        if end - i == 0 or end - i > RANGES_AT_ONCE or end - i > <uint32_t>self.reader.limits.condition_values:
            return False
        while i < end:
            if tape.kind(i) > QUOTED:
                return False
            if field.kind == NUMBER:
                if number_range_read(tape.text_at(i), tape.length(i), field.top, &span):
                    return False
            elif address_range_read(tape.text_at(i), tape.length(i), &own, &span):
                return False
            if own == family:
                self.spans[0][count] = span
                count += 1
            i += 1
        bits = 128 if field.kind == ADDRESS and is_v6 else field.bits
        count = spans_merge(self.spans[0], count, bits, &into.specificity)
        into.field, into.first, into.count = <uint16_t>field.id, <uint32_t>self.rows.n_spans, count
        for i in range(count):
            self.rows.add_span(&self.spans[0][i])
        return True
