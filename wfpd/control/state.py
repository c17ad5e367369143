"""The state directory: what a start must know when the policy is broken.  Data, never code."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from wfpd.model.policy import Faults, Word

DEFAULT_DIRECTORY = "/var/lib/wfpd"
_FILE = "words.json"
_WORDS = ("on_absent", "on_full", "on_late", "on_error", "on_malformed")
MAX_BYTES = 65536


def default_directory() -> Path:
    """systemd's $STATE_DIRECTORY (its first), else /var/lib/wfpd."""
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or DEFAULT_DIRECTORY)


class State:
    """Reads and writes the words of the last accepted policy."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_directory()

    def save(self, faults: Faults, policy_hash: str, generation: int) -> None:
        """Atomically; OSError if the directory cannot be written."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.directory.stat().st_mode & 0o077:
            self.directory.chmod(0o700)
        words: dict[str, object] = {name: getattr(faults, name).name.lower() for name in _WORDS}
        document = {"version": 1, "faults": words | {"late_after": faults.late_after}, "hash": policy_hash,
                    "generation": generation}  # fmt: skip
        handle, name = tempfile.mkstemp(prefix=_FILE, dir=self.directory)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.directory / _FILE)
        except BaseException:
            os.unlink(name)
            raise

    def load(self) -> Faults | None:
        """The words of the last accepted policy; None if there is none that can be read."""
        try:
            with open(self.directory / _FILE, encoding="ascii") as file:
                document = json.loads(file.read(MAX_BYTES))
            faults = document["faults"]
            words = {name: Word[faults[name].upper()] for name in _WORDS}
            return Faults(**words, late_after=float(faults["late_after"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
