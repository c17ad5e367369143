"""The daemon's life: what starts in which order, what is watched, and how it ends.

Start: policy, snapshot, queues (bound and configured), workers, rules, listeners, "ready".  Rules
go in last and come out first.  A worker that dies ends the process: with bypass rules one dead
queue is a hole.
"""

from __future__ import annotations

import ctypes
import enum
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from wfpd.callouts.loop import LOOP
from wfpd.callouts.notifications import Notifications
from wfpd.callouts.registered import Registered
from wfpd.callouts.registry import Registry
from wfpd.control.handover import Compiled
from wfpd.control.tables import State, Tables
from wfpd.daemon import reading
from wfpd.daemon.injecting import Injecting
from wfpd.daemon.queues import QueueSet
from wfpd.daemon.records import RecordMaker
from wfpd.daemon.suspensions import Suspensions
from wfpd.dataplane import Engine, Host, Part, Snapshot, references
from wfpd.errors import ControlError, KernelError, WfpdError
from wfpd.model.layers import BY_SLOT
from wfpd.model.policy import Attachment, Callout, Faults, Policy, Word
from wfpd.netfilter import proc, rules
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.host import HostWatcher, read_host
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.ruleset import hooks_of, queue_ranges
from wfpd.observe.counters import EngineCounters
from wfpd.observe.record import EventRecord
from wfpd.replay import streams_of

logger = logging.getLogger("wfpd")

RULES_CHECK_SECONDS = 5.0
TICK_SECONDS = 0.25
SWEEP_SECONDS = 1.0
"""How exactly it is known when a filter was last hit."""
FLOWS_SECONDS = 5.0
"""A stop spends at most this long on the events of flows that are still there."""
MOST_CONTEXTS = 8192
"""Provider contexts of sessions whose data is kept before those that nobody names go."""
SWITCH_INTERVAL = 0.0005
"""Seconds; a Python callout's worker waits at most about this long for the GIL (sys.setswitchinterval)."""


@dataclass(slots=True)
class RulesState:
    """What the last look at our rules found."""

    status: tuple[rules.HookStatus, ...] = ()
    base: dict[str, int] = field(default_factory=dict)
    """Counters when this process's queues began: adopted rules go on counting."""
    uninspected: dict[str, int] = field(default_factory=dict)
    growing: bool = False
    seen: dict[str, int] = field(default_factory=dict)
    """What the last look computed; a packet between rule and queue shows up in one look only."""
    error: str = ""


def hooks_with_layers(snapshot: Snapshot) -> frozenset[str]:
    """Hooks that some filter of the snapshot needs."""
    return hooks_of(slot for slot in BY_SLOT if snapshot.layer_count(slot))


def planned(loaded: Compiled) -> rules.RuleSet:
    """The rules that a policy asks for, whether it has been published or not."""
    policy = loaded.policy
    ranges = queue_ranges(policy.attach, workers_of(loaded))
    return rules.plan(policy.attach, policy.faults, Marks(policy.daemon.marks_mask), ranges, hooks_of(loaded.slots))


def workers_of(loaded: Compiled) -> int:
    """`daemon: workers`; auto is one a processor."""
    return loaded.policy.daemon.workers or os.cpu_count() or 1


def give_memory_back() -> None:
    """Hand freed memory to the kernel (malloc_trim(3)): large policies would leave a tenth more with the allocator."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc's own.
        trim(0)


class Leftover(enum.Enum):
    """What a stop leaves of the rules."""

    NOTHING = "none"
    KEPT = "on_absent: block keeps them"
    STUCK = "they could not be removed"


class Daemon:
    """The packet path and its rules.  `publish` and the readers may be called from any control thread."""

    def __init__(self, loaded: Compiled, *, audit: bool = False, on_event: Callable[[EventRecord], None] | None = None):
        self.audit = audit
        self.policy = loaded.policy
        self._faults = loaded.policy.faults
        """Of the policy that runs or is being published."""
        self.on_event = on_event or (lambda record: None)
        self.started_at = time.time()
        self.started = False
        """Queues, workers and rules are up."""
        self.fatal: BaseException | None = None
        self.rules = RulesState()
        self.commands = Commands()
        self.callouts = Registry()
        self._notifications = Notifications()
        self._leaving: deque[Registered] = deque()
        """Callouts of former policies and sessions that some batch may still call."""
        self.session_callouts: set[Registered] = set()
        """Those that filters of sessions have named."""
        self._contexts: dict[str, object] = {}
        """Data of provider contexts by name: of the file's, and of those that filters of sessions name."""
        self._session_contexts: dict[str, object] = {}
        self.tables = Tables(self._run_snapshot)
        self._publish_lock = threading.RLock()
        self._rules_lock = threading.Lock()
        self._stopping = threading.Event()
        self._ending = False
        """The stop has begun: a reload that is still under way puts no rules in again."""
        self._threads: list[threading.Thread] = []
        self._checking: threading.Thread | None = None
        self._hook_queues: dict[str, tuple[int, ...]] = {}
        self._interfaces: dict[int, str] = {}
        self.host: Host | None = None
        """What the packet path knows of this host."""
        self._tasks: list[tuple[float, Callable[[], None]]] = []
        workers = workers_of(loaded)
        self.attach = loaded.policy.attach
        """What is attached now: of a reload only what the queues that are bound can serve."""
        self._settings = loaded.policy.daemon
        """`daemon:` is read at start."""
        self._ranges = queue_ranges(loaded.policy.attach, workers)
        numbers = sorted({n for first, last in self._ranges for n in range(first, last + 1)})
        self._numbers = numbers
        self.engine = Engine(
            max(1, min(workers, len(numbers) or 1)),
            flows_max=loaded.policy.daemon.flows_max,
            flows_block_when_full=loaded.policy.daemon.flows_full is Word.BLOCK,
            streams=streams_of(loaded.policy.daemon),
            marks_mask=loaded.policy.daemon.marks_mask,
            late_after=loaded.policy.faults.late_after,
            realtime=loaded.policy.daemon.realtime,
        )
        self.records = RecordMaker(self.engine.recorded_filters)
        self._queues = QueueSet(self.engine, numbers)
        self._injecting = Injecting(self.engine, Marks(loaded.policy.daemon.marks_mask))

    # ------------------------------------------------------------------------------- publishing

    @property
    def generation(self) -> int:
        """Of what runs; 0 before the first policy."""
        return 0 if self.engine.snapshot is None else int(self.engine.snapshot.generation)

    def _run_snapshot(self, snapshot: Snapshot) -> None:
        """More bytes are asked for before the snapshot that reads them runs; it runs by one store."""
        running = self.engine.snapshot
        snapshot.root.provider_contexts = self._contexts
        step = self._notifications.prepare(snapshot, running)
        try:
            self._swap(snapshot, running)
        except BaseException:
            step.undo()
            raise
        step.settle()

    def _swap(self, snapshot: Snapshot, running: Snapshot | None) -> None:
        self.records.learn(snapshot)
        if snapshot.needs_payload:
            self._queues.widen(2.0 + min(self._faults.late_after, 8.0))
        if snapshot.parks:
            self._park(self._faults)
        self._injecting.follow(snapshot)
        self._queues.set_on_full(self._faults.on_full)
        self.engine.late_after = self._faults.late_after
        # Another policy waits until the last batch under the one before has ended; a change does not need to.
        self.engine.swap(snapshot, timeout=0 if running is not None and running.root is snapshot.root else 1.0)

    def publish(self, loaded: Compiled) -> int:
        """Check and publish a policy; the running one goes on if anything fails.  Its generation."""
        with self._publish_lock:
            self._not_while_ending()
            self.records.make_room()
            self.engine.reap()
            give_memory_back()
            before, policy, attach = self.tables.state, self.policy, self.attach
            try:
                self._switch(loaded, loaded.policy.attach if self._fits(loaded.policy) else attach)
            except BaseException:
                if self._queues.bound and before is not None:
                    self._back_to(before, policy, attach)
                raise
            return self.generation

    def change(
        self,
        packed: bytes | None,
        callouts: Sequence[tuple[Callout, object]] = (),
        remove: Iterable[bytes] = (),
        contexts: Mapping[str, object] | None = None,
    ) -> int:
        """Add the filters of a packed policy beside that of the file, remove filters by key; the new generation.

        `callouts` are those of the packed policy, each with its callable or None where it has none or the tables know
        it; `contexts` the data of the provider contexts that it names.  FwpError if that cannot be, KernelError if the
        rules for what was added cannot be installed: nothing is added then.
        """
        with self._publish_lock:
            self._not_while_ending()
            self._learn_contexts(contexts or {})
            self.session_callouts.update(call for _, call in callouts if isinstance(call, Registered))
            before = frozenset() if self.tables.snapshot is None else hooks_with_layers(self.tables.snapshot)
            injects = self._injecting.wanted
            wanted = before if packed is None else before | hooks_of(Part(packed, search=False).slots())
            # The rules of a hook come before the first filter that needs them, so that nothing is left to fail after
            # the switch; a hook that is queued for nothing permits everything.
            if self._queues.bound and wanted != before:
                self._install_rules(wanted)
            try:
                snapshot = self.tables.change(packed, [cast(Any, call) for _, call in callouts], remove)
            finally:
                self._fit_rules(before, wanted if injects is self._injecting.wanted else None)
            return int(snapshot.generation)

    def _learn_contexts(self, contexts: Mapping[str, object]) -> None:
        """Of a session's filters; what no filter names any more goes when many have come together."""
        snapshot = self.tables.snapshot
        if snapshot is not None and len(self._session_contexts) + len(contexts) > MOST_CONTEXTS:
            gone = [name for name in self._session_contexts if not references(snapshot, "provider_context", b"", name)]
            for name in gone:
                del self._session_contexts[name]
        self._session_contexts.update(contexts)
        self._contexts = {**self._session_contexts, **{item.name: item.data for item in self.policy.provider_contexts}}

    def _fit_rules(self, before: frozenset[str], installed: frozenset[str] | None) -> None:
        """After a change for which rules were installed (None: others are wanted now): those that nothing needs go."""
        snapshot = self.tables.snapshot
        if snapshot is None or not self._queues.bound:
            return
        needed = hooks_with_layers(snapshot)
        try:
            if needed != installed:
                self._install_rules()
            elif needed != before:
                self.check_rules()
        except WfpdError as error:
            logger.warning("packets are queued for hooks that no filter needs any more: %s", error.message)

    def _fits(self, policy: Policy) -> bool:
        """Whether the queues that are bound serve the policy's attachments: same hooks, same queues, same order."""
        hooks = [attachment.hook for attachment in policy.attach]
        ranges = queue_ranges(policy.attach, self._settings.workers or os.cpu_count() or 1)
        return (hooks, ranges) == ([attachment.hook for attachment in self.attach], self._ranges)

    @property
    def attach_needs_restart(self) -> bool:
        """The running policy attaches to other hooks or queues than those of the start."""
        return not self._fits(self.policy)

    def _switch(self, loaded: Compiled, attach: tuple[Attachment, ...]) -> None:
        policy, faults = loaded.policy, loaded.policy.faults
        self._faults = faults
        callouts = self.callouts.load(policy.callouts, policy.daemon.callout_path)
        self._contexts = {**self._session_contexts, **{item.name: item.data for item in policy.provider_contexts}}
        snapshot = self.tables.replace(
            loaded.packed,
            callouts,
            on_error=int(faults.on_error),
            on_malformed=int(faults.on_malformed),
            on_late=int(faults.on_late),
            flows_full=int(self._settings.flows_full),
            audit=self.audit,
        )
        before = self.callouts.running
        self.callouts.keep(callouts)
        try:
            self._settle(snapshot, policy, attach)
        except BaseException:
            self.callouts.keep(before)
            raise
        running = self.callouts.running
        self.retire(one for one in before if one not in running)

    def _settle(self, snapshot: Snapshot, policy: Policy, attach: tuple[Attachment, ...]) -> None:
        """What follows a policy that runs: its rules, and fewer bytes where they do."""
        self.policy, self.attach = policy, attach
        if self._queues.bound:
            self._install_rules()
        if not snapshot.needs_payload:
            self._queues.narrow()

    def _back_to(self, before: State, policy: Policy, attach: tuple[Attachment, ...]) -> None:
        self._faults = policy.faults
        self._learn_contexts({})
        try:
            self.tables.restore(before)
            self._settle(before.snapshot, policy, attach)
        except WfpdError as error:
            logger.error("going back to the former policy: %s", error.message)

    def _not_while_ending(self) -> None:
        if self._ending:
            raise ControlError("wfpd is stopping")

    # ------------------------------------------------------------------------------------ rules

    def ruleset(self, needed: frozenset[str] | None = None) -> rules.RuleSet:
        """The rules that the running policy asks for, or those for the hooks that are `needed`."""
        snapshot = self.engine.snapshot
        if needed is None and snapshot is not None:
            needed = hooks_with_layers(snapshot)
        planned = rules.plan(self.attach, self.policy.faults, Marks(self._settings.marks_mask), self._ranges, needed)
        return replace(planned, injects=self._injecting.wanted)

    def _install_rules(self, needed: frozenset[str] | None = None) -> None:
        if not self.attach:
            return
        with self._rules_lock:
            self._not_while_ending()
            ruleset = self.ruleset(needed)
            changed = rules.install(ruleset, self.commands)
            self._injecting.armed(ruleset.injects)
            if changed and not self.rules.base:
                self.rules.base = dict.fromkeys(self._hook_queues, 0)  # New rules and new queues: both at 0.
            elif changed or not self.rules.base:
                # Replaced rules count from 0 again, adopted ones from long ago: the account begins here.
                _, counters = rules.look(ruleset, self.commands)
                self.rules.base = {
                    hook: counters.get(hook, 0) - count - self.rules.uninspected.get(hook, 0)
                    for hook, count in self._accounts().items()
                }
        if needed is None:
            self.check_rules()

    def _accounts(self) -> dict[str, int]:
        return reading.accounted(self._hook_queues, self.engine.counters()["queues"])

    def check_rules(self) -> None:
        """Look at our rules and at what passed uninspected; never raises."""
        try:
            with self._rules_lock:
                self.rules.status, counters = rules.look(self.ruleset(), self.commands)
            since = {hook: count - self.rules.base.get(hook, 0) for hook, count in counters.items()}
            now = reading.uninspected(since, self._accounts())
            # A packet on its way between rule and queue is not lost: only what two looks saw counts.
            held = {
                hook: max(self.rules.uninspected.get(hook, 0), min(count, self.rules.seen.get(hook, 0)))
                for hook, count in now.items()
            }
            self.rules.growing = any(count > self.rules.uninspected.get(hook, 0) for hook, count in held.items())
            self.rules.seen, self.rules.uninspected, self.rules.error = now, held, ""
        except WfpdError as error:
            self.rules.error = error.message

    def _check_rules_beside(self) -> None:
        """A look in a thread of its own: a slow rule tool delays neither the stop nor the sign of life."""
        if self._checking is None or not self._checking.is_alive():
            self._checking = threading.Thread(target=self.check_rules, name="wfpd-rules", daemon=True)
            self._checking.start()

    def why_not(self) -> tuple[str, ...]:
        """Why wfpd is not enforcing, a reason a line; empty: it is."""
        if self.engine.snapshot is None:
            return ("no policy is loaded",)
        if not self.started:
            return ("wfpd is starting",)
        if not self._numbers:
            return ("the policy attaches to no hook (attach:)",)
        reasons = ["audit mode: everything is permitted"] if self.audit else []
        bound = proc.queues()
        dead = [str(i) for i, (state, _) in enumerate(self.engine.progress()) if state != "running"]
        unbound = [str(number) for number in self._queues.all_numbers if number not in bound]
        if dead:
            reasons.append(f"worker {', '.join(dead)} is not running")
        if unbound:
            reasons.append(f"queue {', '.join(unbound)} is not bound")
        if self.rules.error:
            reasons.append(f"our rules cannot be looked at: {self.rules.error}")
        for status in self.rules.status:
            if not status.in_place:
                shadow = status.shadowed_by or status.acts_shadowed_by
                why = f"shadowed by {shadow}" if shadow else "missing or changed"
                reasons.append(f"the rules at {status.hook} (IPv{status.family}) are {why}")
        if self.rules.growing:
            reasons.append("packets pass uninspected")
        return tuple(reasons)

    @property
    def hook_queues(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the queues of each attached hook."""
        return dict(self._hook_queues)

    @property
    def enforcing(self) -> bool:
        """A policy, every queue bound, our rules in place, and nothing passed uninspected."""
        return not self.why_not()

    # ------------------------------------------------------------------------------------ start

    def start(self) -> None:
        """Bring up queues, workers and rules for the published policy; on failure take down what was
        started, but no rules."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            self.refresh_host()
            self._bind()
            self._start_threads()
            self._install_rules()
            self.started = True
        except BaseException:
            self._stop_workers(drain=0.0)
            raise

    def _bind(self) -> None:
        snapshot = self.engine.snapshot
        assert snapshot is not None
        self._queues.bind(self.policy.faults, whole=snapshot.needs_payload)
        if snapshot.parks:
            self._park(self.policy.faults)
        for attachment, (first, last) in zip(self.attach, self._ranges, strict=True):
            numbers = tuple(range(first, last + 1))
            self._hook_queues[attachment.hook] = tuple(sorted({*self._hook_queues.get(attachment.hook, ()), *numbers}))
        self.engine.set_hooks(sorted({attachment.hook for attachment in self.attach}))

    def _start_threads(self) -> None:
        for index in range(self.engine.n_workers if self._numbers else 0):
            self._thread(f"wfpd-worker-{index}", self._serve, self.engine.run_worker, index)
        self._thread("wfpd-late", self._watch_late)
        self._thread("wfpd-events", self._pump_events)
        deadline = time.monotonic() + 5.0
        while self._numbers and any(state == "new" for state, _ in self.engine.progress()):
            if time.monotonic() > deadline:
                raise KernelError("a worker did not start")
            time.sleep(0.001)

    def _park(self, faults: Faults) -> None:
        """Serve a parking queue from now on; it stays though a later policy does not need it."""
        self._queues.open_parking(faults, self._settings)
        if self._queues.parks and not any(thread.name == "wfpd-parking" for thread in self._threads):
            self._thread("wfpd-parking", self._serve, self.engine.run_parking)

    def _thread(self, name: str, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self, serve: Callable[..., None], *arguments: int) -> None:
        try:
            serve(*arguments)
        except BaseException as error:
            self.fatal = error
            logger.error("%s: %s", threading.current_thread().name, error)

    def _watch_late(self) -> None:
        while not self._stopping.wait(max(0.005, min(0.05, self.engine.late_after / 4))):
            self.engine.enforce_late()

    def _pump_events(self) -> None:
        suspensions, looked = Suspensions(self.on_event), 0.0
        while True:
            stopping = self._stopping.is_set()
            if time.monotonic() - looked >= TICK_SECONDS:
                looked = time.monotonic()
                suspensions.look(self.engine.callout_watches())
            events = self.engine.drain_events(1024)
            for event in events:
                interface = self._interfaces.get(event["in_interface"] or event["out_interface"], "")
                self.on_event(self.records.record(event, interface))
            ended = self._pump_flows() + self.tend_callouts()
            if not events and not ended:
                if stopping:
                    return self._end_flows()
                self._stopping.wait(0.05)

    def _pump_flows(self, *, shutdown: bool = False) -> int:
        """End what has timed out and write down what has ended; how many those were."""
        now = time.monotonic_ns()
        offset = time.time_ns() - now
        self.engine.flows.sweep(now, all=shutdown)
        ended = self.engine.flows.drain_ended()
        for flow in ended:
            self.on_event(self.records.flow(flow, self._interfaces.get(flow["interface"], ""), offset))
        return len(ended)

    def tend_callouts(self) -> int:
        """End flow contexts whose flow or callout is gone, and callouts that no batch can reach any more; how many
        contexts those were."""
        n = self.engine.tend_flow_contexts()
        if self._leaving and self.engine.reap():
            left = [self._leaving.popleft() for _ in range(len(self._leaving))]
            n += self.engine.tend_flow_contexts(gone=left)
            for item in left:
                item.close()
        return n

    def retire(self, callouts: Iterable[Registered]) -> None:
        """No filter names these any more, nor will: they are closed when no batch can reach them."""
        leaving = list(callouts)
        for item in leaving:
            item.over[0] = 1
        if leaving:
            self.engine.fence()  # A batch may have found one by its name.
        self._leaving.extend(leaving)

    def _end_flows(self) -> None:
        """The workers have ended: every flow that is left ends with the daemon."""
        end = time.monotonic() + FLOWS_SECONDS
        while self._pump_flows(shutdown=True):
            if time.monotonic() > end:
                logger.warning("%d flows end without an event: the stop has its time", len(self.engine.flows))
                return

    def refresh_host(self) -> None:
        """Read interfaces, addresses and listeners anew and publish them to the packet path."""
        info = read_host()
        self._interfaces = {item.index: item.name for item in info.interfaces}
        tunnels = {131: 1}
        self.host = Host(
            [(i.index, os.fsencode(i.name), i.iana_type, i.is_loopback, tunnels.get(i.iana_type, 0))
             for i in info.interfaces],
            [low for low, high in info.broadcast4 if low == high],
            [low for low, high in info.anycast6 if low == high],
            listening_ports(),
            os.stat("/proc/thread-self/ns/net").st_ino & 0xFFFFFFFF,
        )  # fmt: skip
        self.engine.set_host(self.host)

    def interface_name(self, index: int) -> str:
        """The name of an interface as it is now, or was last seen here; its number where it has none."""
        return self._interfaces.get(index) or (f"#{index}" if index else "")

    def interface_index(self, name: str) -> int:
        """The number of an interface as the packet path knows it, 0 if it does not."""
        return next((index for index, known in self._interfaces.items() if known == name), 0)

    def filter_info(self, generation: int, index: int) -> dict[str, Any] | None:
        """A filter of a policy that has run, None if it is not known any more."""
        return self.records.info(generation, index)

    # ------------------------------------------------------------------------------------- stop

    def _stop_workers(self, drain: float) -> None:
        self.engine.stop(drain=drain)
        for thread in self._threads:
            if thread.name.startswith(("wfpd-worker", "wfpd-parking")):
                thread.join(drain + 2.0)
        self._stopping.set()
        self.tables.close()
        for thread in self._threads:
            if not thread.name.startswith(("wfpd-worker", "wfpd-parking")):
                thread.join(FLOWS_SECONDS + 2.0)
        self._close_callouts()
        self._injecting.close()
        self._queues.close()

    def _close_callouts(self) -> None:
        """No worker runs any more: coroutines and flow contexts end, then the callouts."""
        LOOP.close()
        while self.engine.tend_flow_contexts(all=True):
            pass
        snapshot = self.engine.snapshot
        for item in [*self._leaving, *self.session_callouts, *(() if snapshot is None else snapshot.callouts)]:
            if isinstance(item, Registered):
                item.close()

    def stop(self) -> Leftover:
        """Clean stop: nothing more is queued, what is queued is decided, rules out.  What is left of the rules."""
        self._ending = True
        if not self.attach or not self._queues.bound:
            self._stop_workers(drain=5.0)
            return Leftover.NOTHING
        try:
            with self._rules_lock:
                rules.quiet(self.ruleset(), self.commands)
        except WfpdError as error:
            logger.error("the rules still queue packets: %s", error.message)
        self._stop_workers(drain=5.0)
        return self._remove_rules()

    def _remove_rules(self) -> Leftover:
        try:
            with self._rules_lock:
                return Leftover.NOTHING if rules.remove(self.ruleset(), self.commands) else Leftover.KEPT
        except WfpdError as error:
            logger.error("the rules could not be removed: %s", error.message)
            return Leftover.STUCK

    # ---------------------------------------------------------------------------------- reading

    def hits(self, slots: Sequence[int]) -> list[tuple[int, float]]:
        """Of counter slots: hits, and when the last one was (seconds since the epoch, to about a second; 0: none)."""
        return list(zip(self.engine.filter_hits(slots), self.engine.last_hits(slots), strict=True))

    def counters(self) -> EngineCounters:
        """One reading for the exporter and `status`."""
        dead = frozenset(i for i, (state, _) in enumerate(self.engine.progress()) if state == "dead")
        found = reading.read(self.engine, dead)
        found.uninspected = {attachment.hook: 0 for attachment in self.attach} | self.rules.uninspected
        found.enforcing = self.enforcing
        found.injected, found.injection_helper_deaths = self._injecting.counts()
        return found

    def watch(self, turn: Callable[[], bool]) -> None:
        """Keep watch until `turn` (called every TICK_SECONDS or on a signal) says stop, or a worker died."""
        watcher = HostWatcher()
        next_check = time.monotonic() + RULES_CHECK_SECONDS
        next_sweep = 0.0
        try:
            while turn() and self.fatal is None:
                self.engine.reap()
                now = time.monotonic()
                if now >= next_sweep:
                    self.engine.sweep_hits(time.time())
                    next_sweep = now + SWEEP_SECONDS
                changed = watcher.drain()
                if changed or now >= next_check:
                    self.refresh_host()
                if now >= next_check:
                    self._check_rules_beside()
                    next_check = now + RULES_CHECK_SECONDS
        finally:
            watcher.close()


def listening_ports() -> set[int]:
    """Local TCP ports that some socket of this namespace listens on."""
    ports = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/thread-self/net/{name}") as table:
                next(table, None)
                for line in table:
                    parts = line.split()
                    if parts[3] == "0A":  # TCP_LISTEN
                        ports.add(int(parts[1].rpartition(":")[2], 16))
        except OSError:
            continue
    return ports


class Signals:
    """Signals as events of the main thread's loop."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)

        self._kept: list[int] = []
        """Read by stop_asked, not yet handed out by wait."""

    def wait(self, seconds: float) -> list[int]:
        """Numbers of the signals that came, after at most `seconds`."""
        if self._kept:
            found, self._kept = self._kept, []
            return found
        return self._read(seconds)

    def _read(self, seconds: float) -> list[int]:
        self._reader.settimeout(seconds)
        try:
            return list(self._reader.recv(64))
        except (TimeoutError, BlockingIOError):
            return []

    @property
    def stop_asked(self) -> bool:
        """Whether SIGTERM or SIGINT has come; `wait` still tells of it."""
        self._kept = [*self._kept, *self._read(0)]
        return signal.SIGTERM in self._kept or signal.SIGINT in self._kept


__all__ = ["Daemon", "Leftover", "Signals", "hooks_with_layers", "planned"]
