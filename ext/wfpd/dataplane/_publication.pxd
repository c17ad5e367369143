"""One published policy with what belongs to it, until nobody can hold it any more."""

from libc.stdint cimport uint32_t, uint64_t

from ._batch cimport Published
from ._host cimport Host
from ._table cimport Snapshot

cdef class Publication:
    cdef Published c
    cdef readonly Snapshot snapshot
    cdef readonly Host host
    cdef uint32_t n_workers
