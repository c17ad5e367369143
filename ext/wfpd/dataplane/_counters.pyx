"""Which counter slots are in use, over all policies of one engine."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc

from ._lock cimport wfpd_lock, wfpd_unlock
from ._types cimport NO_FILTER


cdef class CounterSlots:
    """Which counter slots are in use, over all policies of one engine."""

    def __dealloc__(self):
        free(self.uses)
        free(self.unused)

    cdef int hold(self, uint32_t* slots, uint32_t n, uint32_t* fresh, uint32_t* n_fresh) noexcept nogil:
        cdef uint32_t i
        n_fresh[0] = 0
        for i in range(n):
            n_fresh[0] += slots[i] == NO_FILTER
        wfpd_lock(&self.lock)
        if self._reserve(n_fresh[0]):
            wfpd_unlock(&self.lock)
            return -1
        n_fresh[0] = 0
        for i in range(n):
            if slots[i] == NO_FILTER:
                slots[i] = self._take()
                fresh[n_fresh[0]] = slots[i]
                n_fresh[0] += 1
            self.uses[slots[i]] += 1
        wfpd_unlock(&self.lock)
        return 0

    cdef void let_go(self, const uint32_t* slots, uint32_t n) noexcept nogil:
        cdef uint32_t i
        wfpd_lock(&self.lock)
        for i in range(n):
            self.uses[slots[i]] -= 1
            if self.uses[slots[i]] == 0:
                self.unused[self.n_unused] = slots[i]
                self.n_unused += 1
        wfpd_unlock(&self.lock)

    cdef uint32_t _take(self) noexcept nogil:
        if self.n_unused:
            self.n_unused -= 1
            return self.unused[self.n_unused]
        self.uses[self.size] = 0
        self.size += 1
        return self.size - 1

    cdef int _reserve(self, uint32_t n) noexcept nogil:
        """Room to take `n` slots."""
        cdef size_t capacity = self.capacity if self.capacity else 64
        cdef uint32_t* grown
        while capacity + self.n_unused < <size_t>self.size + n:
            capacity *= 2
        if capacity == self.capacity:
            return 0
        grown = <uint32_t*>realloc(self.uses, capacity * sizeof(uint32_t))
        if grown == NULL:
            return -1
        self.uses = grown
        grown = <uint32_t*>realloc(self.unused, capacity * sizeof(uint32_t))
        if grown == NULL:
            return -1
        self.unused = grown
        self.capacity = <uint32_t>capacity
        return 0
