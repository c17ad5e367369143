"""Time budgets of callouts: suspended when they are over too often, probed when the time is up.

After Snort's latency.rule.  A call costs two readings of the clock where there is a budget, and one load
where the callout is suspended; the lock is taken only by a call that was too slow or is a probe.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from wfpd.callouts._capsule cimport capsule_read

from ._lock cimport wfpd_lock, wfpd_unlock

_ADMISSIONS = ("suspended", "admitted", "probe")


cdef void watch_sample(WatchState* watch, uint64_t nanoseconds) noexcept nogil:
    cdef uint64_t left = (nanoseconds - 1) >> 8 if nanoseconds else 0
    cdef uint32_t bucket = 0
    while left and bucket < WATCH_BUCKETS - 1:
        left >>= 1
        bucket += 1
    wfpd_budget_add(&watch.n_sampled, 1)
    wfpd_budget_add(&watch.sampled_ns, nanoseconds)
    wfpd_budget_add(&watch.buckets[bucket], 1)


cdef Admission watch_admits(const CalloutSlot* slot, uint64_t now_ns) noexcept nogil:
    cdef WatchState* watch = slot.watch
    cdef Admission admission = ADMITTED
    if wfpd_budget_read(&watch.suspended_until) == 0:
        return ADMITTED
    wfpd_lock(&watch.lock)
    if watch.suspended_until and (watch.probing or now_ns < watch.suspended_until):
        admission = SUSPENDED
    elif watch.suspended_until:
        admission = PROBE
        watch.probing = 1
        watch.n_probes += 1
    wfpd_unlock(&watch.lock)
    if admission == SUSPENDED:
        wfpd_budget_add(&watch.n_skipped, 1)
    return admission


cdef void _suspend(const CalloutSlot* slot, uint64_t now_ns) noexcept nogil:
    """The lock is held."""
    slot.watch.overruns = 0
    wfpd_budget_write(&slot.watch.suspended_until, now_ns + slot.suspend_ns)


cdef void _over(const CalloutSlot* slot, uint64_t ended_ns) noexcept nogil:
    """A call that was no probe was too slow.  The lock is held."""
    cdef WatchState* watch = slot.watch
    if watch.suspended_until:
        return                      # It began before the suspension.
    if watch.overruns == 0 or ended_ns - watch.window_ns > slot.within_ns:
        watch.overruns, watch.window_ns = 0, ended_ns
    watch.overruns += 1
    if watch.overruns >= slot.most:
        watch.n_suspensions += 1
        _suspend(slot, ended_ns)


cdef void watch_took(const CalloutSlot* slot, Admission admission, uint64_t began_ns, uint64_t ended_ns) noexcept nogil:
    cdef WatchState* watch = slot.watch
    cdef bint over = ended_ns > began_ns and ended_ns - began_ns > slot.budget_ns
    if not over and admission != PROBE:
        return
    wfpd_lock(&watch.lock)
    watch.n_overruns += over
    if admission == PROBE:
        watch.probing = 0
        if over:
            _suspend(slot, ended_ns)
        else:
            wfpd_budget_write(&watch.suspended_until, 0)
    else:
        _over(slot, ended_ns)
    wfpd_unlock(&watch.lock)


cdef void watch_handed(const CalloutSlot* slot, Admission admission, uint64_t began_ns, uint64_t ended_ns) noexcept nogil:
    if admission != PROBE or (ended_ns > began_ns and ended_ns - began_ns > slot.budget_ns):
        watch_took(slot, admission, began_ns, ended_ns)
        return
    wfpd_lock(&slot.watch.lock)
    slot.watch.probing = 0
    slot.watch.n_probes -= 1
    wfpd_unlock(&slot.watch.lock)


cdef void watch_hangs(const CalloutSlot* slot, uint64_t now_ns) noexcept nogil:
    wfpd_lock(&slot.watch.lock)
    if slot.watch.suspended_until == 0:
        slot.watch.n_suspensions += 1
        _suspend(slot, now_ns)
    wfpd_unlock(&slot.watch.lock)


cdef class Watch:
    """Counts and the suspension of one callout; kept over reloads of the policy."""

    def __cinit__(self):
        memset(&self.state, 0, sizeof(WatchState))

    def __dealloc__(self):
        free(self.state.calls)

    cdef int count_calls(self, uint32_t n) except -1:
        if self.state.calls == NULL:
            self.state.calls = <uint64_t*>calloc(<size_t>n * CALLS_APART, sizeof(uint64_t))
            if self.state.calls == NULL:
                raise MemoryError()
            self.state.n_callers = n
        return 0

    def counters(self) -> dict:
        """`suspended`, totals (`overruns`, `suspensions`, `probes`, `skipped`, `failed`, `calls`), `duration` of sampled
        calls; `calls` and `duration` of a compiled callout only."""
        cdef WatchState* state = &self.state
        return {
            "suspended": wfpd_budget_read(&state.suspended_until) != 0,
            "overruns": state.n_overruns, "suspensions": state.n_suspensions, "probes": state.n_probes,
            "skipped": wfpd_budget_read(&state.n_skipped), "failed": wfpd_budget_read(&state.n_failed),
            "calls": sum(state.calls[i * CALLS_APART] for i in range(state.n_callers)),
            "duration": {"count": wfpd_budget_read(&state.n_sampled), "sum": wfpd_budget_read(&state.sampled_ns) / 1e9,
                         "buckets": [state.buckets[i] for i in range(WATCH_BUCKETS)]},
        }


cdef tuple slot_fill(CalloutSlot* slot, item):
    cdef Watch watch
    made = getattr(item, "__self__", None)      # Of a method.
    capsule, budget, kept = (getattr(item, name, getattr(made, name, None)) for name in ("native", "budget", "watch"))
    memset(slot, 0, sizeof(CalloutSlot))
    slot.number = getattr(item, "number", 0)
    slot.keeps = getattr(item, "flow_delete", None) is not None
    over = getattr(item, "over", None)
    if isinstance(over, bytearray):
        slot.over = <const uint8_t*>PyByteArray_AS_STRING(over)
    if capsule is not None:
        slot.native = capsule_read(capsule)
        slot.keeps |= slot.native.flow_delete != NULL
    if capsule is not None or budget is not None:
        watch = kept if isinstance(kept, Watch) else Watch()
        slot.watch = &watch.state
        if kept is None and hasattr(item, "watch"):
            item.watch = watch      # The next tables with this callout go on with it.
        kept = watch
    if budget is not None:
        slot.budget_ns, slot.within_ns = budget.time_ns, budget.within_ns
        slot.suspend_ns, slot.most = budget.suspend_ns, budget.times
    return capsule, kept, item


def drive(budget, calls) -> list:
    """Door for tests: for each (began_ns, ended_ns) "suspended", "admitted" or "probe"; the last entry is the Watch."""
    cdef CalloutSlot slot
    cdef uint64_t began, ended
    cdef Admission admission
    cdef Watch watch = Watch()

    class Item:
        pass

    item = Item()
    item.budget, item.watch = budget, watch
    slot_fill(&slot, item)
    found = []
    for began, ended in calls:
        admission = watch_admits(&slot, began)
        found.append(_ADMISSIONS[<int>admission])
        if admission != SUSPENDED:
            watch_took(&slot, admission, began, ended)
    return [*found, watch]
