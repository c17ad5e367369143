"""An engine over simple tables, and short ways to say changes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bfe.simple_ground import SimpleGround
from wfpd.bfe import Bfe, Kind, Session
from wfpd.config import load_change, load_policy
from wfpd.errors import FwpError


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """An engine with its ground and clock."""

    def __init__(self, **words: Any) -> None:
        self.ground, self.clock = SimpleGround(), Clock()
        self.bfe = Bfe(self.ground, clock=self.clock, **words)

    def open(self, **words: Any) -> Session:
        return self.bfe.open(**words)

    def load(self, directory: Path, text: str) -> int:
        """A policy file of these sections."""
        path = directory / "policy.yaml"
        path.write_text("version: 1\n" + text)
        policy = load_policy(path, trust="warn")
        return self.bfe.publish(lambda: self.ground.publish(policy), policy)

    def names(self) -> set[str]:
        """Of the running filters."""
        return {one["name"] for one in self.ground.filters.values()}


def said(**sections: Any) -> str:
    """The text of a change."""
    return json.dumps({"version": 1, **sections})


def blocking(name: str, **more: Any) -> dict[str, Any]:
    """A filter."""
    return {"name": name, "layer": "ipforward_v4", "action": "block", **more}


def key_of(session: Session, kind: Kind, name: str) -> uuid.UUID:
    """The key of the only object of that name."""
    (found,) = session.list(kind, {"name": name}, 10).objects
    return uuid.UUID(found["key"])


def refused(code: str) -> Any:
    """The engine refuses with that code."""
    return pytest.raises(FwpError, match=rf"\({code}\)$")


__all__ = ["Clock", "Engine", "blocking", "key_of", "load_change", "refused", "said"]
