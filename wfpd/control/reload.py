"""Reload: the only writer of the running policy (docs/architecture.md).

Compile beside the running tables, publish with one store, keep the old policy on any error.  One
reload at a time; whoever comes meanwhile waits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

from wfpd.control.compile_child import compile_in_child
from wfpd.control.handover import Compiled
from wfpd.errors import ControlError, PolicyError, Problem, WfpdError, first_of
from wfpd.model.policy import DaemonSettings
from wfpd.observe.counters import ReloadCounters

log = logging.getLogger(__name__)

Publish = Callable[[Compiled], int]
"""Takes the compiled policy; returns the generation that it runs as, raises WfpdError if it cannot."""
MAX_CONFIRM = 86400.0


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload came to."""

    successful: bool
    generation: int
    """Of the policy that runs now."""
    hash: str
    """Of the policy that runs now."""
    seconds: float
    n_filters: int = 0
    problems: tuple[Problem, ...] = ()
    """Every error of a refused policy."""
    lints: tuple[Problem, ...] = ()
    restart_needed: tuple[str, ...] = ()
    """Changed keys of `daemon:` that are read at start only."""
    confirm_within: float | None = None
    """Seconds until the old policy comes back by itself."""

    def as_json(self) -> dict[str, object]:
        """For the control socket and `--json`."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["problems"] = [asdict(problem) | {"text": str(problem)} for problem in self.problems]
        found["lints"] = [asdict(lint) | {"text": str(lint)} for lint in self.lints]
        found["restart_needed"] = list(self.restart_needed)
        return found


class ReloadManager:
    """Owns what runs: generation, hash, and the way back."""

    def __init__(
        self,
        path: str,
        publish: Publish,
        *,
        compile: Callable[[str], Compiled] = compile_in_child,
        accepted: Callable[[Compiled, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`accepted` is told of every policy that stands (to keep its words); its failure is only logged."""
        self._path = path
        self._publish = publish
        self._compile = compile
        self._accepted = accepted or (lambda compiled, generation: None)
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._counters = ReloadCounters()
        self._running: Compiled | None = None
        self._at_start: DaemonSettings | None = None
        self._way_back: Compiled | None = None
        self._deadline = 0.0

    @property
    def running(self) -> Compiled | None:
        """What runs now; None before `start`."""
        return self._running

    @property
    def confirm_remaining(self) -> float | None:
        """Seconds until an unconfirmed policy is rolled back; None if there is none."""
        return None if self._way_back is None else max(0.0, self._deadline - self._clock())

    def counters(self) -> ReloadCounters:
        """A copy, from any thread."""
        return replace(self._counters)

    def start(self, compiled: Compiled | None = None) -> ReloadResult:
        """The first policy (compiled by the caller, or here).  Raises what made it fail."""
        with self._lock:
            began = self._clock()
            compiled = compiled or self._compile(self._path)
            self._replace(compiled)
            self._at_start = compiled.policy.daemon
            self._finish(began)
            return self._result(True, began, compiled)

    def accept(self) -> None:
        """The first policy stands: everything around it has started too."""
        with self._lock:
            if self._running is not None:
                self._note_accepted(self._running)

    def reload(self, confirm: float | None = None) -> ReloadResult:
        """Read the files again.  With `confirm`, the old policy comes back after so many seconds unless
        confirmed.  Never raises for a bad policy: that is the result."""
        if confirm is not None and not 0 < confirm <= MAX_CONFIRM:
            raise ControlError(f"confirm is 0 to {MAX_CONFIRM:g} seconds")
        self._counters.requests += 1
        with self._lock:
            began = self._clock()
            try:
                compiled = self._compile(self._path)
                before = self._running
                self._replace(compiled)
            except Exception as error:
                return self._refused(error, began)
            self._arm(before, confirm)
            self._finish(began)
            return self._result(True, began, compiled, confirm_within=confirm)

    def confirm(self) -> ReloadResult:
        """The policy that waits stays.  ControlError if none waits."""
        with self._lock:
            if self._way_back is None or self._running is None:
                raise ControlError("no reload waits to be confirmed", hint="it may have been rolled back already")
            self._way_back = None
            self._note_accepted(self._running)
            return self._result(True, self._clock(), self._running)

    def tick(self) -> bool:
        """Roll back if the time to confirm is over; True if that happened.  About once a second."""
        if self._way_back is None or self._clock() < self._deadline:
            return False
        with self._lock:
            if self._way_back is None or self._clock() < self._deadline:
                return False
            back, self._way_back = self._way_back, None
            self._replace(back)
            self._counters.last_successful = False
            self._counters.last_error = "rolled back: not confirmed in time"
            log.warning("reload: not confirmed in time; the former policy runs again as generation %d",
                        self._counters.generation)  # fmt: skip
            return True

    def _replace(self, compiled: Compiled) -> None:
        generation = self._publish(compiled)
        self._running = compiled
        self._counters.generation = generation
        self._counters.hash = compiled.policy.hash

    def _arm(self, before: Compiled | None, confirm: float | None) -> None:
        """A second unconfirmed reload keeps the first one's way back; an ordinary one settles."""
        if confirm is None:
            self._way_back = None
            return
        self._way_back = self._way_back or before
        self._deadline = self._clock() + confirm

    def _finish(self, began: float) -> None:
        self._counters.last_successful = True
        self._counters.last_error = ""
        self._counters.last_success_timestamp = self._wall()
        self._counters.last_duration = self._clock() - began
        if self._way_back is None and self._running is not None:
            self._note_accepted(self._running)

    def _note_accepted(self, compiled: Compiled) -> None:
        try:
            self._accepted(compiled, self._counters.generation)
        except OSError as error:
            log.warning("reload: the state directory cannot be written: %s", error)

    def _refused(self, error: Exception, began: float) -> ReloadResult:
        if isinstance(error, PolicyError):
            problems = tuple(error.problems)
        elif isinstance(error, WfpdError):
            problems = (Problem(error.message, hint=error.hint),)
        else:
            log.error("reload: a fault of wfpd's", exc_info=error)
            problems = (Problem(f"a fault of wfpd's: {type(error).__name__}", hint="the log says more"),)
        self._counters.last_successful = False
        self._counters.last_error = str(problems[0]).split("\n", 1)[0] if problems else "refused"
        self._counters.last_duration = self._clock() - began
        log.error("reload: refused, the old policy runs")
        for text in first_of(problems):
            log.error("reload: %s", text)
        return self._result(False, began, self._running, problems=problems)

    def _result(
        self,
        successful: bool,
        began: float,
        compiled: Compiled | None,
        *,
        problems: tuple[Problem, ...] = (),
        confirm_within: float | None = None,
    ) -> ReloadResult:
        restart: tuple[str, ...] = ()
        if successful and compiled is not None and self._at_start is not None:
            restart = changed_settings(self._at_start, compiled.policy.daemon)
        return ReloadResult(
            successful, self._counters.generation, self._counters.hash, self._clock() - began,
            n_filters=compiled.n_filters if compiled else 0, problems=problems,
            lints=compiled.policy.lints if compiled and successful else (), restart_needed=restart,
            confirm_within=confirm_within,
        )  # fmt: skip


def changed_settings(before: DaemonSettings, after: DaemonSettings) -> tuple[str, ...]:
    """The keys of `daemon:` that differ, as written in the file."""
    changed = (f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name))
    return tuple(dict.fromkeys(_shown(name) for name in changed))


def _shown(member: str) -> str:
    """`flows_max` is `flows.max` in the file; `metrics_filters` and `callout_path` are one word."""
    head, _, tail = member.partition("_")
    return f"{head}.{tail}" if head in ("control", "flows", "marks") and tail else member


def policy_path(path: str) -> str:
    """The absolute path that reloads read, fixed at start."""
    return os.path.abspath(path)
