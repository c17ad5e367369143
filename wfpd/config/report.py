"""Collects every problem of a policy, in file order, with hints."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from wfpd.config.nodes import Node
from wfpd.errors import Location, PolicyError, Problem

_HINTS_AT_MOST = 200
"""Nearest-name searches in one report: each is a comparison with every known name."""


class TooManyProblems(Exception):
    """The limit is reached; reading stops."""


class Report:
    """Errors and lints of one reading."""

    def __init__(self, at_most: int) -> None:
        self.errors: list[Problem] = []
        self.lints: list[Problem] = []
        self._at_most = at_most
        self._hints_left = _HINTS_AT_MOST
        self._file_ranks: dict[str, int] = {}

    def add_file(self, path: str) -> None:
        """Declare the reading order, which is the order of the report."""
        self._file_ranks.setdefault(path, len(self._file_ranks))

    def error(self, message: str, location: Location, subject: str = "", hint: str = "", code: str = "") -> None:
        """Report one error.  Raises TooManyProblems at the limit."""
        self.errors.append(Problem(message, location, subject, hint, code))
        if len(self.errors) >= self._at_most:
            self.errors.append(Problem(f"more than {self._at_most} errors; the rest is not shown"))
            raise TooManyProblems

    def lint(self, message: str, location: Location, subject: str = "", hint: str = "") -> None:
        """Report something that loads and is probably not meant."""
        if len(self.lints) < self._at_most:
            self.lints.append(Problem(message, location, subject, hint))

    def nearest(self, name: str, known: Iterable[str]) -> str:
        """`did you mean "x"?`, or nothing."""
        if self._hints_left <= 0 or len(name) > 64:
            return ""
        self._hints_left -= 1
        matches = get_close_matches(name, list(known), 1, 0.6)
        return f'did you mean "{matches[0]}"?' if matches else ""

    def sorted_lints(self) -> tuple[Problem, ...]:
        """Lints in file order."""
        return tuple(sorted(self.lints, key=self._rank))

    def sorted_errors(self) -> list[Problem]:
        """Errors in file order; those without a place last."""
        return sorted(self.errors, key=self._rank)

    def raise_errors(self) -> None:
        """PolicyError with everything found, if anything was."""
        if self.errors:
            raise PolicyError(self.sorted_errors())

    def _rank(self, problem: Problem) -> tuple[int, int, int]:
        place = problem.location
        if not place.file:
            return (1 << 30, 0, 0)
        return (self._file_ranks.get(place.file, 1 << 29), place.line, place.column)


class Speaker:
    """Reports about one object of one file."""

    __slots__ = ("file", "report", "subject")

    def __init__(self, report: Report, file: str, subject: str = "") -> None:
        self.report = report
        self.file = file
        self.subject = subject

    def at(self, node: Node) -> Location:
        """The node's place."""
        return Location(self.file, node.line, node.column)

    def error(self, node: Node, message: str, hint: str = "", code: str = "") -> None:
        """Report an error at the node."""
        self.report.error(message, self.at(node), self.subject, hint, code)

    def lint(self, node: Node, message: str, hint: str = "") -> None:
        """Report a lint at the node."""
        self.report.lint(message, self.at(node), self.subject, hint)

    def about(self, subject: str) -> Speaker:
        """The same file, another object."""
        return Speaker(self.report, self.file, subject)


def shown(text: str, at_most: int = 60) -> str:
    """Text of a file in quotes: escaped, and cut where it is long."""
    cut = text if len(text) <= at_most else text[:at_most] + "..."
    inner = cut.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{inner}"'
