"""A growing array of 32-bit words."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc

cdef struct Store:
    uint32_t* at
    uint32_t n
    uint32_t capacity

# Room for `more` words beyond `n`; whether there is.  Moves the array.
cdef inline bint store_reserve(Store* store, uint64_t more) noexcept nogil:
    cdef uint64_t capacity
    cdef void* grown
    if store.n + more <= store.capacity:
        return True
    capacity = <uint64_t>store.capacity + (store.capacity >> 1) + more + 256
    grown = realloc(store.at, capacity * sizeof(uint32_t)) if capacity < <uint64_t>0xFFFFFFFF else NULL
    if grown == NULL:
        return False
    store.at = <uint32_t*>grown
    store.capacity = <uint32_t>capacity
    return True
