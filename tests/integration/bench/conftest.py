"""What is measured needs root; the fixture proves the reason of a skip."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def as_root(needs_root: None) -> None:
    """Every test here."""
