"""`wfpd test`: its arguments, and from files and directories to an exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import IO, TYPE_CHECKING

from wfpd.errors import ControlError, UsageError

if TYPE_CHECKING:
    from wfpd.testing.cases import Suite
    from wfpd.testing.running import Result, Runner, SuiteResult

ENDINGS = (".test.yaml", ".test.yml", ".test.json")
MOST_FILES = 10_000


def add_arguments(made: argparse.ArgumentParser) -> None:
    """What `wfpd test` takes."""
    made.add_argument("paths", nargs="+", metavar="FILE|DIRECTORY",
                      help="test files; of a directory every *.test.yaml in it and below")  # fmt: skip
    made.add_argument("--policy", metavar="FILE", help="test this policy, whatever the files name")
    made.add_argument("-k", dest="pattern", action="append", metavar="PATTERN",
                      help="only cases whose name contains it, in upper or lower case; may be repeated")  # fmt: skip
    made.add_argument("-v", "--verbose", action="store_true", help="show the cases that passed, too")
    made.add_argument("--coverage", action="store_true", help="show which filters no case has hit")
    made.add_argument("--junit", metavar="FILE", help="also write the results as JUnit XML")


def run(arguments: argparse.Namespace) -> int:
    """0: every case passed; 1: one failed, or a test file or policy is wrong."""
    from wfpd.testing.reading import read_suites
    from wfpd.testing.running import Runner

    suites = read_suites(find(arguments.paths), arguments.policy)
    wanted = selecting(arguments.pattern)
    if not any(wanted(case.name) for suite in suites for case in suite.cases):
        raise UsageError("no case is selected" if arguments.pattern else "the files have no case")
    junit = _open_output(arguments.junit) if arguments.junit else None
    runner = Runner(coverage=arguments.coverage, wanted=wanted)
    started = time.perf_counter()
    told = None if arguments.json else _telling(arguments.verbose)
    with closing(runner):
        results = [runner.run(suite, told) for suite in suites]
    return _tell(arguments, runner, results, time.perf_counter() - started, junit)


def _telling(verbose: bool) -> Callable[[Suite, Result], None]:
    from wfpd.testing.report import render_case

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def tell(suite: Suite, result: Result) -> None:
        if verbose or result.outcome == "failed":
            sys.stdout.write(render_case(suite.path, result, color))
            sys.stdout.flush()

    return tell


def _tell(
    arguments: argparse.Namespace, runner: Runner, results: list[SuiteResult], seconds: float, junit: IO[bytes] | None
) -> int:
    from wfpd.testing import report
    from wfpd.testing.junit import render

    if junit is not None:
        with junit:
            junit.write(render(results, seconds))
    if arguments.json:
        print(json.dumps(report.document(results, seconds, runner.coverage)))
    else:
        for suite in results:
            if suite.problems:
                sys.stdout.write(report.render_problems(suite))
        sys.stdout.write(report.render_coverage(runner.coverage))
        print(report.summary(results, seconds))
    return 0 if report.is_passed(results) else 1


def selecting(patterns: list[str] | None) -> Callable[[str], bool]:
    """Whether a case of the name is wanted."""
    if not patterns:
        return lambda name: True
    folded = [pattern.lower() for pattern in patterns]
    return lambda name: any(pattern in name.lower() for pattern in folded)


def find(paths: list[str]) -> list[str]:
    """The test files, each once.  UsageError for a directory without any, ControlError for what is not there."""
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            inside = list(_below(path))
            if not inside:
                raise UsageError(f"{path}: there is no *.test.yaml in it or below")
            found.update(dict.fromkeys(inside))
        elif os.path.exists(path):
            found[path] = None
        else:
            raise ControlError(f"cannot open {path}: there is no such file")
    return list(found)


def _below(directory: str) -> Iterator[str]:
    """In order of their names; links to directories and hidden directories are not entered."""
    n = 0
    for place, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(ENDINGS):
                n += 1
                if n > MOST_FILES:
                    raise UsageError(f"{directory}: more than {MOST_FILES} test files")
                yield os.path.join(place, name)


def _open_output(path: str) -> IO[bytes]:
    try:
        return open(path, "wb")
    except OSError as error:
        raise ControlError(f"cannot open {path}: {error.strerror}") from error
