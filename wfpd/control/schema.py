"""The published schema of the control socket (control_schema.json): what the method `schema` answers."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any


@functools.cache
def load() -> dict[str, Any]:
    """The whole document; not to be changed."""
    found: dict[str, Any] = json.loads((resources.files("wfpd.control") / "control_schema.json").read_text())
    return found
