"""A file of tests to a Suite, or every error in it with its line: the policy reader's own machinery and rules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from wfpd.config import reader
from wfpd.config.document import Unparsable, parse
from wfpd.config.limits import DEFAULT, Limits
from wfpd.config.nodes import Broken, Node, Scalar, is_nothing
from wfpd.config.nodes import Mapping as MappingNode
from wfpd.config.report import Report, Speaker, TooManyProblems, shown
from wfpd.config.trust import Unreadable, read_trusted
from wfpd.errors import ControlError, PolicyError
from wfpd.explaining import KINDS
from wfpd.replay import LocalPrefixes, parse_local
from wfpd.testing.cases import Case, Expectation, FromCapture, Step, Suite
from wfpd.testing.describing import FIELDS, HOOKS, MOST_PACKETS, REPLY_FIELDS, PacketReader
from wfpd.testing.expecting import VERDICTS, read_expectation

VERSION = 1
_DEFAULTS = (*FIELDS, "local", "answers", "callouts", "checksums")
_SINGLE = (*FIELDS, "local", "answers", "callouts", "expect")
_CAPTURE = ("capture", "packet", "hook", "local", "checksums", "answers", "callouts", "expect")
_COMMON = ("name", "description", "skip")
_WHOLE = ("every", "packets", "verdicts", "golden")
"""What can be expected of a whole capture."""

Entries = Mapping[str, Node]


def read_suites(paths: list[str], policy: str | None, limits: Limits = DEFAULT) -> list[Suite]:
    """The suites of all files; PolicyError with every error of all of them, ControlError for one that is not there.

    `policy` takes the place of what the files say.
    """
    report = Report(limits.problems)
    suites = []
    try:
        for path in paths:
            report.add_file(path)
            suites.append(_SuiteReader(path, policy, report, limits).read(_bytes_of(path, limits)))
    except TooManyProblems:
        raise PolicyError(report.sorted_errors()) from None
    report.errors = list({(item.location, item.message): item for item in reversed(report.errors)}.values())
    report.raise_errors()  # What is wrong in `defaults` was met once for each case.
    return suites


def _bytes_of(path: str, limits: Limits) -> bytes:
    try:
        return read_trusted(path, limits.file_size, frozenset())[0]
    except Unreadable as error:
        if os.path.isfile(path) and os.access(path, os.R_OK):
            raise PolicyError([error.problem]) from None
        raise ControlError(f"cannot open {path}: {error.problem.message}") from None


class _SuiteReader:
    """One reading of one file."""

    def __init__(self, path: str, policy: str | None, report: Report, limits: Limits) -> None:
        self.path = path
        self.policy = policy
        self.limits = limits
        self.speaker = Speaker(report, path)
        self.defaults: dict[str, Node] = {}
        self._names: dict[str, int] = {}

    def read(self, data: bytes) -> Suite:
        """What could be read; errors are in the report."""
        try:
            root = parse(data, self.path, self.speaker.report, self.limits)
        except Unparsable:
            return Suite(self.path, "")
        found = reader.mapping(self.speaker, root, "tests")
        if found is None:
            return Suite(self.path, "")
        reader.known_keys(self.speaker, found, ("version", "description", "policy", "defaults", "cases"), "tests")
        entries = found.entries
        self._check_version(found)
        policy = self._policy(found)
        if "defaults" in entries and (defaults := reader.mapping(self.speaker, entries["defaults"], "defaults")):
            reader.known_keys(self.speaker, defaults, _DEFAULTS, "defaults")
            self.defaults = dict(defaults.entries)
        if "cases" not in entries:
            self.speaker.error(found, "cases are missing")
            return Suite(self.path, policy)
        cases = [self._case(item) for item in reader.sequence(self.speaker, entries["cases"], "cases")]
        return Suite(self.path, policy, tuple(case for case in cases if case is not None))

    def _check_version(self, found: MappingNode) -> None:
        if "version" not in found.entries:
            self.speaker.error(found, "version is missing", f"write version: {VERSION}")
            return
        number = reader.number(self.speaker, found.entries["version"], "version", 0, 1 << 32)
        if number is not None and number != VERSION:
            self.speaker.error(found.entries["version"], f"version {number} is not read", f"write version: {VERSION}")

    def _policy(self, found: MappingNode) -> str:
        """The path of the policy, relative to the working directory."""
        said = ""
        if "policy" in found.entries:
            said = reader.text(self.speaker, found.entries["policy"], "policy", self.limits) or ""
        elif self.policy is None:
            self.speaker.error(found, "policy is missing", "policy: FILE, relative to this file; or --policy FILE")
        return self._beside(said) if self.policy is None else self.policy

    def _beside(self, name: str) -> str:
        return os.path.normpath(os.path.join(os.path.dirname(self.path), name))

    # --- one case

    def _case(self, node: Node) -> Case | None:
        found = reader.mapping(self.speaker, node, "case")
        if found is None:
            return None
        name = self._name(found)
        speaker = self.speaker.about(f"case {shown(name, 128)}" if name else "case")
        if "capture" in found.entries:
            kind: tuple[str, ...] = _CAPTURE
        elif "packets" in found.entries or "each" in found.entries:
            kind = (*_SINGLE, "packets" if "packets" in found.entries else "each")
        else:
            kind = _SINGLE
        reader.known_keys(speaker, found, (*_COMMON, *kind), "case")
        members = self._told(speaker, found)
        skip = ""
        if "skip" in found.entries:
            skip = reader.text(speaker, found.entries["skip"], "skip", self.limits) or ""
        if "capture" in found.entries:
            members["capture"] = self._capture(speaker, found)
        else:
            members["steps"], members["together"] = self._steps(speaker, found), "packets" in found.entries
        return Case(name or "", speaker.at(found), skip=skip, **members)

    def _name(self, found: MappingNode) -> str | None:
        if "name" not in found.entries:
            self.speaker.error(found, "case: name is missing")
            return None
        node = found.entries["name"]
        name = reader.name(self.speaker, node, self.limits)
        if name in self._names:
            self.speaker.error(node, f"case: the name {shown(name, 128)} is taken in line {self._names[name]}")
        elif name is not None:
            self._names[name] = node.line
        return name

    def _told(self, speaker: Speaker, found: MappingNode) -> dict[str, Any]:
        """What stands in for callouts."""
        entries = {**self.defaults, **found.entries}
        members: dict[str, Any] = {}
        if "callouts" in entries:
            members["run_callouts"] = (
                reader.choice(speaker, entries["callouts"], "callouts", ("run", "answers")) == "run"
            )
        if "answers" in entries and (given := reader.mapping(speaker, entries["answers"], "answers")):
            members["answers"] = {name: reader.choice(speaker, node, f"answers: {name}", KINDS) or "continue"
                                  for name, node in given.entries.items()}  # fmt: skip
        if members.get("run_callouts") and "answers" in found.entries:
            speaker.error(found.entries["answers"], "answers: the callouts are run", "callouts: answers")
        return members

    def _local(self, speaker: Speaker, entries: Entries) -> LocalPrefixes | None:
        if "local" not in entries:
            return None
        texts = [item.text for item in reader.items(entries["local"]) if isinstance(item, Scalar)]
        try:
            return parse_local(",".join(texts))
        except ValueError as error:
            speaker.error(entries["local"], f"local: {error}", "a list of this host's addresses or prefixes")
            return None

    def _where(self, found: MappingNode) -> dict[str, Node]:
        """The defaults and what the case says; its own `hook` or `local` takes the place of either."""
        inherited = dict(self.defaults)
        if "hook" in found.entries or "local" in found.entries:
            inherited = {name: node for name, node in inherited.items() if name not in ("hook", "local")}
        return {**inherited, **found.entries}

    # --- described packets

    def _steps(self, speaker: Speaker, found: MappingNode) -> tuple[Step, ...]:
        given = self._where(found)
        packets = PacketReader(speaker, self.limits, self._local(speaker, given))
        own = found.entries
        expected = self._expected(speaker, found)
        if "packets" not in own and "each" not in own:
            return tuple(packets.read(_fields(given), own, found, () if expected is None else (expected,)))
        name = "packets" if "packets" in own else "each"
        nodes = reader.sequence(speaker, own[name], name)
        if not nodes and not isinstance(own[name], Broken):
            speaker.error(own[name], f"{name}: no packet is said")
        steps: list[Step] = []
        for item in nodes:
            steps += self._item(speaker, packets, name, item, given, own, expected)
            if len(steps) > MOST_PACKETS:
                speaker.error(item, f"more than {MOST_PACKETS} packets")
                break
        said = any(isinstance(item, MappingNode) and "expect" in item.entries for item in nodes)
        if nodes and name == "packets" and "expect" not in own and not said:
            speaker.error(own[name], "packets: nothing is expected of any of them")
        return tuple(steps)

    def _expected(self, speaker: Speaker, found: MappingNode) -> Expectation | None:
        entries = found.entries
        if "expect" in entries:
            return read_expectation(speaker, entries["expect"], self.limits)
        if "packets" not in entries and "each" not in entries:
            speaker.error(found, "expect is missing", "expect: permit or block, or a mapping")
        return None

    def _item(
        self, speaker: Speaker, packets: PacketReader, name: str, node: Node, given: Entries, own: Entries,
        expected: Expectation | None,
    ) -> list[Step]:  # fmt: skip
        """One entry of `packets` or `each`; in `packets` it is one packet."""
        found = reader.mapping(speaker, node, name)
        if found is None:
            return []
        entries = found.entries
        replies = name == "packets" and "reply" in entries and reader.flag(speaker, entries["reply"], "reply", False)
        known = REPLY_FIELDS if replies else (*FIELDS, *(("reply",) if name == "packets" else ()))
        reader.known_keys(speaker, found, (*known, "expect", *(("after",) if name == "packets" else ())), "packet")
        if "expect" in entries:
            expected = read_expectation(speaker, entries["expect"], self.limits)
        elif expected is None and name == "each" and "expect" not in own:
            speaker.error(found, "expect is missing, here and of the case")
        if "after" in entries:
            packets.wait(entries["after"])
        wanted = () if expected is None else (expected,)
        if replies:
            return packets.read_reply(entries, found, wanted)
        steps = packets.read({**_fields(given), **_fields(entries)}, entries, found, wanted)
        if name == "packets" and len(steps) > 1:
            speaker.error(found, "packets: one protocol and one pair of ends at a time", "`each` takes lists")
        return steps

    # --- captures

    def _capture(self, speaker: Speaker, found: MappingNode) -> FromCapture | None:
        given = self._where(found)
        entries = found.entries
        path = reader.text(speaker, entries["capture"], "capture", self.limits)
        local = self._local(speaker, given)
        hook = "forward"
        if "hook" in given:
            hook = reader.choice(speaker, given["hook"], "hook", HOOKS) or hook
        if "hook" in entries and "local" in entries:
            speaker.error(entries["hook"], "hook: it is taken from local", "one of the two")
        members: dict[str, Any] = {"hook": hook, "local": None if "hook" in entries else local}
        members["checksums"] = reader.flag(speaker, given.get("checksums"), "checksums", False)
        if "expect" not in entries:
            speaker.error(found, "expect is missing")
        elif "packet" in entries:
            number = reader.number(speaker, entries["packet"], "packet", 1, 10**9)
            expected = read_expectation(speaker, entries["expect"], self.limits)
            members["by_number"] = {number: expected} if number and expected else {}
        else:
            members |= self._whole(speaker, entries["expect"])
        return None if path is None else FromCapture(self._beside(path), **members)

    def _whole(self, speaker: Speaker, node: Node) -> dict[str, Any]:
        """Expectations of all of a capture."""
        if isinstance(node, Scalar) and not is_nothing(node):
            return {"every": read_expectation(speaker, node, self.limits)}
        found = reader.mapping(speaker, node, "expect")
        if found is None:
            return {}
        reader.known_keys(speaker, found, _WHOLE, "expect of a whole capture")
        entries = found.entries
        members: dict[str, Any] = {}
        if not entries:
            speaker.error(
                found, "expect: nothing is expected", f"some of: {', '.join(_WHOLE)}; or packet: N of the case"
            )
        if "every" in entries:
            members["every"] = read_expectation(speaker, entries["every"], self.limits)
        if "packets" in entries and (packets := reader.mapping(speaker, entries["packets"], "packets")):
            members["by_number"] = self._by_number(speaker, packets)
        if "verdicts" in entries and (counts := reader.mapping(speaker, entries["verdicts"], "verdicts")):
            reader.known_keys(speaker, counts, VERDICTS, "verdicts")
            members["counts"] = {name: reader.number(speaker, item, name, 0, 1 << 62) or 0
                                 for name, item in counts.entries.items()}  # fmt: skip
        if "golden" in entries:
            golden = reader.text(speaker, entries["golden"], "golden", self.limits)
            members["golden"] = "" if golden is None else self._beside(golden)
        return members

    def _by_number(self, speaker: Speaker, found: MappingNode) -> dict[int, Expectation]:
        expected = {}
        for key, item in found.items():
            number = reader.number(speaker, key, "packet", 1, 10**9)
            one = read_expectation(speaker, item, self.limits)
            if number is not None and one is not None:
                expected[number] = one
        return expected


def _fields(entries: Entries) -> dict[str, Node]:
    """What describes a packet."""
    return {name: entries[name] for name in FIELDS if name in entries}
