"""Finds and reads the files of a policy: the first one, its includes, the set files."""

from __future__ import annotations

import glob
import hashlib
import os
from dataclasses import dataclass

from wfpd.config import reader
from wfpd.config.document import Unparsable, parse
from wfpd.config.limits import Limits
from wfpd.config.nodes import Mapping, Node, Scalar
from wfpd.config.report import Report, Speaker, shown
from wfpd.config.trust import Unreadable, distrust, read_trusted
from wfpd.errors import Location, Problem

_TRUST_HINT = "policy files and their directories are root's or the service's to write: chown root, chmod go-w"


@dataclass(slots=True)
class Document:
    """One policy file, parsed."""

    path: str
    root: Mapping


class Files:
    """Reads files in reading order, with trust, limits and the hash over all bytes."""

    def __init__(self, report: Report, limits: Limits, refuse: bool, uids: frozenset[int]) -> None:
        self.report = report
        self.limits = limits
        self.documents: list[Document] = []
        self.paths: list[str] = []
        self._refuse = refuse
        self._uids = uids
        self._hash = hashlib.sha256()
        self._alone = False
        self._n_bytes = 0
        self._n_policies = 0
        self._seen: dict[tuple[int, int], str] = {}
        self._open: list[tuple[int, int]] = []

    @property
    def hash(self) -> str:
        """SHA-256 over the bytes of all files in reading order."""
        return self._hash.hexdigest()

    def read_policy(self, path: str) -> None:
        """The first file and everything it includes."""
        self._read_policy(path, None)

    def take_text(self, name: str, data: bytes) -> None:
        """A policy that came as text: it names no other files."""
        self._alone = True
        self._accept(name, data)
        try:
            root = parse(data, name, self.report, self.limits)
        except Unparsable:
            return
        if isinstance(root, Mapping):
            self.documents.append(Document(name, root))
        else:
            self.report.error("a policy is a mapping", Location(name, root.line), hint="the least is: version: 1")

    def _read_policy(self, path: str, named_at: tuple[Speaker, Node] | None) -> None:
        self._n_policies += 1
        if self._n_policies > self.limits.files and named_at:
            if self._n_policies == self.limits.files + 1:
                named_at[0].error(named_at[1], f"include: more than {self.limits.files} files")
            return
        found = self._read(path, self.limits.file_size, named_at)
        if found is None:
            return
        data, identity = found
        if identity in self._seen and named_at:
            message = "includes itself" if identity in self._open else "is included twice"
            named_at[0].error(named_at[1], f"include: {shown(path, 128)} {message}")
            return
        self._seen[identity] = path
        self._accept(path, data)
        try:
            root = parse(data, path, self.report, self.limits)
        except Unparsable:
            return
        if not isinstance(root, Mapping):
            self.report.error("a policy is a mapping", Location(path, root.line), hint="the least is: version: 1")
            return
        self.documents.append(Document(path, root))
        self._open.append(identity)
        self._read_includes(path, root)
        self._open.pop()

    def _read_includes(self, path: str, root: Mapping) -> None:
        node = root.entries.get("include")
        if node is None or (isinstance(node, Scalar) and node.plain and not node.text):
            return
        speaker = Speaker(self.report, path)
        for item in reader.items(node):
            pattern = reader.text(speaker, item, "include", self.limits)
            if pattern is None:
                continue
            if len(self._open) > self.limits.include_depth:
                speaker.error(item, f"include: more than {self.limits.include_depth} deep")
                return
            for name in self._matching(speaker, item, pattern):
                self._read_policy(name, (speaker, item))

    def _matching(self, speaker: Speaker, node: Node, pattern: str) -> list[str]:
        """Files of an include, sorted by name; a plain name has to exist, a pattern may match nothing."""
        full = os.path.join(os.path.dirname(speaker.file), pattern)
        if not glob.has_magic(pattern):
            return [full]
        if pattern.count("*") > 16 or "**" in pattern:
            speaker.error(node, f"include: {shown(pattern)} has too many wildcards")
            return []
        base = os.path.dirname(speaker.file)
        names = glob.glob(pattern, root_dir=base or None)
        return [path for name in sorted(names) if os.path.isfile(path := os.path.join(base, name))]

    def read_set(self, path: str, speaker: Speaker, node: Node) -> bytes | None:
        """The bytes of a set file; None after an error."""
        if self._alone:
            speaker.error(node, f"{shown(path, 128)}: a policy that is no file names none", "give its values")
            return None
        found = self._read(path, self.limits.set_file_size, (speaker, node))
        if found is None:
            return None
        self._accept(path, found[0])
        return found[0]

    def check_directory(self, directory: str, speaker: Speaker, node: Node) -> None:
        """A directory that code is imported from: as a policy file, nobody else may write it."""
        try:
            reason = distrust(os.stat(directory), self._uids)
        except (OSError, ValueError):
            return  # Importing from it will say it.
        if reason and self._refuse:
            speaker.error(node, f"callout_path: {shown(directory, 128)} {reason}", _TRUST_HINT)
        elif reason:
            speaker.lint(node, f"callout_path: {shown(directory, 128)} {reason}; run refuses it", _TRUST_HINT)

    def _read(
        self, path: str, at_most: int, named_at: tuple[Speaker, Node] | None
    ) -> tuple[bytes, tuple[int, int]] | None:
        try:
            data, distrust, identity = read_trusted(path, at_most, self._uids)
        except Unreadable as error:
            problem = error.problem
            if named_at:
                named_at[0].error(named_at[1], f"{shown(path, 128)} {problem.message}")
            else:
                self.report.error(problem.message, problem.location)
            return None
        if distrust and self._refuse:
            self.report.error(distrust, Location(path), hint=_TRUST_HINT)
            return None
        if distrust:
            self.report.lints.append(Problem(f"{distrust}; run refuses it", Location(path), hint=_TRUST_HINT))
        self._n_bytes += len(data)
        if self._n_bytes > self.limits.total_size:
            self.report.error(f"the files hold more than {self.limits.total_size} bytes together", Location(path))
            return None
        return data, identity

    def _accept(self, path: str, data: bytes) -> None:
        self.paths.append(path)
        self.report.add_file(path)
        self._hash.update(data)
