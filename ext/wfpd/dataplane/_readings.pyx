"""What is read of an engine: its progress, and what it has counted, seen and recorded.

By control threads, while the workers go on: each number is some recent value, and two of them may be a packet apart.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t

from ._batch cimport QueueState, Worker
from ._context cimport ClassifyContext
from ._last_hits import hottest_of
from ._recorder cimport recorder_counts, recorder_filters, recorder_oldest, recorder_read
from ._report import add_counts
from ._report cimport callout_durations, event_dict, queue_dict
from ._ring cimport EventRing, ring_peek, ring_pop
from ._stats cimport EventRecord
from ._table cimport Snapshot


cdef class Readings:
    """The part of an engine that control threads look at; `_engine` fills it."""

    cdef Worker* _worker(self, uint32_t index) noexcept:
        return &self.workers[index] if index < self.n_workers else &self.parking.lot.worker

    cdef QueueState* _queue(self, number) except NULL:
        cdef Worker* worker = self._worker(self.queue_workers[number])
        cdef uint32_t i
        for i in range(worker.n_queues):
            if worker.queues[i].number == number:
                return worker.queues[i]
        raise KeyError(number)

    def decided_through(self, number) -> int:
        """The id up to which every packet of the queue has a verdict."""
        return self._queue(number).ids.decided_through

    def progress(self) -> list:
        """(state, turns of the loop) of each worker, then of the parking queue's thread if there is one.

        A running one turns at least every 250 ms.
        """
        return [(state, self._worker(i).progress) for i, state in enumerate(self.states)]

    def filter_hits(self, slots) -> list:
        """Hits by counter slot, summed over the workers."""
        slots = list(slots)
        return [sum(column) for column in zip(*[stats.hits(slots) for stats in self.stats])]

    def callout_errors(self) -> dict:
        """How often each callout failed, by name."""
        found = {}
        for context in self.contexts:
            add_counts(found, dict((<ClassifyContext>context).errors))
        add_counts(found, dict(self.flows.contexts.errors))
        add_counts(found, {name: watch["failed"] for name, watch in self.callout_watches().items() if watch["failed"]})
        return found

    def callout_watches(self) -> dict:
        """What is counted of the running policy's callouts that are compiled or have a budget, by name (`Watch.counters`)."""
        return {} if self.current is None else (<Snapshot>self.current.snapshot).root.watches()

    def callout_calls(self) -> dict:
        """How often each callout's classify was called, by name."""
        found = {}
        for context in self.contexts:
            add_counts(found, {name: entry[0] for name, entry in list((<ClassifyContext>context).durations.items())})
        # What the interpreter calls of a compiled one is its `pended`.
        found.update({name: watch["calls"] for name, watch in self.callout_watches().items() if watch["compiled"]})
        return found

    def sweep_hits(self, double now) -> None:
        """Find out which filters were hit since the last sweep; `now` in seconds since the epoch.  By one thread."""
        if self.current is not None:
            self.last.sweep(self.stats, (<Snapshot>self.current.snapshot).root.slots.size, now)

    def last_hits(self, slots) -> list:
        """By counter slot: when it was last found to have been hit, seconds since the epoch; 0.0 if it never was."""
        return [self.last.of(slot) for slot in slots]

    def hottest(self, uint32_t n) -> list:
        """(filter number, hits) of the running policy's `n` filters with most hits, the hottest first."""
        return [] if self.current is None else hottest_of(self.current.snapshot, self.stats, n)

    def counters(self) -> dict:
        """Everything counted, summed over the workers, cumulative since the start."""
        total = {}
        for stats in self.stats:
            add_counts(total, stats.counters())
        total["queues"] = {number: queue_dict(self._queue(number)) | {"worker": self.queue_workers[number]}
                           for number in sorted(self.queue_workers)}
        total["callout_errors"], total["callout_watches"] = self.callout_errors(), self.callout_watches()
        total["callout_durations"] = {}
        for context in self.contexts:
            add_counts(total["callout_durations"], callout_durations(context))
        for name, watch in total["callout_watches"].items():
            if watch["duration"]["count"]:
                add_counts(total["callout_durations"], {name: watch["duration"]})
        total["flow_contexts"] = {"used": len(self.flows.contexts), "capacity": self.flows.contexts.capacity,
                                  "refused": self.flows.contexts.refused}
        total["parking"] = {} if self.parking is None else self.parking.counters()
        total["flows"] = {"used": len(self.flows), "capacity": self.flows.capacity,
                          "evictions": self.flows.evictions()}
        total["workers"] = self.progress()
        return total

    def drain_events(self, limit=1024) -> list:
        """Up to `limit` events, oldest first within a worker, as dicts; for one consumer thread.

        `filter` and `callout` are indexes in the snapshot of `generation`; `bytes` are the packet's
        first 96.
        """
        cdef const EventRecord* record
        cdef EventRing* ring
        found = []
        for i in range(len(self.states)):
            ring = &self._worker(i).ring
            while len(found) < limit:
                record = ring_peek(ring)
                if record == NULL:
                    break
                found.append(event_dict(record))
                ring_pop(ring)
        return found

    # -------------------------------------------------------------------------------- recorder

    @property
    def n_recorders(self) -> int:
        """One a worker, and the parking queue's."""
        return len(self.states)

    def recorded(self, uint32_t recorder, int64_t since_ns=0) -> list:
        """What one of the recorders holds whose last packet came at `since_ns` (CLOCK_REALTIME) or later, as dicts.

        In no order.  `filter` and `callout`, also those of `rows`, which are (slot, action, right, filter, discard),
        are indexes in the snapshot of `generation`; `bytes` are the packet's first 128.
        """
        if recorder >= len(self.states):
            raise IndexError(recorder)
        return recorder_read(&self._worker(recorder).recorder, since_ns)

    def recorded_filters(self) -> set:
        """(generation, filter) of every filter that a record names."""
        found = set()
        for i in range(len(self.states)):
            recorder_filters(&self._worker(i).recorder, found)
        return found

    def recorder_counts(self) -> dict:
        """Records kept, overwritten since the start, the room for them, and when the oldest began (`oldest_ns`, or None)."""
        cdef int64_t oldest = INT64_MAX
        total = {}
        for i in range(len(self.states)):
            add_counts(total, recorder_counts(&self._worker(i).recorder))
            oldest = min(oldest, recorder_oldest(&self._worker(i).recorder))
        return total | {"oldest_ns": None if oldest == INT64_MAX else oldest}
