"""A policy file to a Policy, or every error in it.

The sections are read in the order of what refers to what: providers, sets, sublayers, contexts,
callouts, then filters; each in reading order over all files.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Literal

from wfpd.config import reader
from wfpd.config._quick import QuickReader
from wfpd.config._tape import Items
from wfpd.config.conditions import ConditionReader, top_of
from wfpd.config.document import Unparsable, parse
from wfpd.config.files import Files
from wfpd.config.filters import FilterReader
from wfpd.config.limits import DEFAULT, Limits
from wfpd.config.nodes import Broken, Mapping, Node, Scalar, Sequence, is_nothing
from wfpd.config.objects import NOTHING, Known, ObjectReader
from wfpd.config.report import Report, Speaker, TooManyProblems, shown
from wfpd.config.scalars import BadValue, integer
from wfpd.config.sets import SET_KEYS, SetReader, SetTable
from wfpd.config.settings import DaemonReader, read_attachment, read_faults
from wfpd.config.trust import service_uids as default_service_uids
from wfpd.errors import PolicyError
from wfpd.model.policy import Attachment, DaemonSettings, Faults, Policy, ValueSet

VERSION = 1
TOP_KEYS = (
    "version", "include", "daemon", "faults", "attach", "providers", "sublayers", "provider_contexts", "callouts",
    "sets", "filters",
)  # fmt: skip

CHANGE_KEYS = ("version", "providers", "sublayers", "provider_contexts", "sets", "filters")
"""What a change may have: a part of a policy that lies beside that of the file."""
CALLOUT_KEYS = (*CHANGE_KEYS, "callouts")
"""What it may have where its author may name code."""

FEW = 8
"""Filters for which the tables of the quick reader are not worth their making."""

Read = Callable[[Speaker, Node], None]
"""Reads one entry of a section."""


def load_policy(
    path: str | os.PathLike[str],
    *,
    trust: Literal["refuse", "warn"] = "refuse",
    limits: Limits = DEFAULT,
    service_uids: frozenset[int] | None = None,
) -> Policy:
    """Read a policy with its includes and sets.

    `trust`: what to do about a file that others may write: refuse it (`run`), or a lint (`check`).
    `service_uids`: owners to be trusted; by default root, this process's user, the user `wfpd`.
    Raises PolicyError with every error found; nothing else.
    """
    collecting = gc.isenabled()
    gc.disable()  # A tree of millions of nodes and no cycles: each collection would walk it in vain.
    try:
        uids = default_service_uids() if service_uids is None else service_uids
        return _Schema(os.fspath(path), trust == "refuse", limits, uids).read()
    finally:
        if collecting:
            gc.enable()


def load_change(text: str, known: Known = NOTHING, *, callouts: bool = False, limits: Limits = DEFAULT) -> Policy:
    """Read a part of a policy that is no file and may name what is `known`; with `callouts` it may have some.

    The policy has the known objects too.  Raises PolicyError with every
    error found; nothing else.
    """
    schema = _Schema("change", True, limits, frozenset(), known)
    schema.top_keys = CALLOUT_KEYS if callouts else CHANGE_KEYS
    return schema.read(text.encode("utf-8", "surrogatepass"))


def load_data(text: str, limits: Limits = DEFAULT) -> object:
    """Free data, such as a callout's options, as it would be read in a policy file.  PolicyError where it is none."""
    report = Report(limits.problems)
    try:
        root = parse(text.encode("utf-8", "surrogatepass"), "", report, limits)
    except (Unparsable, TooManyProblems):
        raise PolicyError(report.sorted_errors()) from None
    report.raise_errors()
    return reader.natural(root)


class _Schema:
    """One reading of one policy."""

    def __init__(self, path: str, refuse: bool, limits: Limits, uids: frozenset[int], known: Known = NOTHING) -> None:
        self.path = path
        self.limits = limits
        self.top_keys: tuple[str, ...] = TOP_KEYS
        self.report = Report(limits.problems)
        self.files = Files(self.report, limits, refuse, uids)
        self.objects = ObjectReader(limits, known)
        self.sets: list[ValueSet] = []
        self.daemon = DaemonSettings()
        self.faults = Faults()
        self.attach: list[Attachment] = []

    def read(self, data: bytes | None = None) -> Policy:
        """The policy of the file, or of `data`; or PolicyError."""
        try:
            if data is None:
                self.files.read_policy(self.path)
            else:
                self.files.take_text(self.path, data)
            filters = self._read_sections()
        except TooManyProblems:
            raise PolicyError(self.report.sorted_errors()) from None
        self.report.raise_errors()
        objects = self.objects
        return Policy(
            filters=filters.filters,
            sublayers=tuple(sorted(objects.sublayers.values(), key=lambda item: -item.weight)),
            callouts=tuple(objects.callouts.values()),
            sets=tuple(self.sets),
            providers=tuple(objects.providers.values()),
            provider_contexts=tuple(objects.contexts.values()),
            attach=tuple(self.attach),
            daemon=self.daemon,
            faults=self.faults,
            files=tuple(self.files.paths),
            hash=self.files.hash,
            lints=self.report.sorted_lints(),
        )

    def _read_sections(self) -> FilterReader:
        self._check_documents()
        self._read_settings()
        objects = self.objects
        self._read_list("providers", "provider", objects.read_provider)
        broken_sets = self._read_sets()
        self._read_list("sublayers", "sublayer", objects.read_sublayer)
        self._read_list("provider_contexts", "provider_context", objects.read_context)
        self._read_list("callouts", "callout", objects.read_callout)
        table = SetTable(self.sets, broken_sets)
        conditions = ConditionReader(table, self.limits)
        filters = FilterReader(objects, conditions, self.limits)
        quick = None
        for speaker, node in self._section("filters"):
            if isinstance(node, Sequence) and isinstance(node.items, Items) and len(node.items) > FEW:
                quick = quick or QuickReader(filters, top_of)
                quick.read(speaker, node.items, self._reading("filter", filters.read))
            else:
                self._read_items(speaker, node, "filters", self._reading("filter", filters.read))
        self._lint_weights(filters)
        return filters

    def _check_documents(self) -> None:
        for index, document in enumerate(self.files.documents):
            speaker = Speaker(self.report, document.path)
            reader.known_keys(speaker, document.root, self.top_keys, "policy")
            node = document.root.entries.get("version")
            if node is not None:
                self._check_version(speaker, node)
            elif index == 0 and document.path == self.path:
                speaker.error(document.root, "version is missing", f"write version: {VERSION}")

    def _check_version(self, speaker: Speaker, node: Node) -> None:
        found = reader.scalar(speaker, node, "version")
        if found is None:
            return
        try:
            version = integer(found.text)
        except BadValue as bad:
            speaker.error(node, f"version: {bad.message}", f"write version: {VERSION}")
            return
        if version > VERSION:
            hint = "a newer wfpd wrote it, or reads it"
            speaker.error(node, f"version {version} is newer than this wfpd reads, which is {VERSION}", hint)
        elif version < VERSION:
            speaker.error(node, f"version {version} does not exist", f"write version: {VERSION}")

    def _section(self, name: str) -> Iterator[tuple[Speaker, Node]]:
        """The section in each file that has it and says something there."""
        for document in self.files.documents:
            node = document.root.entries.get(name)
            if node is not None and not is_nothing(node):
                yield Speaker(self.report, document.path), node

    def _read_settings(self) -> None:
        for name in ("daemon", "faults"):
            first = ""
            for speaker, node in self._section(name):
                if first:
                    speaker.error(node, f"{name}: is given twice; first in {first}", "one file of a policy has it")
                elif name == "daemon":
                    self.daemon = DaemonReader(speaker, self.limits).read(node)
                    for directory in self.daemon.callout_path:
                        self.files.check_directory(directory, speaker, node)
                else:
                    self.faults = read_faults(speaker, node)
                first = first or speaker.file
        for speaker, node in self._section("attach"):
            for item in reader.sequence(speaker, node, "attach"):
                if len(self.attach) >= self.limits.objects:
                    speaker.error(item, f"attach: more than {self.limits.objects} entries")
                    break
                attachment = read_attachment(speaker, item, self.limits)
                if attachment:
                    self.attach.append(attachment)

    def _read_list(self, name: str, kind: str, read: Read) -> None:
        for speaker, node in self._section(name):
            self._read_items(speaker, node, name, self._reading(kind, read))

    def _read_items(self, speaker: Speaker, node: Node, name: str, read: Read) -> None:
        for item in reader.sequence(speaker, node, name):
            read(speaker, item)

    def _reading(self, kind: str, read: Read) -> Read:
        """`read`, which then remembers what was wrong."""

        def read_and_note(speaker: Speaker, item: Node) -> None:
            n_errors = len(self.report.errors)
            read(speaker, item)
            if len(self.report.errors) != n_errors:
                self.objects.remember_broken(kind, item)

        return read_and_note

    def _read_sets(self) -> set[str]:
        """Reads `sets:`, a mapping of names (or a list with `name`); returns the names of broken ones."""
        set_reader = SetReader(self.limits, self.files.read_set)
        taken: dict[str, ValueSet] = {}
        broken: set[str] = set()
        for speaker, node in self._section("sets"):
            for entry, name_node in self._named_sets(speaker, node):
                n_errors = len(self.report.errors)
                found = self._read_set(speaker, entry, name_node, set_reader, taken)
                if len(self.report.errors) != n_errors and isinstance(name_node, Scalar):
                    broken.add(name_node.text)
                elif found is not None:
                    taken[found.name] = found
        self.sets = list(taken.values())
        return broken

    def _named_sets(self, speaker: Speaker, node: Node) -> Iterator[tuple[Node, Node | None]]:
        if isinstance(node, Mapping):
            for name_node, entry in node.items():
                yield entry, name_node
        elif isinstance(node, Sequence):
            for item in node.items:
                yield item, item.entries.get("name") if isinstance(item, Mapping) else None
        elif not isinstance(node, Broken):
            speaker.error(node, f"sets: a mapping of names is needed, not {reader.kind_of(node)}")

    def _read_set(
        self, speaker: Speaker, node: Node, name_node: Node | None, sets: SetReader, taken: dict[str, ValueSet]
    ) -> ValueSet | None:
        found = reader.mapping(speaker, node, "set")
        if found is None:
            return None
        if name_node is None:
            speaker.error(found, "set: name is missing", code="FWP_E_NULL_DISPLAY_NAME")
            return None
        name = reader.name(speaker, name_node, self.limits)
        if name is None:
            return None
        about = speaker.about(f"set {shown(name, 128)}")
        reader.known_keys(about, found, SET_KEYS, "set")
        if name in taken or len(taken) >= self.limits.objects:
            message = "is given twice" if name in taken else f"more than {self.limits.objects} sets"
            about.error(name_node, message, code="FWP_E_ALREADY_EXISTS" if name in taken else "FWP_E_OUT_OF_BOUNDS")
            return None
        provider = self.objects.provider(about, found)
        self.objects.take_key(about, found, "set", provider, name)
        reader.description(about, found.entries.get("description"), self.limits)
        return sets.read(about, name, found)

    def _lint_weights(self, filters: FilterReader) -> None:
        for sublayer, kinds in filters.weight_kinds.items():
            if len(kinds) == 2:
                speaker, node = kinds[True]
                other = kinds[False][0].subject
                message = f"sublayer {sublayer} mixes this exact weight below 2^60 with the auto weight of {other}"
                speaker.lint(node, message, "use {range: 0-15}, or exact weights throughout")
