# Engine filters as rows of plain numbers: what 100,000 Python objects would say in a fifth of the memory.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    AN_OBJECT = 0xFFFFFFFF      # RowCondition.count: not ranges, but a Condition; `first` is its index.

cdef struct Row:
    uint8_t[16] key
    uint64_t weight
    uint32_t name               # Index of the name.
    uint32_t order
    uint32_t line
    uint32_t column
    uint32_t shape              # Index in `shapes`.
    uint32_t text               # Description: index in `texts`, 0 = none.
    uint32_t first_condition
    uint16_t n_conditions
    uint16_t slot

cdef struct RowCondition:
    uint32_t first              # Range of `spans`.
    uint32_t count              # Ranges; 0 = never true.
    uint16_t field
    uint16_t specificity

cdef struct Span:               # An inclusive range.
    uint64_t low_hi
    uint64_t low_lo
    uint64_t high_hi
    uint64_t high_lo

cdef class FilterRows:
    cdef Row* rows
    cdef size_t n_rows, row_capacity
    cdef RowCondition* conditions
    cdef size_t n_conditions, condition_capacity
    cdef Span* spans
    cdef size_t n_spans, span_capacity
    cdef char* names
    cdef size_t n_names_bytes, names_capacity
    cdef uint32_t* name_ends
    cdef size_t n_names, name_capacity
    cdef readonly list shapes   # (provider, sublayer, action, callout, flags, reply, on_error, context, file)
    cdef readonly list texts
    cdef readonly list objects  # Conditions that are not a list of ranges.
    cdef dict _shape_index
    cdef dict _object_index     # By id; `objects` keeps them alive.
    cdef dict _name_index       # Names that came by append().
    cdef uint32_t add_name(self, const char* text, size_t length) except 0xFFFFFFFF
    cdef uint32_t add_shape(self, tuple shape) except 0xFFFFFFFF
    cdef int add_row(self, const Row* row) except -1
    cdef int add_condition(self, const RowCondition* condition) except -1
    cdef int add_span(self, const Span* span) except -1
    cdef int describe(self, condition, unsigned int family, RowCondition* into) except -1
    cdef object condition_at(self, size_t index)
    cdef bytes name_bytes(self, uint32_t index)
    cdef object _filter(self, size_t index)
