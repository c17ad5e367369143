"""The packet loop, and everything that crosses between it and Python.

Threads: each worker runs run_worker() in a thread of its own and touches only its Worker.
Everything else is called by control threads.  A policy is published by one pointer store; the old
one is released when every worker has been seen outside a batch since (the epochs), or waits in a
graveyard until it has been.

The GIL is taken once a batch, by the first packet that asks for a Python callout, and kept to the
batch's end.  A packet that a callout parks goes to the parking queue (_parking), which has a thread of
its own, run_parking().  A callout that raises, or anything of ours that does, costs its packet an on_error
verdict and nothing else: no packet leaves this file without a verdict.
"""

from cpython.ref cimport PyObject
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

import logging
import os
import threading
import time

from wfpd.errors import KernelError

from ._arbitrate cimport CalloutAnswer
from ._batch cimport (
    MAX_QUEUES, QueueState, Shared, Worker, batch_begin_packet, batch_decide, batch_enforce_late,
    batch_finish, batch_hold, batch_is_late, batch_note_block, batch_park, batch_receive, batch_settle, batch_settle_word,
    clock_monotonic, wfpd_read, wfpd_read32, worker_create, worker_free,
)
from ._budget cimport watch_hangs, wfpd_budget_read
from ._context cimport ClassifyContext
from ._flow cimport Flows
from ._host cimport Host
from ._last_hits cimport LastHits
from ._parking cimport Lot, ParkedPacket, Parking, Ticket, lot_begin, lot_end, lot_enforce_late, lot_serve
from ._priority cimport priority_begin, priority_lend, priority_take_back, priority_turn, priority_waited
from ._publication cimport Publication
from ._readings cimport Readings
from ._recorder cimport MOST_RECORDS
from ._report import CalloutFailures, HOOKS
from ._root cimport Root
from ._socket cimport CONFIG_COPY, CONFIG_FLAGS, CONFIG_LENGTH, ConfigItem, POLLIN, config_send, fail_open_value, poll, pollfd
from ._socket import queue_error
from ._stage cimport Stage
from ._stats cimport Stats, stats_begin, stats_reserve
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport (
    VISIT_CALLOUT, VISIT_DONE, VisitStep, Visitor, visit_abandon, visit_answer, visit_is_native, visit_native,
)

cdef extern from *:
    """
    static inline void wfpd_store(void *at, void *value) { __atomic_store_n((void **)at, value, __ATOMIC_SEQ_CST); }
    """
    void wfpd_store(void* at, void* value) noexcept nogil

cdef enum:
    IDLE_MILLISECONDS = 250         # An idle worker shows progress this often.
    QUIET_MILLISECONDS = 20         # A stopping worker's queues have to be empty this long.

logger = logging.getLogger("wfpd.engine")
_LIMIT = 1 << 16


cdef class Engine(Readings):
    """The live packet path: workers, their queues, and the policy they use.  What is read of it: Readings."""

    cdef Shared shared
    cdef object publishing          # Lock: of `current` and `graveyard`.
    cdef list graveyard             # (what was replaced, (worker, its epoch) of those in a batch then)
    cdef Stage staged               # Its rings are the workers'; None: no policy is staged.
    cdef uint32_t recorder          # Blocks recorded by each worker.
    cdef bint realtime              # Workers ask for a real-time priority (_priority).
    cdef uint32_t n_serving         # Workers in run_worker().
    cdef int stop_read
    cdef int stop_write
    cdef uint64_t stop_at_ns        # 0: not stopping; else when to give up draining.
    cdef uint32_t sequence          # Of configuration messages.

    def __cinit__(self, uint32_t n_workers, *, flows_max=262144, flows_block_when_full=False, streams=None,
                  marks_mask=0xFFF00000, late_after=0.5, batch=64, events=4096, uint32_t recorder=4096,
                  bint realtime=False):
        cdef uint32_t i
        cdef Stats stats
        self.stop_read = self.stop_write = -1
        if not 1 <= n_workers <= 1024 or not 1 <= batch <= 1024 or not 1 <= marks_mask < 1 << 32:
            raise ValueError("Engine: workers and batch are 1 to 1024, marks_mask 32 bits")
        self.workers = <Worker*>calloc(n_workers, sizeof(Worker))
        if self.workers == NULL:
            raise MemoryError
        if recorder > MOST_RECORDS:
            raise ValueError(f"Engine: recorder is 0 to {int(MOST_RECORDS)} blocks a worker")
        self.shared.marks_mask = marks_mask
        self.recorder = recorder
        self.realtime = realtime
        self.shared.marks_shift = (marks_mask & -marks_mask).bit_length() - 1
        self.publishing = threading.Lock()
        self.late_after = late_after
        self.last = LastHits()
        self.flows = Flows(flows_max, flows_block_when_full, streams=streams)
        self.graveyard, self.stats, self.contexts, self.states = [], [], [], []
        self.queue_workers, failures = {}, CalloutFailures()
        self.stop_read, self.stop_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for i in range(n_workers):
            stats = Stats()
            if worker_create(&self.workers[i], &self.shared, stats.worker, &self.flows.table, i, batch, events, recorder):
                raise MemoryError
            self.n_workers = i + 1
            context = ClassifyContext()
            context.on_error = failures
            self.flows.contexts.on_error = failures
            self.stats.append(stats)
            self.contexts.append(context)
            self.states.append("new")

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.n_workers):
            worker_free(&self.workers[i])
        free(self.workers)
        for fd in (self.stop_read, self.stop_write):
            if fd >= 0:
                os.close(fd)

    # ------------------------------------------------------------------------------ publishing

    @property
    def late_after(self) -> float:
        """Seconds a packet may wait for a callout before on_late decides it."""
        return self.shared.late_after_ns / 1e9

    @late_after.setter
    def late_after(self, seconds):
        self.shared.late_after_ns = int(seconds * 1e9)

    @property
    def snapshot(self):
        """The published policy, or None."""
        return None if self.current is None else self.current.snapshot

    def swap(self, Snapshot snapshot not None, *, timeout=1.0) -> bool:
        """Publish a policy.  True when every worker has left its last batch under the old one.

        On False the new policy is published all the same; a worker still holds the old one.
        """
        cdef Root root = snapshot.root
        cdef Stats stats
        with self.publishing:
            for stats in self.stats:
                if stats_reserve(stats.worker, root.slots.size):
                    raise MemoryError(f"{root.slots.size} filter counters")
                with nogil:
                    stats_begin(stats.worker, root.fresh + root.n_begun, root.n_fresh - root.n_begun)
            root.n_begun = root.n_fresh
            self.flows.contexts.expect(snapshot.callouts)
            root.count_calls(self.n_workers + 1)    # And the parking queue's thread.
            self._publish(snapshot, None if self.current is None else self.current.host)
        return self._wait_for_readers(timeout)

    def set_host(self, Host host not None, *, timeout=1.0) -> bool:
        """Publish a new view of the host beside the running policy; like swap()."""
        with self.publishing:
            if self.current is None:
                raise RuntimeError("set_host() needs a policy: call swap() first")
            self._publish(self.current.snapshot, host)
        return self._wait_for_readers(timeout)

    def stage(self, Stage stage not None) -> None:
        """Give every packet that is decided from now on to a staged policy too.  RuntimeError if there is one."""
        with self.publishing:
            if self.staged is not None:
                raise RuntimeError("a policy is staged already")
            if stage.rings.n_rings <= self.n_workers:
                raise ValueError(f"the stage has {stage.rings.n_rings} rings for {self.n_workers} workers and parking")
            stage.attach(self.shared.hooks_attached)
            self.staged = stage
            wfpd_store(&self.shared.stage, stage.rings)

    def unstage(self, *, timeout=1.0) -> bool:
        """Give it no more packets.  True when no worker writes any more; else reap() lets go of it later."""
        with self.publishing:
            old, self.staged = self.staged, None
            wfpd_store(&self.shared.stage, NULL)
            if old is not None:
                self._retire(old)
        return self._wait_for_readers(timeout)

    cdef int _publish(self, Snapshot snapshot, Host host) except -1:
        """One store; `publishing` is held, so that no thread puts an older snapshot or host back."""
        cdef Publication old = self.current
        cdef Publication publication = Publication(snapshot, host, self.n_workers + 1)    # And the parking queue's thread.
        wfpd_store(&self.shared.current, &publication.c)
        self.current = publication
        if old is not None:
            self._retire(old)
        return 0

    def fence(self) -> None:
        """From now on reap() is False until every batch that is under way has ended."""
        with self.publishing:
            self._retire(None)

    cdef int _retire(self, old) except -1:
        """Keep what no pointer leads to any more until every worker that may hold it has left its batch."""
        # An even epoch: outside a batch when the pointer changed, so the next batch has the new one.
        epochs = [(i, epoch) for i in range(len(self.states)) if (epoch := wfpd_read(&self._worker(i).epoch)) & 1]
        self.graveyard.append((old, epochs))
        return 0

    cdef bint _wait_for_readers(self, timeout) except -1:
        """Whether nobody holds a replaced policy any more, after at most `timeout` seconds."""
        end = time.monotonic() + timeout
        while not self.reap():
            if time.monotonic() >= end:
                return False
            time.sleep(0.0005)
        return True

    def reap(self) -> bool:
        """Release replaced policies that no worker can hold any more; True when none is left."""
        with self.publishing:
            gone, self.graveyard = self.graveyard, [old for old in self.graveyard if self._in_use(old[1])]
            left = bool(self.graveyard)
        del gone                    # Freed here, where nobody waits for the lock.
        return not left

    cdef bint _in_use(self, list epochs) except -1:
        for i, epoch in epochs:
            if wfpd_read(&self._worker(i).epoch) == epoch:
                return True
        return False

    def set_injections(self, injections) -> None:
        """Let callouts inject packets by these handles (wfpd.injection.handles.Injections); None: not any more."""
        for context in self.contexts:
            (<ClassifyContext>context).injections = injections
        self.shared.injects = injections is not None

    # ---------------------------------------------------------------------------------- queues

    def add_queue(self, uint16_t number, uint32_t worker, int fd, hook=None) -> None:
        """Give a bound and configured queue to a worker that does not run yet.

        From here on nobody else reads `fd`; the caller keeps it open until the worker has ended.
        `hook` is the name of a hook that feeds it, if set_hooks() is not called.
        """
        if worker >= self.n_workers or self.states[worker] != "new" or number in self.queue_workers:
            raise ValueError(f"queue {number}, worker {worker}: no such worker, it runs, or the queue is served")
        if self.workers[worker].n_queues == MAX_QUEUES:
            raise ValueError(f"a worker serves at most {MAX_QUEUES} queues")
        self._give_queue(&self.workers[worker], number, fd)
        self.queue_workers[number] = worker
        if hook is not None:
            self.shared.hooks_attached |= 1 << HOOKS.index(hook)

    def add_parking(self, uint16_t number, int fd, *, uint32_t capacity, uint64_t memory=32 << 20,
                    uint32_t events=1024) -> None:
        """Give a bound and configured queue to packets that callouts park, `capacity` and `memory` bytes at once.

        From here on nobody else reads `fd`; run_parking() serves it.  May be called once, at any time.
        """
        cdef Stats stats = Stats()
        cdef Parking parking = Parking()
        if self.parking is not None or number in self.queue_workers or not 1 <= capacity <= _LIMIT:
            raise ValueError(f"parking queue {number}: there is one, the queue is served, or capacity is 1 to {_LIMIT}")
        parking.open(&self.shared, stats.worker, &self.flows.table, self.n_workers, capacity, memory, events, self.recorder)
        self._give_queue(&parking.lot.worker, number, fd)
        context = ClassifyContext()
        context.on_error = (<ClassifyContext>self.contexts[0]).on_error
        context.injections = (<ClassifyContext>self.contexts[0]).injections
        with self.publishing:
            if self.current is not None and stats_reserve(stats.worker, self.current.snapshot.root.slots.size):
                raise MemoryError("filter counters")
            self.stats.append(stats)
        self.parking = parking      # From here on nothing fails: it can be tried again until then.
        self.contexts.append(context)
        self.states.append("new")
        self.queue_workers[number] = self.n_workers
        for i in range(self.n_workers):
            self.workers[i].visitor.edit.keeps = 1
        for context in self.contexts:
            (<ClassifyContext>context).parking = parking
            (<ClassifyContext>context).joined = parking.joined

    cdef int _give_queue(self, Worker* worker, uint16_t number, int fd) except -1:
        cdef QueueState* queue = <QueueState*>calloc(1, sizeof(QueueState))
        if queue == NULL:
            raise MemoryError
        queue.fd = fd
        queue.number = number
        worker.queues[worker.n_queues] = queue
        worker.n_queues += 1
        return 0

    def set_hooks(self, names) -> None:
        """Say which hooks are attached: prerouting and postrouting take over a layer of input and output."""
        cdef uint8_t bits = 0
        for name in names:
            bits |= 1 << HOOKS.index(name)
        self.shared.hooks_attached = bits

    def set_copy_bytes(self, number, copy_bytes, *, timeout=2.0) -> None:
        """Change how much of each packet is handed over, while the worker runs."""
        self._configure(number, CONFIG_COPY, copy_bytes, timeout)

    def set_length(self, number, length, *, timeout=2.0) -> None:
        """Change how many packets the queue holds, while the worker runs."""
        if length < 1:
            raise ValueError("a queue of length 0 drops everything")
        self._configure(number, CONFIG_LENGTH, length, timeout)

    def set_fail_open(self, number, fail_open, *, timeout=2.0) -> None:
        """Say what overflow of the queue or its socket means from now on: pass (True) or drop."""
        self._configure(number, CONFIG_FLAGS, fail_open_value(fail_open), timeout)

    cdef int _configure(self, number, ConfigItem item, uint64_t value, timeout) except -1:
        # The worker reads the kernel's answer from the socket that it owns and leaves it here.
        cdef QueueState* queue = self._queue(number)
        self.sequence += 1
        error = -config_send(queue.fd, queue.number, self.sequence, item, value)
        end = time.monotonic() + timeout
        while not error:
            if wfpd_read32(&queue.answer_sequence) == self.sequence:
                error = queue.answer_error
                break
            if time.monotonic() > end:
                raise KernelError(f"queue {number}: no answer from the kernel (is its worker running?)")
            time.sleep(0.001)
        if error:
            raise queue_error(number, error, "changing its configuration")
        return 0

    # -------------------------------------------------------------------------------- the loop

    def run_worker(self, uint32_t index) -> None:
        """Serve the worker's queues until stop(); call it in a thread of its own.

        Raises KernelError when a queue's socket fails; the worker is then dead and the process has
        to end (with bypass rules one dead queue is a hole).
        """
        cdef int status
        if self.current is None or index >= self.n_workers or self.states[index] != "new":
            raise RuntimeError("run_worker() needs a policy, and a worker that has not run")
        self.states[index] = "running"
        self.n_serving += 1
        if self.realtime:
            status = priority_begin(&self.workers[index].priority, clock_monotonic())
            if status:
                logger.info("worker %d stays at ordinary priority: %s", index, os.strerror(status))
        try:
            with nogil:
                status = self._loop(&self.workers[index])
            if status:
                raise KernelError(f"worker {index}: {os.strerror(-status)} on queue {self.workers[index].queue.number}")
            self.states[index] = "stopped"
        except BaseException:
            self.states[index] = "dead"
            raise
        finally:
            self.n_serving -= 1

    def run_parking(self) -> None:
        """Serve the parking queue until stop(), and until the workers have ended; in a thread of its own.

        Whatever is parked then gets on_late.  Raises KernelError when the queue's socket fails.
        """
        cdef int status
        if self.parking is None or self.current is None or self.states[self.n_workers] != "new":
            raise RuntimeError("run_parking() needs add_parking(), a policy, and runs once")
        self.states[self.n_workers] = "running"
        try:
            with nogil:
                status = lot_serve(&self.parking.lot, &self.stop_at_ns, self.stop_read, &self.n_serving)
                while status > 0:
                    status = self._resume_parked(&self.parking.lot)
                    if status == 0:
                        status = lot_serve(&self.parking.lot, &self.stop_at_ns, self.stop_read, &self.n_serving)
            if status:
                raise KernelError(f"parking queue {self.parking.lot.worker.queues[0].number}: {os.strerror(-status)}")
            self.states[self.n_workers] = "stopped"
        except BaseException:
            self.states[self.n_workers] = "dead"
            raise

    cdef int _resume_parked(self, Lot* lot) noexcept nogil:
        """Go on with the visits of parked packets whose callouts have answered, the oldest first; 0 or -errno."""
        cdef int status = 0
        cdef Ticket* ticket = lot_begin(lot)
        while ticket != NULL and status == 0:
            if lot.worker.published.policy.generation != ticket.generation:
                with gil:
                    self._renumber(ticket)
            if batch_decide(&lot.worker) == VISIT_CALLOUT:
                batch_hold(&lot.worker)
                with gil:
                    self._finish_held(&lot.worker)
            status = batch_finish(&lot.worker)
            lot_end(lot)
            ticket = lot_begin(lot) if status == 0 else NULL
        return status

    cdef void _renumber(self, Ticket* ticket) noexcept:
        cdef Lot* lot = &self.parking.lot
        cdef ParkedPacket handle = self.parking.handles[<uint32_t>(ticket - lot.tickets)]
        try:
            handle.renumber(<Snapshot><PyObject*>lot.worker.published.snapshot)
        except Exception:           # A fault of ours: the callouts are asked once more.
            logger.exception("fault while a parked packet's answers are carried over to another policy")
            handle.resume.n, handle.resume.gone = 1, 1
            handle.resume.answers[0].filter = NO_FILTER

    cdef int _loop(self, Worker* worker) noexcept nogil:
        """0 when stopped, -errno when a queue failed."""
        cdef uint32_t i
        cdef int n, status, quiet = 0
        cdef bint busy, more
        while True:
            busy = more = False
            for i in range(worker.n_queues):
                n = self._batch(worker, worker.queues[i])
                if n < 0:
                    return n
                busy |= n > 0
                more |= n == <int>worker.arena.n_slots    # Less means that the socket was read empty.
            worker.progress += 1
            priority_turn(&worker.priority, worker.received_ns)
            if self.stop_at_ns and clock_monotonic() > self.stop_at_ns:
                return 0
            if more:
                quiet = 0
                continue
            if busy:
                quiet = 0
            elif self.stop_at_ns and quiet == 2:
                return 0
            quiet += self.stop_at_ns != 0
            status = self._wait(worker)
            if status:
                return status

    cdef int _batch(self, Worker* worker, QueueState* queue) noexcept nogil:
        """Packets decided, or -errno."""
        cdef int n = batch_receive(worker, queue), status
        if n <= 0:
            worker.queue = queue
            return n
        if batch_decide(worker) == VISIT_CALLOUT:
            batch_hold(worker)
            priority_lend(&worker.priority)
            with gil:
                self._finish_held(worker)
            priority_take_back(&worker.priority)
        status = batch_finish(worker)
        return status if status else n

    cdef int _wait(self, Worker* worker) noexcept nogil:
        cdef pollfd fds[MAX_QUEUES + 1]
        cdef uint32_t i
        cdef uint64_t began = clock_monotonic() if worker.priority.permitted else 0
        for i in range(worker.n_queues):
            fds[i].fd = worker.queues[i].fd
            fds[i].events = POLLIN
        fds[worker.n_queues].fd = self.stop_read
        fds[worker.n_queues].events = POLLIN
        if self.stop_at_ns:         # The stop pipe stays readable: only the queues are waited for.
            i = poll(fds, worker.n_queues, QUIET_MILLISECONDS) < 0
        else:
            i = poll(fds, worker.n_queues + 1, IDLE_MILLISECONDS) < 0
        if began:
            priority_waited(&worker.priority, clock_monotonic() - began)
        return -errno if i and errno != EINTR else 0

    cdef void _finish_held(self, Worker* worker) noexcept:
        """Settle the rest of a batch, of which packet worker.next asks for a callout.  GIL held."""
        try:
            self._call_callouts(worker)
        except BaseException:       # A fault of ours; callouts are guarded one by one.
            logger.exception("fault while deciding a batch; on_error decides the rest")
            if worker.resumed_ns and worker.next < worker.n:
                self.parking.lot.again = 0
            (<ClassifyContext>self.contexts[worker.index]).settle_flow(&worker.visitor)
        while worker.next < worker.n:
            batch_settle_word(worker, worker.published.policy.on_error, REASON_ERROR, NO_FILTER)

    cdef int _call_callouts(self, Worker* worker) except -1:
        cdef ClassifyContext context = self.contexts[worker.index]
        cdef Snapshot snapshot = <Snapshot><PyObject*>worker.published.snapshot
        cdef CalloutAnswer answer
        cdef VisitStep step = VISIT_CALLOUT
        cdef uint32_t asked
        cdef ParkedPacket parked
        context.worker = worker
        if worker.resumed_ns:
            context.resumed = self.parking.handles[<uint32_t>(self.parking.lot.visited - self.parking.lot.tickets)]
        while worker.next < worker.n:
            asked, parked = NO_FILTER, None
            while step == VISIT_CALLOUT:
                if worker.visitor.in_twin:
                    batch_note_block(worker)
                if batch_is_late(worker):
                    break
                asked = worker.visitor.arbitration.asked
                if visit_is_native(&worker.visitor):
                    with nogil:
                        visit_native(&worker.visitor, &answer)
                if not visit_is_native(&worker.visitor):
                    parked = context.call(&worker.visitor, snapshot, &answer)
                if parked is not None or batch_is_late(worker):
                    break
                step = self._go_on(worker, &answer)
            if parked is not None:
                context.keep_flow(&worker.visitor, parked)  # Before others may go on with it.
                if batch_park(worker, self.parking.lot.worker.queues[0].number):
                    self.parking.left(parked)
                    step = self._next_packet(worker)
                    continue
                self.parking.forget(parked)
            if step == VISIT_CALLOUT and not (worker.decided[worker.next] and visit_abandon(&worker.visitor)):
                batch_settle_word(worker, snapshot.policy.on_late, REASON_LATE,
                                  worker.visitor.arbitration.asked if asked == NO_FILTER else asked)
            else:
                batch_settle(worker)
            context.settle_flow(&worker.visitor)
            step = self._next_packet(worker)
        context.resumed = None
        return 0

    cdef VisitStep _next_packet(self, Worker* worker) noexcept:
        """Begin the next packet that is not answered yet."""
        while worker.next < worker.n and worker.outcomes[worker.next].given:
            batch_settle_word(worker, worker.published.policy.on_late, REASON_LATE, NO_FILTER)
        return self._go_on(worker, NULL) if worker.next < worker.n else VISIT_DONE

    cdef VisitStep _go_on(self, Worker* worker, const CalloutAnswer* answer) noexcept:
        """Go on with the visit, or, without an answer, begin the next packet's; without the GIL if it may call others."""
        cdef VisitStep step
        if not worker.published.policy.has_native:
            return batch_begin_packet(worker) if answer == NULL else visit_answer(&worker.visitor, answer)
        with nogil:
            step = batch_begin_packet(worker) if answer == NULL else visit_answer(&worker.visitor, answer)
        return step

    def enforce_late(self, now_ns=None) -> int:
        """Give on_late to every packet held too long; for a monitor thread.  Returns how many."""
        cdef uint64_t now = clock_monotonic() if now_ns is None else now_ns
        cdef uint32_t i, n = 0
        for i in range(self.n_workers):
            self._suspend_hanging(&self.workers[i].visitor, now)
        with nogil:
            for i in range(self.n_workers):
                n += batch_enforce_late(&self.workers[i], now)
        if self.parking is not None:
            self._suspend_hanging(&self.parking.lot.worker.visitor, now)
            with nogil:
                n += batch_enforce_late(&self.parking.lot.worker, now)
                n += lot_enforce_late(&self.parking.lot, now)
            self.parking.tidy()
        return n

    cdef void _suspend_hanging(self, Visitor* visitor, uint64_t now) noexcept:
        """A callout with a budget that has been called for longer than a packet may wait."""
        # The GIL is held: a call that is seen to run has its policy pinned, and nothing that was alive then is freed.
        cdef uint64_t began = wfpd_budget_read(&visitor.called_ns)
        if began and now > began and now - began > self.shared.late_after_ns:
            watch_hangs(visitor.called, now)

    def tend_flow_contexts(self, *, bint all=False, gone=()) -> int:
        """Call flow_delete for contexts whose flow or callout is gone; how many.  For one control thread.

        `all`: for every context, when no worker runs any more; `gone`: callouts that nothing calls, known or not.
        """
        if all:
            self.flows.contexts.end_all()
        elif self.current is not None and self.flows.contexts.callouts:
            self.flows.contexts.retire([item for item in self.current.snapshot.callouts if item not in gone], gone)
        return self.flows.contexts.drain()

    def stop(self, *, drain=5.0) -> None:
        """Ask the workers to end when their queues are empty, at the latest after `drain` seconds.

        Rules go out first: what still arrives afterwards is dropped with the queue.
        """
        self.stop_at_ns = clock_monotonic() + <uint64_t>int(drain * 1e9) + 1
        os.write(self.stop_write, b"x")
