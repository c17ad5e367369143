"""Large policies quickly: YAML and JSON to a tape, and from the tape the nodes that somebody asks for.

A tape is 8 bytes for each scalar, list and mapping; the text stays where it is.  What is rare in policies
(plain texts over several lines, tabs, anchors) and whatever is wrong is not read here: `tape_of` then
returns None and `document.py` reads the text with libyaml or `json_text.py`, which know all of it.
"""

from json.decoder import scanstring

from libc.string cimport memchr, memcmp, memset

from yaml.cyaml import CParser
from yaml.events import ScalarEvent

from wfpd.config.nodes import Mapping, Scalar, Sequence

include "_cells.pxi"
include "_scan_json.pxi"
include "_scan_yaml.pxi"
_learn_yaml()

cdef enum:
    LONG = 64           # Items of a list that are made one at a time, not all at once.


def tape_of(bytes data not None, bint is_json, size_t nodes, int nesting):
    """The Tape of a UTF-8 text without a byte order mark; None where the slow reader has to look.

    `nodes` and `nesting` are the limits of `limits.py`.
    """
    cdef Tape tape = Tape()
    cdef Scan scan
    cdef int failed
    if len(data) >= <Py_ssize_t>OFFSET_MASK:
        return None
    tape.source = data
    tape.data = <const uint8_t*><const char*>data
    tape.size = <uint32_t>len(data)
    tape.ascii = data.isascii()
    memset(&scan, 0, sizeof(scan))
    scan.data = tape.data
    scan.size = tape.size
    scan.deepest = nesting
    scan.cells = &tape.cells
    tape.cells.most = nodes
    with nogil:
        failed = json_scan(&scan) if is_json else yaml_scan(&scan)
    return None if failed else tape


cdef str _text_of_lines(bytes lines):
    """What libyaml makes of `|` or `>` and the lines below."""
    parser = CParser(b"x: " + lines)
    while True:
        event = parser.get_event()
        if isinstance(event, ScalarEvent) and event.style:
            return event.value


cdef class Tape:
    """The text of one file with what it says."""

    def __dealloc__(self):
        free(self.cells.starts)
        free(self.cells.ends)
        free(self.lines)

    def root(self):
        """The root node.  A list that is a value of the root is one of the policy's sections: its items are
        made when they are read."""
        cdef uint32_t i = 1, line, column
        if self.kind(0) != MAPPING:
            return self.node(0)
        self.place(self.start(0), &line, &column)
        found = Mapping(line, column)
        while i < self.cells.n:
            key = self.node(i)
            i += 1
            found.add(key, self.list_of(i, True) if self.kind(i) == SEQUENCE else self.node(i))
            i = self.after(i)
        return found

    cdef str text(self, uint32_t index):
        cdef int kind = self.kind(index)
        cdef uint32_t start = self.start(index)
        if kind == NOTHING:
            return ""
        if kind == ESCAPED:
            return scanstring(self.source[start:self.cells.ends[index] + 1].decode(), 1, True)[0]
        if kind == LINES:
            return _text_of_lines(self.source[start:self.cells.ends[index]])
        if kind != PLAIN:
            start += 1
        text = self.source[start:self.cells.ends[index]].decode()
        return text.replace("''", "'") if kind == DOUBLED else text

    cdef object node(self, uint32_t index):
        cdef int kind = self.kind(index)
        cdef uint32_t line, column, i, end
        if kind == SEQUENCE:
            return self.list_of(index, False)
        self.place(self.start(index), &line, &column)
        if kind != MAPPING:
            return Scalar(self.text(index), line, column, kind == PLAIN or kind == NOTHING)
        found = Mapping(line, column)
        i, end = index + 1, self.cells.ends[index]
        while i < end:
            found.add(self.node(i), self.node(i + 1))
            i = self.after(i + 1)
        return found

    cdef object list_of(self, uint32_t index, bint is_section):
        """The list at the index; its items are made one at a time if they are many or it is a section."""
        cdef uint32_t line, column
        self.place(self.start(index), &line, &column)
        found = Sequence(line, column)
        items = Items(self, index)
        found.items = items if is_section or items.count > LONG else list(items)
        return found

    cdef int place(self, uint32_t offset, uint32_t* line, uint32_t* column) except -1:
        """Line and column, in characters, from 1."""
        cdef uint32_t low = 0, high, middle, begin, i
        if self.lines == NULL:
            self._find_lines()
        high = self.n_lines
        while high - low > 1:
            middle = (low + high) // 2
            if self.lines[middle] <= offset:
                low = middle
            else:
                high = middle
        line[0] = low + 1
        begin = self.lines[low]
        column[0] = offset - begin + 1
        if self.ascii:
            return 0
        if self._counted_line != low + 1 or self._counted_to > offset:
            self._counted_line, self._counted_to, self._counted = low + 1, begin, 0
        for i in range(self._counted_to, offset):
            self._counted += (self.data[i] & 0xC0) != 0x80
        self._counted_to = offset
        column[0] = self._counted + 1
        return 0

    cdef int _find_lines(self) except -1:
        cdef uint32_t count = 1, i
        cdef const uint8_t* at = self.data
        cdef const uint8_t* end = self.data + self.size
        with nogil:
            while True:
                at = <const uint8_t*>memchr(at, 10, end - at)
                if at == NULL:
                    break
                count += 1
                at += 1
        self.lines = <uint32_t*>malloc(count * sizeof(uint32_t))
        if self.lines == NULL:
            raise MemoryError()
        self.lines[0] = 0
        at = self.data
        for i in range(1, count):
            at = <const uint8_t*>memchr(at, 10, end - at) + 1
            self.lines[i] = <uint32_t>(at - self.data)
        self.n_lines = count
        return 0


cdef class Items:
    """Reads like a list of nodes."""

    def __init__(self, Tape tape not None, uint32_t index):
        cdef uint32_t i = index + 1
        self.tape = tape
        self.index = index
        while i < tape.cells.ends[index]:
            self.count += 1
            i = tape.after(i)

    def __len__(self):
        return self.count

    def __iter__(self):
        cdef uint32_t i = self.index + 1
        while i < self.tape.cells.ends[self.index]:
            yield self.tape.node(i)
            i = self.tape.after(i)

    def __getitem__(self, int64_t number):
        cdef uint32_t i = self.index + 1
        if not 0 <= number < self.count:
            raise IndexError(number)
        while number:
            i = self.tape.after(i)
            number -= 1
        return self.tape.node(i)
