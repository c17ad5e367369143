"""`wfpd run`: the packet path, reloads, metrics, events and the control socket as one process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import wfpd
from wfpd.bfe import Bfe, Kind
from wfpd.control.admin import DEFAULT_GROUP, AdminServer, Method, Peer, Roles
from wfpd.control.compile_child import compile_in_child
from wfpd.control.ground import TablesGround
from wfpd.control.handover import Compiled
from wfpd.control.notify import Notifier
from wfpd.control.objects import ObjectMethods
from wfpd.control.protocol import INVALID_PARAMS, Role, RpcError
from wfpd.control.reload import MAX_CONFIRM, ReloadManager, ReloadResult, policy_path
from wfpd.control.state import State
from wfpd.daemon import absent
from wfpd.daemon.asked import PARAMETERS, explain_live
from wfpd.daemon.counted import counters_json
from wfpd.daemon.life import TICK_SECONDS, Daemon, Leftover, Signals
from wfpd.daemon.listed import Listings
from wfpd.daemon.recorded import PARAMETERS as WHY_PARAMETERS
from wfpd.daemon.recorded import why
from wfpd.daemon.staging import PARAMETERS as STAGE_PARAMETERS
from wfpd.daemon.staging import Staging
from wfpd.errors import ControlError, KernelError, PolicyError, WfpdError, first_of
from wfpd.model.policy import Policy
from wfpd.observe.counters import EngineCounters
from wfpd.observe.events import Encoder
from wfpd.observe.exporter import MetricsServer
from wfpd.observe.metrics import exposition, registry_of
from wfpd.observe.record import EventRecord
from wfpd.observe.sinks import EventStream, FileSink, Hub, JournalSink, Sink

logger = logging.getLogger("wfpd")

CLEAN, BAD_POLICY, UNREACHABLE, OURS = 0, 1, 3, 70
CAP_NET_ADMIN = 12
"""Bit of the capability sets (linux/capability.h)."""
_WORDS = ("on_absent", "on_full", "on_late", "on_error", "on_malformed")


def make_sinks(policy: Policy, hub: Hub) -> list[Sink]:
    """The sinks of `daemon: events`, and the control socket's subscribers."""
    sinks: list[Sink] = [hub]
    for entry in policy.daemon.events:
        if entry["type"] == "journald":
            sinks.append(JournalSink())
        else:
            try:
                sinks.append(FileSink(str(entry["path"])))
            except OSError as error:
                raise ControlError(
                    f"events: cannot open {entry['path']}: {error.strerror}",
                    hint="the directory has to exist and be writable by the user that runs wfpd",
                ) from error
    return sinks


class Service:
    """Everything around one Daemon."""

    def __init__(self, path: str, compiled: Compiled, *, audit: bool = False) -> None:
        self.path = path
        self.hub = Hub()
        self.stream = EventStream(make_sinks(compiled.policy, self.hub), Encoder(os.urandom(16)))
        self.daemon = Daemon(compiled, audit=audit, on_event=self._event)
        self.state = State()
        self.notifier = Notifier()
        ground = TablesGround(self.daemon.tables, self.daemon.change, self.daemon.hits,
                              lambda: self.daemon.policy.daemon.callout_path,
                              self.daemon.engine.callout_errors, self.daemon.engine.callout_calls,
                              self.daemon.engine.flows.contexts.count_of,
                              self.daemon.engine.callout_watches)  # fmt: skip
        self.bfe = Bfe(ground)
        self.listings = Listings(self.daemon.engine, self.daemon.records.filter_of)
        self.staging = Staging(self.daemon, path)
        self.manager = ReloadManager(path, self._publish, accepted=self._accepted)
        self.last_drop: EventRecord | None = None
        self._compiled = compiled
        self._metrics: MetricsServer | None = None
        self._admin: AdminServer | None = None
        self._progress: list[int] = []
        self._last_sign = 0.0

    def _event(self, record: EventRecord) -> None:
        if record.verdict == "block" and (self.daemon.audit or not record.audit):
            self.last_drop = record
        self.stream.feed(record)

    def _publish(self, compiled: Compiled) -> int:
        """Publish a policy file: its filters to the tables, its other objects to the engine."""
        return self.bfe.publish(lambda: self.daemon.publish(compiled), compiled.policy)

    def _accepted(self, compiled: Compiled, generation: int) -> None:
        """Keep a policy's words and rules; the first one's only when it runs."""
        if self.daemon.started:
            self.state.save(compiled.policy.faults, compiled.policy.hash, generation, self.daemon.ruleset())

    # ----------------------------------------------------------------------------------- readers

    def counters(self) -> EngineCounters:
        """One reading of everything, for the exporter and `status`."""
        found = self.daemon.counters()
        found.reload = replace(self.manager.counters(), generation=self.daemon.generation)
        found.events_dropped |= self.stream.dropped()
        return found

    def status(self, _parameters: Mapping[str, Any] | None = None, _peer: Peer | None = None) -> dict[str, Any]:
        """What `wfpd status` shows."""
        now = self.counters()
        policy = self.daemon.policy
        return {
            "version": wfpd.__version__,
            "pid": os.getpid(),
            "policy": self.path,
            "enforcing": now.enforcing,
            "why_not": list(self.daemon.why_not()),
            "audit": self.daemon.audit,
            "generation": now.reload.generation,
            "hash": now.reload.hash,
            "uptime_seconds": round(time.time() - self.daemon.started_at, 3),
            "hooks": self._hooks(now),
            "queues": [self._queue(number, queue) for number, queue in sorted(now.queues.items())],
            "workers": [{"state": state, "turns": turns} for state, turns in self.daemon.engine.progress()],
            "flows": {"used": now.flows, "max": now.flows_max},
            "reload": {
                "requests": now.reload.requests,
                "last_successful": now.reload.last_successful,
                "last_success_timestamp": now.reload.last_success_timestamp,
                "last_duration": now.reload.last_duration,
                "last_error": now.reload.last_error,
                "confirm_remaining": self.manager.confirm_remaining,
            },
            "words": {name: getattr(policy.faults, name).name.lower() for name in _WORDS}
            | {"late_after": policy.faults.late_after},
            "rules_error": self.daemon.rules.error,
        }

    def reading(self, _parameters: Mapping[str, Any], _peer: Peer | None = None) -> dict[str, Any]:
        """What `wfpd top` makes rates from."""
        now = self.counters()
        queues = [self._queue(number, queue) for number, queue in sorted(now.queues.items())]
        return counters_json(now, self.daemon.engine, queues, self.daemon.started_at)

    def _hooks(self, now: EngineCounters) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for status in self.daemon.rules.status:
            row = rows.setdefault(
                status.hook,
                {"hook": status.hook, "rules": True, "problem": "", "uninspected": now.uninspected.get(status.hook, 0)},
            )
            row["rules"] = row["rules"] and status.in_place
            row["problem"] = row["problem"] or status.shadowed_by or status.acts_shadowed_by
        for hook in {attachment.hook for attachment in self.daemon.attach} - set(rows):
            rows[hook] = {"hook": hook, "rules": False, "problem": "no filter needs it: not queued", "uninspected": 0}
        queues = self.daemon.hook_queues
        return [row | {"queues": list(queues.get(hook, ()))} for hook, row in rows.items()]

    @staticmethod
    def _queue(number: int, queue: Any) -> dict[str, Any]:
        return {
            "queue": number,
            "bound": queue.bound,
            "length": queue.queue_length,
            "permitted": queue.packets["permit"],
            "blocked": queue.packets["block"],
            "dropped_full": queue.dropped_full,
            "dropped_user": queue.dropped_user,
            "socket_drops": queue.socket_drops,
            "id_gaps": queue.id_gaps,
            "truncated": queue.receive_truncated,
        }

    # ---------------------------------------------------------------------------------- methods

    def reload(self, parameters: Mapping[str, Any], _peer: Peer | None = None) -> dict[str, Any]:
        """Read the policy again; waits and reports."""
        confirm = parameters.get("confirm")
        if isinstance(confirm, bool) or not isinstance(confirm, int | float | None):
            raise RpcError(INVALID_PARAMS, "confirm is a number of seconds")
        if confirm is not None and not 0 < confirm <= MAX_CONFIRM:
            raise RpcError(INVALID_PARAMS, f"confirm is above 0 and at most {MAX_CONFIRM:g} seconds")
        self.notifier.reloading()
        try:
            result: ReloadResult = self._now(self.manager.reload(confirm))
        except WfpdError:
            self.notifier.ready(self._line())
            raise
        if result.successful and self.daemon.attach_needs_restart:
            result = replace(result, restart_needed=("attach", *result.restart_needed))
        self._say_reloaded(result)
        self.notifier.ready(self._line())
        return dict(result.as_json())

    @staticmethod
    def _say_reloaded(result: ReloadResult) -> None:
        """A reload by signal has nobody else to tell."""
        if result.successful:
            logger.info("reload: generation %d runs, hash %s", result.generation, result.hash[:12])
        if result.restart_needed:
            logger.warning("reload: restart needed for %s", ", ".join(result.restart_needed))

    def confirm(self, _parameters: Mapping[str, Any], _peer: Peer | None = None) -> dict[str, Any]:
        """Keep the policy that waits to be confirmed."""
        return dict(self._now(self.manager.confirm()).as_json())

    def _now(self, result: ReloadResult) -> ReloadResult:
        """With the generation that runs: changes may have come since the policy was published."""
        return replace(result, generation=self.daemon.generation)

    def reopen(self, _parameters: Mapping[str, Any] | None = None, _peer: Peer | None = None) -> dict[str, Any]:
        """Open the event files anew, after their rotation."""
        self.stream.reopen()
        return {"reopened": True}

    def last(self, _parameters: Mapping[str, Any], _peer: Peer | None = None) -> dict[str, Any]:
        """The last block, as an event; empty if there was none."""
        return {} if self.last_drop is None else Encoder(b"last").event(self.last_drop)

    def explain(self, parameters: Mapping[str, Any], _peer: Peer | None = None) -> dict[str, Any]:
        """Why a described packet would be permitted or blocked now."""
        return explain_live(self.daemon, parameters)

    def why(self, parameters: Mapping[str, Any], _peer: Peer | None = None) -> dict[str, Any]:
        """What was decided about packets of late, and why."""
        return why(self.daemon, parameters)

    def methods(self) -> dict[str, Method]:
        """The control socket's methods (hello and events.subscribe are the server's own)."""
        return {
            "status": Method(Role.READ, self.status),
            "version": Method(Role.READ, lambda parameters, peer: {"version": wfpd.__version__}),
            "counters": Method(Role.READ, self.reading),
            "explain": Method(Role.READ, self.explain, parameters=PARAMETERS),
            "why": Method(Role.READ, self.why, parameters=WHY_PARAMETERS),
            "events.last": Method(Role.READ, self.last),
            "events.reopen": Method(Role.OPERATE, self.reopen, changes=True),
            "reload": Method(Role.OPERATE, self.reload, changes=True, parameters=frozenset({"confirm"})),
            "confirm": Method(Role.OPERATE, self.confirm, changes=True),
            "stage.start": Method(Role.OPERATE, self.staging.start, changes=True, parameters=STAGE_PARAMETERS),
            "stage.status": Method(Role.READ, self.staging.status),
            "stage.stop": Method(Role.OPERATE, self.staging.stop, changes=True),
            "layers.list": Method(Role.READ, self.listings.layers),
            "sets.list": Method(Role.READ, self.listings.sets),
            "sets.get": Method(Role.READ, self.listings.set_values, parameters=frozenset({"name", "size"})),
            "flows.list": Method(
                Role.READ, self.listings.list_flows, parameters=frozenset({"template", "size", "cursor"})
            ),
            "flows.close": Method(Role.READ, self.listings.close_flows, parameters=frozenset({"cursor"})),
        } | ObjectMethods(self.bfe).methods()

    # ------------------------------------------------------------------------------------- life

    def _line(self) -> str:
        enforcing = "enforcing" if self.daemon.enforcing else "audit" if self.daemon.audit else "not enforcing"
        return f"{enforcing}, generation {self.daemon.generation}"

    def start(self) -> None:
        """Listeners first (cheap to fail), then the packet path, then rules, then ready."""
        daemon = self.daemon.policy.daemon
        if daemon.metrics:
            self._metrics = MetricsServer(daemon.metrics, lambda: exposition(registry))
            registry = registry_of(self, daemon.metrics_filters)
        roles = Roles(daemon.control_read, daemon.control_operate, daemon.control_administer)
        self._admin = AdminServer(daemon.control_path, self.methods(), roles, hub=self.hub,
                                  group=_control_group(daemon.control_read), state=self._line)  # fmt: skip
        self._admin.start()
        self.manager.start(self._compiled)
        self.daemon.start()
        self.manager.accept()
        if self._metrics is not None:
            self._metrics.start()
        self._say_started()
        self.notifier.ready(self._line())

    def _say_started(self) -> None:
        queues = ", ".join(str(number) for number in sorted(self.daemon.engine.counters()["queues"])) or "none"
        reasons = self.daemon.why_not()
        logger.info("wfpd is %s (queue %s, generation %d)", "running" if reasons else "enforcing",
                    queues, self.daemon.generation)  # fmt: skip
        for reason in reasons:
            logger.warning("not enforcing: %s", reason)

    def serve(self, signals: Signals) -> None:
        """Until told to stop, or a worker has died."""
        self.daemon.watch(lambda: self._turn(signals))

    def _retire_callouts(self) -> None:
        """Callouts that sessions had added and that are deleted now.  Never waits for a change."""
        used = self.daemon.session_callouts
        if not used or not self.bfe.changing().acquire(blocking=False):
            return
        try:
            gone = used - {entry.call for entry in self.bfe.store.entries(Kind.CALLOUT).values()}
            used -= gone
        finally:
            self.bfe.changing().release()
        self.daemon.retire(gone)

    def _turn(self, signals: Signals) -> bool:
        for number in signals.wait(TICK_SECONDS):
            if number in (signal.SIGTERM, signal.SIGINT):
                return False
            if number in (signal.SIGHUP, signal.SIGUSR2):
                threading.Thread(target=self.reload, args=({},), name="wfpd-reload", daemon=True).start()
            elif number == signal.SIGUSR1:
                with contextlib.suppress(OSError):
                    self.reopen()
        self.manager.tick()
        self.bfe.tick()
        self._retire_callouts()
        self.stream.tick(time.time_ns())
        self._sign_of_life()
        return True

    def _sign_of_life(self) -> None:
        """Feed the watchdog by the packet loop's own progress: every worker has turned since last time."""
        period = self.notifier.watchdog_seconds
        now = time.monotonic()
        if not period or now - self._last_sign < period / 4:
            return
        turns = [count for state, count in self.daemon.engine.progress()]
        if all(new > old for new, old in zip(turns, self._progress, strict=False)) or not self._progress:
            self.notifier.watchdog()
            self._progress, self._last_sign = turns, now

    def stop(self) -> Leftover:
        """Stop in order; what is left of the rules."""
        self.notifier.stopping()
        self.staging.close()
        left = self.daemon.stop()
        self.close()
        return left

    def close(self) -> None:
        """Close listeners and sinks."""
        if self._admin is not None:
            self._admin.close()
        if self._metrics is not None:
            self._metrics.close()
        self.stream.close()


def _control_group(readers: tuple[str, ...]) -> str:
    return readers[0] if readers else DEFAULT_GROUP


def has_net_admin(status: str = "/proc/self/status") -> bool:
    """Whether this process has CAP_NET_ADMIN, which queues and rules need."""
    with open(status) as file:
        for line in file:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> CAP_NET_ADMIN & 1)
    return False


def run(path: str, *, audit: bool = False) -> int:
    """Run until stopped.  Exit status: 0 clean, 1 bad policy, 3 queue taken or no capability, 70 a fault of ours."""
    path = policy_path(path)
    signals = Signals()
    start = Start(path, audit)
    try:
        service = start.bring_up(signals)
    except WfpdError as error:
        return _refuse(error, start.compiled)
    except Exception:
        absent.obey(State(), start.compiled)
        raise
    if service is None:
        logger.info("stopped before anything was started")
        absent.obey(State(), start.compiled)
        return CLEAN
    service.serve(signals)
    return _end(service)


class Start:
    """One start; it knows how far it came."""

    def __init__(self, path: str, audit: bool) -> None:
        self.path = path
        self.audit = audit
        self.compiled: Compiled | None = None
        """The policy, once it has loaded."""

    def bring_up(self, signals: Signals) -> Service | None:
        """The running service; None if a stop was asked for before anything was touched."""
        if not has_net_admin():
            raise KernelError("wfpd run needs CAP_NET_ADMIN", hint="run it as root, or by its systemd unit")
        self.compiled = compile_in_child(self.path)
        for lint in first_of(self.compiled.policy.lints):
            logger.warning("%s", lint)
        if signals.stop_asked:
            return None
        service = Service(self.path, self.compiled, audit=self.audit)
        try:
            service.start()
        except BaseException:
            service.close()
            raise
        return service


def _end(service: Service) -> int:
    fatal = service.daemon.fatal
    if fatal is not None:
        logger.error("a worker died: %s; the process ends, so that no queue is left unserved", fatal)
        service.close()
        os._exit(OURS)  # Queue sockets close with the process; threads may hang in a callout.
    left = service.stop()
    if left is Leftover.KEPT:
        logger.warning("on_absent: block: the rules stay and packets are dropped; `wfpd purge` takes them away")
    elif left is Leftover.STUCK:
        logger.error("rules are left behind; `wfpd purge` takes them away")
    logger.info("stopped")
    return UNREACHABLE if left is Leftover.STUCK else CLEAN


def _refuse(error: WfpdError, compiled: Compiled | None) -> int:
    for line in str(error.message).splitlines():
        logger.error("%s", line)
    if error.hint:
        logger.error("hint: %s", error.hint)
    absent.obey(State(), compiled)
    return BAD_POLICY if isinstance(error, PolicyError) else max(error.exit_status, 1)


__all__ = ["Service", "run"]
