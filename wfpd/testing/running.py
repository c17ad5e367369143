"""Runs the cases of a suite on the packet path's own tables and says of each what came instead of what was expected."""

from __future__ import annotations

import itertools
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.errors import CaptureError, ControlError, PolicyError, Problem, UsageError
from wfpd.explaining import NEAR, answers_of, bare_snapshot, explanation
from wfpd.model.policy import Policy
from wfpd.replay import Replay, close_callouts, end_on_interrupt, failure, make_snapshot, read_capture
from wfpd.testing.cases import Case, Difference, FromCapture, Step, Suite
from wfpd.testing.coverage import Coverage
from wfpd.testing.missing import why_not

FEW_FLOWS = 1024
"""Room for the flows of described packets."""
MOST_FAILURES = 20
"""Of one case: told up to this many, the rest counted."""
MOST_LINE = 1 << 20
"""Characters of one line of a golden file."""

Line = dict[str, Any]
Steps = Callable[[], Iterator[Step]]


@dataclass(frozen=True, slots=True)
class Failure:
    """One packet, or a whole capture, that is not as it was expected."""

    packet: int | None
    """Its number; None: of the capture as a whole."""
    differences: tuple[Difference, ...]
    line: Line | None = None


@dataclass(slots=True)
class Result:
    """What became of one case."""

    case: Case
    failures: list[Failure] = field(default_factory=list)
    n_failures: int = 0
    n_packets: int = 0
    seconds: float = 0.0
    error: str = ""
    """Why the case could not be run to its end, or nothing."""
    explanation: dict[str, Any] | None = None
    """Of the first packet that failed, as `wfpd explain --json` has it."""
    missing: list[str] = field(default_factory=list)
    """Why the expected filter of that packet did not decide, and what callouts raised for it."""

    @property
    def outcome(self) -> str:
        """passed, failed or skipped."""
        if self.case.skip:
            return "skipped"
        return "failed" if self.n_failures or self.error else "passed"

    def fail(self, failure: Failure) -> None:
        """Count a failure and keep the first ones."""
        self.n_failures += 1
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(failure)


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What became of one file."""

    suite: Suite
    results: tuple[Result, ...]
    problems: tuple[Problem, ...] = ()
    """Why the policy does not load: then no case was run."""
    n_deselected: int = 0


class Tables:
    """A policy and its snapshots, made once for all suites that name it.  PolicyError if it does not load."""

    def __init__(self, path: str) -> None:
        self.policy: Policy = load_policy(path, trust="warn")
        self.bare = bare_snapshot(self.policy)
        self._registered: Any = None

    def snapshot(self, run_callouts: bool) -> Any:
        """The tables; with the callouts imported where they are run."""
        if not run_callouts:
            return self.bare
        if self._registered is None:
            self._registered = make_snapshot(self.policy)
        return self._registered

    def close(self) -> None:
        """No case asks the callouts any more."""
        if self._registered is not None:
            close_callouts(self._registered)


class Runner:
    """Runs suites.  ControlError for a policy or capture that cannot be opened."""

    def __init__(self, *, coverage: bool = False, wanted: Callable[[str], bool] | None = None) -> None:
        """`wanted`: which cases, by name."""
        self.coverage: dict[str, Coverage] = {}
        """By policy file, where it was asked for."""
        self._covering = coverage
        self._wanted = wanted or (lambda name: True)
        self._tables: dict[str, Tables | PolicyError] = {}

    def run(self, suite: Suite, told: Callable[[Suite, Result], None] | None = None) -> SuiteResult:
        """Every case that is wanted; each result is `told` as it comes."""
        cases = [case for case in suite.cases if self._wanted(case.name)]
        n_deselected = len(suite.cases) - len(cases)
        try:
            tables = self._load(suite.policy)
            results = []
            for case in cases:
                results.append(self._case(tables, suite, case))
                if told is not None:
                    told(suite, results[-1])
        except PolicyError as error:
            return SuiteResult(suite, (), tuple(error.problems), n_deselected)
        return SuiteResult(suite, tuple(results), (), n_deselected)

    def close(self) -> None:
        """Callouts that were run end."""
        for tables in self._tables.values():
            if isinstance(tables, Tables):
                tables.close()

    def _load(self, path: str) -> Tables:
        found = self._tables.get(path)
        if found is None:
            must_open(path)
            try:
                found = Tables(path)
            except PolicyError as error:
                found = error
            self._tables[path] = found
        if isinstance(found, PolicyError):
            raise found
        if self._covering:
            self.coverage.setdefault(path, Coverage(found.bare))
        return found

    def _case(self, tables: Tables, suite: Suite, case: Case) -> Result:
        result = Result(case)
        if case.skip:
            return result
        started = time.perf_counter()
        try:
            for steps in _trials(case):
                self._trial(tables, suite, result, steps)
        except (CaptureError, UsageError) as error:
            result.error = error.message
        except PolicyError as error:  # A callout that is to be run cannot be imported.
            result.error = str(error)
        result.seconds = time.perf_counter() - started
        return result

    def _replay(self, tables: Tables, case: Case) -> Replay:
        capture = case.capture
        snapshot = tables.snapshot(case.run_callouts)
        replay = Replay(
            tables.policy, hook=capture.hook if capture else "forward", local=capture.local if capture else None,
            checksums=capture.checksums if capture else False, snapshot=snapshot,
            answers=None if case.run_callouts else answers_of(snapshot, case.answers),
            flows_max=None if capture else min(FEW_FLOWS, tables.policy.daemon.flows_max), parks=case.run_callouts,
        )  # fmt: skip
        replay.replayer.context.on_error = end_on_interrupt
        return replay

    def _trial(self, tables: Tables, suite: Suite, result: Result, steps: Steps) -> None:
        """One flow table from its first packet on; the case's first failure is explained on a second one."""
        case = result.case
        with closing_flows(self._replay(tables, case)) as replay:
            first = self._steps(replay, suite, result, steps)
        if first >= 0 and result.explanation is None:
            with closing_flows(self._replay(tables, case)) as replay:
                self._explain(replay, tables, result, steps, first)

    def _steps(self, replay: Replay, suite: Suite, result: Result, steps: Steps) -> int:
        """Every packet; the place of the first failure, or -1."""
        case = result.case
        coverage = self.coverage.get(suite.policy)
        whole = _Whole(case.capture) if case.capture else None
        first = -1
        near = -1 if coverage is None else 0
        for place, step, line in decided(replay, steps(), lambda place: near, last_expected(case)):
            result.n_packets += 1
            if coverage is not None:
                coverage.note(visit for _, visit in replay.visits)
            differences = [found for expected in step.expected for found in expected.differences(line)]
            differences += whole.differences(line) if whole else []
            if differences:
                first = place if first < 0 else first
                result.fail(Failure(step.packet.number, tuple(differences), line))
        if whole:
            for difference in whole.at_end():
                result.fail(Failure(None, (difference,)))
        return first

    def _explain(self, replay: Replay, tables: Tables, result: Result, steps: Steps, place: int) -> None:
        def near(at: int) -> int:
            if at != place:
                return -1
            replay.replayer.context.on_error = raised
            return NEAR

        def raised(name: str, error: BaseException) -> None:
            end_on_interrupt(name, error)
            result.missing.append(failure(name, error))

        found = decided(replay, steps(), near, last_expected(result.case))
        step, line = next((step, line) for at, step, line in found if at == place)
        result.explanation = explanation(replay, step.packet, line)
        if result.case.run_callouts:
            result.explanation["called"] = True
        names = {item.expected for failure in result.failures for item in failure.differences
                 if failure.packet == step.packet.number and item.member == "filter"}  # fmt: skip
        visits = [visit for _, visit in replay.visits]
        for name in sorted(name for name in names if name):
            result.missing += why_not(tables.policy, name, visits, result.explanation)


def decided(
    replay: Replay, steps: Iterator[Step], near: Callable[[int], int], last: int = 0
) -> Iterator[tuple[int, Step, Line]]:
    """Each packet, when it is decided, with its place and its line; what waits at the end is late.

    `near` says by place how it is explained.  Packets with numbers above `last` are of use only while one of which
    something is expected waits; 0: all are.
    """
    waiting: dict[int, tuple[int, Step]] = {}

    def is_over(number: int) -> bool:
        return 0 < last <= number and not any(step.expected for _, step in waiting.values())

    for place, step in enumerate(steps):
        for packet, line in replay.due(step.packet.timestamp_ns):
            yield *waiting.pop(packet.number), line
        if is_over(step.packet.number - 1):
            return
        line = replay.decide(step.packet, near=near(place), mark=step.mark, hooks=step.hooks)
        if line["verdict"] == "parked":
            waiting[step.packet.number] = (place, step)
        else:
            yield place, step, line
        if is_over(step.packet.number):
            return
    for packet, line in replay.due():
        yield *waiting.pop(packet.number), line


def last_expected(case: Case) -> int:
    """The number of the last packet of a capture of which something is expected; 0: of all, or of the whole."""
    capture = case.capture
    if capture is None or capture.every is not None or capture.counts or capture.golden:
        return 0
    return max(capture.by_number, default=0)


@contextmanager
def closing_flows(replay: Replay) -> Iterator[Replay]:
    """What callouts keep with the flows of these packets ends with them."""
    try:
        yield replay
    finally:
        replay.end_flows()


def must_open(path: str) -> None:
    """ControlError for what cannot be opened, or is no file that can be read twice; never waits for a FIFO."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a file"
        raise ControlError(f"cannot open {path}: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ControlError(f"cannot open {path}: it is not a regular file")
    finally:
        os.close(descriptor)


def _trials(case: Case) -> Iterator[Steps]:
    """The packets of each flow table that the case needs; each can be gone through again."""
    if case.capture is not None:
        must_open(case.capture.path)
        yield lambda: _captured(case)
    elif case.together:
        yield lambda: iter(case.steps)
    else:
        for step in case.steps:
            yield lambda step=step: iter((step,))  # type: ignore[misc]


def _captured(case: Case) -> Iterator[Step]:
    """The packets up to the last one that anything is expected of, and all where packets may wait for later ones.

    CaptureError, UsageError if it breaks off.
    """
    assert case.capture is not None
    capture = case.capture
    every = () if capture.every is None else (capture.every,)
    last = 0 if case.run_callouts else last_expected(case)
    packets: Iterator[CapturedPacket] = read_capture(capture.path)
    number = 0
    for packet in itertools.islice(packets, last) if last else packets:
        number = packet.number
        own = capture.by_number.get(number)
        yield Step(packet, None, every if own is None else (own,))
    if number < max(capture.by_number, default=0):
        raise UsageError(f"the capture has no packet {max(capture.by_number)}: it ends with packet {number}")


class _Whole:
    """What is expected of a capture as a whole, packet after packet."""

    def __init__(self, capture: FromCapture) -> None:
        self._expected = capture.counts
        self._counts = {"permit": 0, "block": 0}
        self._golden = golden_lines(capture.golden) if capture.golden else None

    def differences(self, line: Line) -> Sequence[Difference]:
        """Of one packet and the golden file's line."""
        self._counts[line["verdict"]] += 1
        if self._golden is None:
            return ()
        wanted = next(self._golden, None)
        if wanted is None:
            return (Difference("golden", "the end of the file", f"packet {line['packet']}"),)
        return golden_differences(wanted, line)

    def at_end(self) -> Iterator[Difference]:
        """Of the whole."""
        for verdict, n in self._expected.items():
            if self._counts[verdict] != n:
                yield Difference(f"packets with verdict {verdict}", n, self._counts[verdict])
        if self._golden is not None and (rest := sum(1 for _ in self._golden)):
            yield Difference("golden", f"{rest} more packets", "the end of the capture")


def golden_differences(wanted: Mapping[str, Any], line: Line) -> list[Difference]:
    """Members of the two lines that are not equal."""
    names = [*line, *(name for name in wanted if name not in line)]
    return [Difference(name, wanted.get(name), line.get(name)) for name in names if wanted.get(name) != line.get(name)]


def golden_lines(path: str) -> Iterator[Mapping[str, Any]]:
    """The lines of `wfpd replay --json`.  CaptureError for what is none, ControlError if it cannot be opened."""
    must_open(path)
    with closing(open(path, encoding="utf-8", errors="replace")) as file:
        number = 0
        while text := file.readline(MOST_LINE):
            number += 1
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict):
                raise CaptureError(f"{path}:{number}: is no line of `wfpd replay --json`")
            yield line
