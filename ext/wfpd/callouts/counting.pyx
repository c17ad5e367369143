"""A compiled callout that counts packets and bytes: the smallest example of one."""

from libc.stdint cimport uint8_t, uint64_t

from wfpd.callouts.api cimport (
    WFPD_BLOCK, WFPD_CONTINUE, WFPD_FAILED, WFPD_PERMIT, WfpdAnswer, WfpdCall, WfpdCallout, callout_capsule, callout_fill,
)

cdef extern from *:
    """
    #include <stdint.h>
    #include <unistd.h>
    static inline void wfpd_count(uint64_t *at, uint64_t n) { __atomic_fetch_add(at, n, __ATOMIC_RELAXED); }
    static inline uint64_t wfpd_counted(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
    """
    void wfpd_count(uint64_t* at, uint64_t n) noexcept nogil
    uint64_t wfpd_counted(const uint64_t* at) noexcept nogil
    int usleep(unsigned int microseconds) noexcept nogil

cdef struct Counts:
    uint64_t packets
    uint64_t octets
    uint8_t kind
    uint8_t clear_right
    unsigned int microseconds

_KINDS = {"continue": WFPD_CONTINUE, "permit": WFPD_PERMIT, "block": WFPD_BLOCK, "fail": WFPD_FAILED}


cdef void _classify(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef Counts* counts = <Counts*>state
    wfpd_count(&counts.packets, 1)
    wfpd_count(&counts.octets, call.original)
    if counts.microseconds:
        usleep(counts.microseconds)
    answer.kind = counts.kind
    answer.clear_right = counts.clear_right


cdef class Counting:
    """Counts what it is asked about and answers `answer`: continue, permit, block, or fail (on_error decides).

    `clear_right` makes a permit or block hard.  Every call takes `seconds` (at most 60), as a slow callout does.
    """

    cdef Counts counts
    cdef WfpdCallout callout
    cdef readonly object native     # The capsule.

    needs_payload = False           # A header is all that it needs: less is copied.

    def __cinit__(self, *, str answer="continue", bint clear_right=False, double seconds=0):
        if answer not in _KINDS:
            raise ValueError(f"answer: {answer!r} is none of {', '.join(_KINDS)}")
        if not 0 <= seconds <= 60:
            raise ValueError(f"seconds: {seconds} is outside 0-60")
        self.counts.microseconds = <unsigned int>(seconds * 1e6)
        self.counts.kind = _KINDS[answer]
        self.counts.clear_right = clear_right
        callout_fill(&self.callout, _classify, &self.counts)
        self.native = callout_capsule(&self.callout)

    @property
    def packets(self) -> int:
        """Calls so far."""
        return wfpd_counted(&self.counts.packets)

    @property
    def octets(self) -> int:
        """Lengths of the packets so far, in bytes."""
        return wfpd_counted(&self.counts.octets)
