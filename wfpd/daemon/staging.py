"""A policy that is tried beside the running one: the control socket's `stage.start`, `stage.status` and `stage.stop`.

One at a time, for a limited time.  Nothing of it is enforced, no callout of it is imported, and its end frees it; what
it found stays readable until the next one, or until it is stopped.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wfpd.control.compile_child import NICE, compile_in_child
from wfpd.control.handover import Compiled
from wfpd.control.peer import Peer
from wfpd.control.protocol import INVALID_PARAMS, REFUSED, Role, RpcError
from wfpd.daemon.staged import report
from wfpd.dataplane import Engine, Flows, Host, Snapshot, Stage
from wfpd.explaining import KINDS
from wfpd.replay import streams_of

logger = logging.getLogger("wfpd")

LONGEST = 86400.0
"""Seconds."""
DEFAULT_SECONDS = 3600.0
MOST_SAMPLE = 1_000_000
MOST_ANSWERS = 256
MOST_PATH = 4096
IDLE_SECONDS = 0.005
"""Between two looks at empty rings: a ring of 8,192 fills in less only above 1.6 million packets a second."""
SWEEP_SECONDS = 1.0
PARAMETERS = frozenset({"path", "sample", "answers", "for"})

Document = dict[str, Any]


class Running(Protocol):
    """What is asked of the daemon."""

    engine: Engine
    host: Host | None

    def filter_info(self, generation: int, index: int) -> Mapping[str, Any] | None:
        """A filter of a policy that has run, None if it is not known any more."""

    def interface_name(self, index: int) -> str:
        """Empty where there is no such interface."""


class _Trial:
    """One staged policy, from its start until it is replaced."""

    def __init__(self, given: Mapping[str, Any], compiled: Compiled, stage: Stage) -> None:
        self.given = given
        self.hash = compiled.policy.hash
        self.n_filters = compiled.n_filters
        self.stage: Stage | None = stage
        self.began = time.monotonic()
        self.started = time.time()
        self.stopping = threading.Event()
        self.named: list[Document] = []
        """The differences that have come up, with the active filters' names as they were then."""
        self.ended: str | None = None
        """None: it runs."""
        self.last: Document | None = None
        """What it found, once it has ended."""
        self.thread: threading.Thread | None = None

    @property
    def until(self) -> float:
        """By the monotonic clock."""
        return self.began + float(self.given["for"])


def bare_tables(compiled: Compiled) -> Snapshot:
    """The compiled policy's tables; callouts with `use` count as registered and are not imported."""
    policy = compiled.policy
    faults = policy.faults
    return Snapshot(
        compiled.packed, [_never_called if item.use else None for item in policy.callouts], generation=1,
        on_error=int(faults.on_error), on_malformed=int(faults.on_malformed), on_late=int(faults.on_late),
        flows_full=int(policy.daemon.flows_full),
    )  # fmt: skip


def _never_called(context: object) -> None:
    raise AssertionError("a staged policy calls no callout")


class Staging:
    """The methods, and the thread that compares."""

    def __init__(self, daemon: Running, policy_path: str, compile_policy: Callable[[str], Compiled] = compile_in_child):
        self._daemon = daemon
        self._home = os.path.dirname(os.path.realpath(policy_path))
        self._compile = compile_policy
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        """Held by the one that starts, which may take the time of a compilation."""
        self._closed = False
        self._trial: _Trial | None = None

    def start(self, parameters: Mapping[str, Any], peer: Peer | None = None) -> Document:
        """Compile the file and begin.  PolicyError with every problem if it is refused; the running policy goes on."""
        given = _checked(parameters)
        self._may_read(given["path"], peer)
        if not self._starting.acquire(blocking=False):
            raise RpcError(REFUSED, "another policy is being staged")
        try:
            self._must_be_free()
            compiled = self._compile(given["path"])
            trial = _Trial(given, compiled, self._make(given, compiled))
            with self._lock:
                self._begin(trial)
        finally:
            self._starting.release()
        logger.info("stage: %s is tried for %g s, hash %s", given["path"], given["for"], trial.hash[:12])
        return self._report(trial)

    def _must_be_free(self) -> None:
        trial = self._trial
        if trial is not None and trial.ended is None:
            raise RpcError(REFUSED, f"{trial.given['path']} is staged already", {"hint": "wfpd stage --stop"})
        if self._daemon.engine.snapshot is None:
            raise RpcError(REFUSED, "no policy runs")

    def _begin(self, trial: _Trial) -> None:
        if self._closed:
            raise RpcError(REFUSED, "wfpd is stopping")
        assert trial.stage is not None
        self._daemon.engine.stage(trial.stage)
        trial.thread = threading.Thread(target=self._serve, args=(trial,), name="wfpd-stage", daemon=True)
        trial.thread.start()
        self._trial = trial

    def _make(self, given: Mapping[str, Any], compiled: Compiled) -> Stage:
        tables = bare_tables(compiled)
        names = {tables.callout_name(index): index for index in range(tables.n_callouts)}
        for name in given["answers"]:
            if name not in names:
                raise RpcError(INVALID_PARAMS, f"the policy has no callout {name!r}")
        flows = Flows(
            compiled.policy.daemon.flows_max,
            compiled.policy.daemon.flows_full.name == "BLOCK",
            0,
            streams=streams_of(compiled.policy.daemon),
        )
        answers = {names[name]: kind for name, kind in given["answers"].items()}
        return Stage(tables, flows, workers=self._daemon.engine.n_workers + 1, sample=given["sample"], answers=answers)

    def _may_read(self, path: str, peer: Peer | None) -> None:
        """What is wrong with a file is told in its own words: who only operates is not told those of secret files."""
        if peer is None or peer.role >= Role.ADMINISTER:
            return
        real = os.path.realpath(path)
        try:
            found = os.stat(real)
        except OSError as error:
            raise RpcError(REFUSED, f"cannot open {path}: {error.strerror}") from None
        if not found.st_mode & stat.S_IROTH and os.path.dirname(real) != self._home:
            raise RpcError(REFUSED, f"{path} is not for everybody to read", {
                "hint": f"make it readable, or put it into {self._home}"})  # fmt: skip

    def status(self, _parameters: Mapping[str, Any] | None = None, _peer: Peer | None = None) -> Document:
        """What was found so far, or by the last one; `running` false and no `path` where there was none."""
        trial = self._trial
        return {"running": False, "path": None} if trial is None else self._report(trial)

    def stop(self, _parameters: Mapping[str, Any] | None = None, _peer: Peer | None = None) -> Document:
        """End it and say what it found, for the last time."""
        with self._lock:
            trial, self._trial = self._trial, None
            if trial is None:
                raise RpcError(REFUSED, "no policy is staged")
            self._end(trial)
        return self._report(trial)

    def close(self) -> None:
        """The daemon ends."""
        with self._lock:
            self._closed = True
            if self._trial is not None:
                self._end(self._trial)

    @staticmethod
    def _end(trial: _Trial) -> None:
        trial.stopping.set()
        if trial.thread is not None:
            trial.thread.join(10)

    def _report(self, trial: _Trial) -> Document:
        last = trial.last
        if last is not None:
            return last
        stage = trial.stage
        if stage is None:  # It has just ended.
            return trial.last or {"running": False, "path": trial.given["path"]}
        about = {
            "running": trial.ended is None, "ended": trial.ended, "path": trial.given["path"], "hash": trial.hash,
            "n_filters": trial.n_filters, "sample": trial.given["sample"], "answers": trial.given["answers"],
            "for": trial.given["for"], "started": trial.started, "seconds": round(time.monotonic() - trial.began, 3),
        }  # fmt: skip
        found = about | report(stage, list(trial.named), self._daemon.interface_name)
        return found | {"same": False} if trial.ended == "failed" else found

    # ----------------------------------------------------------------------------------- thread

    def _serve(self, trial: _Trial) -> None:
        """Compare until it is stopped or its time is over, then let go of everything."""
        stage, ended = trial.stage, "failed"
        assert stage is not None
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
            ended = self._watch(trial, stage)
        except Exception:
            logger.exception("stage: the comparison has failed")
        finally:
            self._daemon.engine.unstage()
            for _ in range(64):  # What the rings still hold.
                if not stage.turn(self._daemon.host):
                    break
            self._name(trial, stage)
            trial.ended = ended
            trial.last = self._report(trial)
            trial.stage = None
            logger.info("stage: %s has ended (%s)", trial.given["path"], ended)

    def _watch(self, trial: _Trial, stage: Stage) -> str:
        swept = 0.0
        while True:
            taken = stage.turn(self._daemon.host)
            self._name(trial, stage)
            now = time.monotonic()
            if now - swept > SWEEP_SECONDS:
                flows = stage.replayer.flows
                assert flows is not None
                flows.sweep(time.monotonic_ns())
                swept = now
            if now >= trial.until:
                return "time"
            if trial.stopping.wait(0 if taken else IDLE_SECONDS):
                return "stopped"

    def _name(self, trial: _Trial, stage: Stage) -> None:
        """Of new differences the active filter's names: its generation may be forgotten when they are asked for."""
        for number in range(len(trial.named), stage.n_differences):
            row = stage.difference(number)
            info = None if row["active"] is None else self._daemon.filter_info(row["generation"], row["active"])
            trial.named.append(dict(info or {}))


def _checked(parameters: Mapping[str, Any]) -> Document:
    path = parameters.get("path")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or len(path) > MOST_PATH:
        raise RpcError(INVALID_PARAMS, "path is the absolute path of a policy file")
    sample = parameters.get("sample", 1)
    if type(sample) is not int or not 1 <= sample <= MOST_SAMPLE:
        raise RpcError(INVALID_PARAMS, f"sample is a number from 1 to {MOST_SAMPLE}: one flow in so many")
    seconds = parameters.get("for", DEFAULT_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise RpcError(INVALID_PARAMS, f"for is above 0 and at most {LONGEST:g} seconds")
    answers = parameters.get("answers", {})
    if not isinstance(answers, dict) or len(answers) > MOST_ANSWERS or any(k not in KINDS for k in answers.values()):
        raise RpcError(INVALID_PARAMS, "answers is an object: a callout's name to permit, block or continue")
    return {"path": path, "sample": sample, "for": float(seconds), "answers": dict(answers)}
