"""What is kept of one callout while it is in use: how to call it, its time budget, what it has cost.

A callout that is over its budget `most` times within `within_ns` is suspended: it is not called, its filters
act by on_error.  After `suspend_ns` one call, the probe, decides whether it comes back.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from wfpd.callouts.api cimport WfpdCallout

cdef extern from "_clock.h":
    uint64_t wfpd_budget_clock "wfpd_monotonic"() noexcept nogil

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t wfpd_budget_read(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void wfpd_budget_write(uint64_t *at, uint64_t n) { __atomic_store_n(at, n, __ATOMIC_RELEASE); }
    static inline void wfpd_budget_add(uint64_t *at, uint64_t n) { __atomic_fetch_add(at, n, __ATOMIC_RELAXED); }
    """
    uint64_t wfpd_budget_read(const uint64_t* at) noexcept nogil
    void wfpd_budget_write(uint64_t* at, uint64_t n) noexcept nogil
    void wfpd_budget_add(uint64_t* at, uint64_t n) noexcept nogil

cdef enum:
    WATCH_BUCKETS = 24              # As _stats.N_BUCKETS.
    CALLS_APART = 8                 # Counters of a cache line, of which each worker has one of its own.

# Written by all workers: totals by atomic additions, the rest under `lock`.
cdef struct WatchState:
    uint64_t suspended_until        # CLOCK_MONOTONIC ns; 0: not suspended.  Read without the lock.
    uint64_t window_ns              # When the first of `overruns` ended.
    uint32_t overruns               # Within this window.
    int32_t lock
    uint32_t probing                # 1: the probe has not returned.
    uint64_t n_overruns
    uint64_t n_suspensions
    uint64_t n_probes
    uint64_t n_skipped              # Calls that were not made because of a suspension.
    uint64_t n_failed               # Answers of a compiled callout that stand for none.
    uint64_t n_sampled              # Calls of a compiled callout whose time was taken for the histogram.
    uint64_t sampled_ns
    uint64_t buckets[WATCH_BUCKETS]
    uint64_t* calls                 # [n_callers * CALLS_APART] Calls of a compiled callout, by Visitor.caller.
    uint32_t n_callers              # 0: nobody counts them.

# By callout number, in a Root; immutable once a filter uses the callout.
cdef struct CalloutSlot:
    const WfpdCallout* native       # NULL: called through Python.
    WatchState* watch               # NULL: a Python callout without a budget.
    uint64_t budget_ns              # 0: none.
    uint64_t within_ns
    uint64_t suspend_ns
    uint32_t most
    uint32_t number                 # Registered.number: its flow contexts are filed under it; 0: it keeps none.
    uint32_t successor              # The number that was registered for its key later; 0: none was.
    uint8_t keeps                   # It has a flow_delete, in Python or compiled: flow contexts can be set for it.
    const char* name                # Zero-terminated.
    const uint8_t* over             # Not 0 there: it is on its way out, and nobody finds it by its name.  NULL: never.

cdef enum Admission:
    SUSPENDED = 0
    ADMITTED = 1
    PROBE = 2

# Whether the callout may be called now; claims the probe where it is time for one.  Only with a budget.
cdef Admission watch_admits(const CalloutSlot* slot, uint64_t now_ns) noexcept nogil

# A call that was admitted has ended; times by CLOCK_MONOTONIC.
cdef void watch_took(const CalloutSlot* slot, Admission admission, uint64_t began_ns, uint64_t ended_ns) noexcept nogil

# The same of a call that has left the answer to another one, which is the probe if this was: it alone proves nothing.
cdef void watch_handed(const CalloutSlot* slot, Admission admission, uint64_t began_ns, uint64_t ended_ns) noexcept nogil

# A call still runs that began long ago: suspend the callout at once, so that no other thread walks into it.
cdef void watch_hangs(const CalloutSlot* slot, uint64_t now_ns) noexcept nogil

# A sampled call's time.
cdef void watch_sample(WatchState* watch, uint64_t nanoseconds) noexcept nogil

# A compiled callout is called; `caller` counts in no other thread.
cdef inline void watch_called(WatchState* watch, uint32_t caller) noexcept nogil:
    if caller < watch.n_callers:
        watch.calls[caller * CALLS_APART] += 1

cdef class Watch:
    cdef WatchState state
    # Count the calls of `n` callers from now on; once, before any of them calls.
    cdef int count_calls(self, uint32_t n) except -1

# Read a callout's budget, watch and compiled form into `slot`; what has to stay alive with it is returned.
# ValueError for a capsule that is none of this abi.
cdef tuple slot_fill(CalloutSlot* slot, item)
