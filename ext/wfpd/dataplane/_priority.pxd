"""A worker's place before other work of the host, while it takes little of a processor."""

from libc.stdint cimport uint8_t, uint64_t

cdef struct Priority:
    uint8_t permitted               # The thread may have a real-time priority.
    uint8_t raised                  # It has one.
    uint8_t lent                    # Raised before, and ordinary for as long as Python runs.
    uint64_t window_ns              # CLOCK_MONOTONIC; where the window being measured began.
    uint64_t waited_ns              # Within it: how long the thread waited for packets.

# Give the calling thread a real-time priority.  0, or an errno: it stays as it is, and so does all that follows.
cdef int priority_begin(Priority* priority, uint64_t now_ns) noexcept nogil

# The thread has waited.
cdef void priority_waited(Priority* priority, uint64_t nanoseconds) noexcept nogil

# At the end of a window: ordinary if the thread was busy for most of it, else raised.
cdef void priority_turn(Priority* priority, uint64_t now_ns) noexcept nogil

# Around what may take any time, a callout in Python: it is never real-time.
cdef void priority_lend(Priority* priority) noexcept nogil
cdef void priority_take_back(Priority* priority) noexcept nogil
