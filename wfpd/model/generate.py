"""Writes `_field_ids.pxi`, the packet path's names of the fields: `python -m wfpd.model.generate PATH`."""

from __future__ import annotations

import pathlib
import sys

from wfpd.model.fields import FIELDS


def field_ids() -> str:
    """The text of `_field_ids.pxi`."""
    lines = ["# Generated from wfpd/model/fields.py by `python -m wfpd.model.generate`; do not edit.", "cdef enum:"]
    lines += [f"    FIELD_{item.name.upper()} = {item.id}" for item in FIELDS]
    lines.append(f"    N_FIELDS = {len(FIELDS)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(field_ids())
