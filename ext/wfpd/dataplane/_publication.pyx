"""One published policy with what belongs to it, until nobody can hold it any more."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ._batch cimport Published
from ._host cimport Host
from ._table cimport Snapshot


cdef class Publication:
    """Owns a Published: the snapshot, the host, and buffers of the right size for every worker."""

    def __cinit__(self, Snapshot snapshot not None, Host host, uint32_t n_workers):
        cdef uint32_t i, capacity = snapshot.policy.max_layer_filters + 1
        memset(&self.c, 0, sizeof(Published))
        self.snapshot = snapshot
        self.host = host
        self.n_workers = n_workers
        self.c.policy = &snapshot.policy
        self.c.snapshot = <void*>snapshot
        self.c.host = &host.table if host is not None else NULL
        self.c.matches = <uint32_t**>calloc(n_workers, sizeof(uint32_t*))
        self.c.hits = <uint32_t**>calloc(n_workers, sizeof(uint32_t*))
        if self.c.matches == NULL or self.c.hits == NULL:
            raise MemoryError
        with nogil:
            for i in range(n_workers):
                self.c.matches[i] = <uint32_t*>calloc(capacity, sizeof(uint32_t))
                self.c.hits[i] = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        for i in range(n_workers):
            if self.c.matches[i] == NULL or self.c.hits[i] == NULL:
                raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        with nogil:
            for i in range(self.n_workers):
                if self.c.matches != NULL:
                    free(self.c.matches[i])
                if self.c.hits != NULL:
                    free(self.c.hits[i])
            free(self.c.matches)
            free(self.c.hits)
