# What a file says, as two arrays: one entry for each scalar, list and mapping, in file order.
#
# An entry is a kind with the offset at which it begins, and for a scalar the offset behind its text, for
# a list or mapping the index behind its last descendant.  A mapping's children are key, value, key, value.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    PLAIN = 0           # Text as it stands.
    QUOTED = 1          # Text between quotes, as it stands; the entry begins at the first quote.
    DOUBLED = 2         # In single quotes, with quotes that are doubled.
    ESCAPED = 3         # In double quotes, with backslashes that JSON has too.
    NOTHING = 4         # JSON's null: reads as a plain empty text.
    LINES = 5           # YAML's | or >, header and lines; libyaml makes the text of them.
    SEQUENCE = 6
    MAPPING = 7

    KIND_SHIFT = 28
    OFFSET_MASK = 0x0FFFFFFF

cdef struct Cells:
    uint32_t* starts    # Kind << KIND_SHIFT | offset.
    uint32_t* ends
    size_t n
    size_t capacity
    size_t most         # Entries allowed.

cdef struct Scan:
    const uint8_t* data
    uint32_t size
    uint32_t pos
    uint32_t line_start
    int64_t column      # Of `pos` after blank_skip; -1 at the end of the text.
    int depth
    int deepest
    Cells* cells

cdef class Tape:
    cdef bytes source               # Keeps `data` alive.
    cdef const uint8_t* data
    cdef uint32_t size
    cdef bint ascii
    cdef Cells cells
    cdef uint32_t* lines            # Offset at which each line begins; made when first asked for.
    cdef uint32_t n_lines
    cdef uint32_t _counted_line     # Columns of lines beyond ASCII: how far the characters were counted.
    cdef uint32_t _counted_to
    cdef uint32_t _counted

    cdef inline int kind(self, uint32_t index) noexcept nogil:
        return self.cells.starts[index] >> KIND_SHIFT

    cdef inline uint32_t start(self, uint32_t index) noexcept nogil:
        return self.cells.starts[index] & OFFSET_MASK

    cdef inline uint32_t after(self, uint32_t index) noexcept nogil:
        """The index of the next sibling."""
        return self.cells.ends[index] if self.kind(index) >= SEQUENCE else index + 1

    cdef inline const uint8_t* text_at(self, uint32_t index) noexcept nogil:
        """The text of a PLAIN or QUOTED scalar."""
        return self.data + self.start(index) + (self.kind(index) == QUOTED)

    cdef inline uint32_t length(self, uint32_t index) noexcept nogil:
        return self.cells.ends[index] - self.start(index) - (self.kind(index) == QUOTED)

    cdef str text(self, uint32_t index)
    cdef int place(self, uint32_t offset, uint32_t* line, uint32_t* column) except -1
    cdef object node(self, uint32_t index)
    cdef object list_of(self, uint32_t index, bint is_section)
    cdef int _find_lines(self) except -1

cdef class Items:
    """The items of a long list, as nodes made one at a time."""
    cdef Tape tape
    cdef uint32_t index
    cdef uint32_t count
