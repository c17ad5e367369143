# Host names, listed exactly, with what is below them, or only what is below them.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    EXACT = 1               # The name itself.
    BELOW = 2               # Every name that ends with it, behind a dot.

cdef struct NameSlot:
    uint32_t place          # Of the name in NameList.text.
    uint32_t tag            # Upper half of its hash.
    uint8_t length          # Bytes, 1-253.
    uint8_t ways            # EXACT | BELOW; 0: the slot is free.

cdef class NameList:
    cdef NameSlot* slots    # [n_slots], a power of two, at most half of them taken.
    cdef size_t n_slots
    cdef size_t n_names
    cdef uint8_t* text      # The names one after the other, lower case.
    cdef uint32_t used
    cdef size_t capacity

    # The slot that speaks of a name in any case, with or without a dot at its end, or NULL; `ways` is set to how.
    # Allocates nothing; at most one probe a label.
    cdef NameSlot* find(self, const uint8_t* name, size_t length, uint8_t* ways) noexcept nogil
    cdef NameSlot* _probe(self, uint64_t hash_, const uint8_t* name, size_t length) noexcept nogil
    cdef int _add(self, entry) except -1
    cdef int _put(self, const uint8_t* name, size_t length, uint8_t ways) except -1
    cdef int _room(self, size_t wanted) except -1
    cdef int _grow(self) except -1
