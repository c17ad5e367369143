"""Policy files."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from wfpd.config import Limits, load_policy
from wfpd.errors import PolicyError
from wfpd.model.policy import Policy

SMALL = Limits(nodes=2000, problems=50, nesting=12)
"""Low, so that what grows without end is refused early."""


def outcome(path: pathlib.Path, **options: Any) -> Policy | None:
    """Load a file, and insist on a policy or an error with its problems."""
    try:
        result = load_policy(path, limits=SMALL, **options)
    except PolicyError as error:
        problems = error.problems
    else:
        assert isinstance(result, Policy)
        return result
    assert problems
    assert all(str(problem) for problem in problems)
    return None


def written(folder: pathlib.Path, data: bytes, name: str = "p.yaml") -> pathlib.Path:
    """A file of the folder that a policy may be read from."""
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def policy(data: bytes) -> None:
    """Any bytes, as YAML and as JSON: a Policy, or a PolicyError that names its problems; nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("p.yaml", "p.json"):
            outcome(written(pathlib.Path(folder), data, name))


TARGETS = {"policy": policy}
