"""What compiled callouts are built against: `api.pxd` and `wfpd_callout.h` lie beside this file."""

from __future__ import annotations

from pathlib import Path

ABI = 1
"""WFPD_CALLOUT_ABI of the header."""


def include_directory() -> str:
    """Directory of `wfpd_callout.h`, for `include_dirs` of an extension."""
    return str(Path(__file__).resolve().parent)
