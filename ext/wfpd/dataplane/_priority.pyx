"""Real-time scheduling of the packet loop, bounded.

Problem: on a host whose processors are all taken, an ordinary thread that a packet wakes waits for the
others' slices: 0.2 to 1.5 ms at the 99th percentile where 0.09 is usual, whatever its nice value (tried
down to -20).  A real-time thread runs at once.  But one that is busy for ever would take the processor
from everybody: so a worker is real-time (SCHED_FIFO, the lowest priority) only while it waits for most
of the time, measured in windows, and never while Python runs.

Without the right to it (CAP_SYS_NICE or RLIMIT_RTPRIO) a worker stays ordinary.
"""

from libc.errno cimport errno
from libc.stdint cimport uint64_t

cdef extern from "<sched.h>" nogil:
    struct sched_param:
        int sched_priority
    int sched_setscheduler(int pid, int policy, const sched_param* parameters)
    int SCHED_OTHER
    int SCHED_FIFO

cdef enum:
    RESET_ON_FORK = 0x40000000      # SCHED_RESET_ON_FORK: nothing that a callout starts inherits it.
    WINDOW_NS = 50000000


cdef int _schedule(int policy, int level) noexcept nogil:
    """Of the calling thread; 0 or an errno."""
    cdef sched_param parameters
    parameters.sched_priority = level
    return errno if sched_setscheduler(0, policy | RESET_ON_FORK, &parameters) else 0


cdef void _raise(Priority* priority) noexcept nogil:
    priority.raised = _schedule(SCHED_FIFO, 1) == 0


cdef void _lower(Priority* priority) noexcept nogil:
    _schedule(SCHED_OTHER, 0)
    priority.raised = 0


cdef int priority_begin(Priority* priority, uint64_t now_ns) noexcept nogil:
    cdef int status = _schedule(SCHED_FIFO, 1)
    priority.permitted = priority.raised = status == 0
    priority.lent = 0
    priority.window_ns = now_ns
    priority.waited_ns = 0
    return status


cdef void priority_waited(Priority* priority, uint64_t nanoseconds) noexcept nogil:
    priority.waited_ns += nanoseconds


cdef void priority_turn(Priority* priority, uint64_t now_ns) noexcept nogil:
    cdef uint64_t length = now_ns - priority.window_ns
    cdef bint calm
    if not priority.permitted or now_ns < priority.window_ns or length < WINDOW_NS:
        return
    calm = 2 * priority.waited_ns >= length
    priority.window_ns = now_ns
    priority.waited_ns = 0
    if calm and not priority.raised:
        _raise(priority)
    elif priority.raised and not calm:
        _lower(priority)


cdef void priority_lend(Priority* priority) noexcept nogil:
    priority.lent = priority.raised
    if priority.lent:
        _lower(priority)


cdef void priority_take_back(Priority* priority) noexcept nogil:
    if priority.lent:
        _raise(priority)
    priority.lent = 0


cdef class Turns:
    """Cold door for tests: the calling thread's priority, by times that the caller gives (nanoseconds)."""

    cdef Priority priority
    cdef readonly int status        # 0, or why it may not be real-time (errno).

    def __init__(self, uint64_t now_ns):
        self.status = priority_begin(&self.priority, now_ns)

    @property
    def raised(self) -> bool:
        """Whether it is believed to be real-time."""
        return bool(self.priority.raised)

    def waited(self, uint64_t nanoseconds) -> None:
        """See priority_waited."""
        priority_waited(&self.priority, nanoseconds)

    def turn(self, uint64_t now_ns) -> None:
        """See priority_turn."""
        priority_turn(&self.priority, now_ns)

    def lend(self) -> None:
        """See priority_lend."""
        priority_lend(&self.priority)

    def take_back(self) -> None:
        """See priority_take_back."""
        priority_take_back(&self.priority)
