"""Which counter slots are in use, over all policies of one engine."""

from libc.stdint cimport int32_t, uint32_t

# Shared by a root and its successors.  A slot is free again when the last root that counts in it is
# gone.  Guarded by `lock`: no GIL is needed.
cdef class CounterSlots:
    cdef int32_t lock
    cdef uint32_t* uses             # [size] Roots that hold the slot.
    cdef uint32_t* unused           # [n_unused] Slots below `size` that none holds.
    cdef uint32_t n_unused
    cdef readonly uint32_t size     # Slots ever given out; a pool of this many counters is enough.
    cdef uint32_t capacity
    # Hold each of `n` slots; NO_FILTER becomes a free one, which is noted in `fresh` ([n]) too.
    # 0, or -1 without memory: then none is held.
    cdef int hold(self, uint32_t* slots, uint32_t n, uint32_t* fresh, uint32_t* n_fresh) noexcept nogil
    cdef void let_go(self, const uint32_t* slots, uint32_t n) noexcept nogil
    cdef uint32_t _take(self) noexcept nogil
    cdef int _reserve(self, uint32_t n) noexcept nogil
