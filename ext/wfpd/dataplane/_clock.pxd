"""The system's clocks in nanoseconds."""

from libc.stdint cimport uint64_t

cdef extern from "_clock.h":
    enum:
        CLOCK_REALTIME
    uint64_t wfpd_clock(int which) noexcept nogil
    uint64_t wfpd_monotonic() noexcept nogil    # CLOCK_MONOTONIC's.
