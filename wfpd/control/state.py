"""The state directory: what a start must know when the policy is broken.  Data, never code.

One JSON document: the words and the rules of the last policy that ran.  A file of an older version
has words only; one that cannot be read, is damaged, or comes from a newer version is as none.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfpd.model.policy import Faults, Word
from wfpd.netfilter.kept import as_data, from_data
from wfpd.netfilter.ruleset import RuleSet

log = logging.getLogger(__name__)

DEFAULT_DIRECTORY = "/var/lib/wfpd"
VERSION = 2
"""1 had no rules."""
_FILE = "words.json"
_WORDS = ("on_absent", "on_full", "on_late", "on_error", "on_malformed")
MAX_BYTES = 4 << 20


def default_directory() -> Path:
    """systemd's $STATE_DIRECTORY (its first), else /var/lib/wfpd."""
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or DEFAULT_DIRECTORY)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the last accepted policy left."""

    faults: Faults
    ruleset: RuleSet | None
    """None: not known (an older version wrote the file, or this part is damaged)."""


class State:
    """Reads and writes the words and rules of the last accepted policy."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_directory()

    def save(self, faults: Faults, policy_hash: str, generation: int, ruleset: RuleSet) -> None:
        """Atomically; OSError if the directory cannot be written."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.directory.stat().st_mode & 0o077:
            self.directory.chmod(0o700)
        words: dict[str, object] = {name: getattr(faults, name).name.lower() for name in _WORDS}
        document = {"version": VERSION, "faults": words | {"late_after": faults.late_after}, "hash": policy_hash,
                    "generation": generation, "rules": as_data(ruleset)}  # fmt: skip
        text = json.dumps(document)
        if len(text) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes to keep")
        handle, name = tempfile.mkstemp(prefix=_FILE, dir=self.directory)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.directory / _FILE)
        except BaseException:
            os.unlink(name)
            raise

    def load(self) -> Kept | None:
        """What the last accepted policy left; None if there is nothing that can be read."""
        try:
            document = json.loads(_read(self.directory / _FILE))
            version = document["version"]
            if version not in (1, VERSION):
                raise ValueError(f"version {version!r:.20} is not one of 1 to {VERSION}")
            found = document["faults"]
            words = {name: Word[found[name].upper()] for name in _WORDS}
            faults = Faults(**words, late_after=float(found["late_after"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("state: %s cannot be used: %s", self.directory / _FILE, error)
            return None
        return Kept(faults, _rules(document) if version == VERSION else None)


def _rules(document: dict[str, Any]) -> RuleSet | None:
    try:
        return from_data(document["rules"])
    except (ValueError, KeyError) as error:
        log.warning("state: the kept rules cannot be used: %s", error)
        return None


def _read(path: Path) -> str:
    """A regular file's text, at most MAX_BYTES; no link is followed and no FIFO waited for."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, encoding="ascii") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is not a regular file")
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return text
