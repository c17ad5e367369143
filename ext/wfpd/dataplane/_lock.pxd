"""A lock of one word, held for moments, by threads that need no interpreter."""

from libc.stdint cimport int32_t

cdef extern from *:
    """
    #include <sched.h>
    static inline void wfpd_lock(int32_t *lock) {
        for (int spins = 0; __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE); spins++)
            if (spins > 64) sched_yield();
    }
    static inline void wfpd_unlock(int32_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }
    """
    void wfpd_lock(int32_t* lock) noexcept nogil
    void wfpd_unlock(int32_t* lock) noexcept nogil
