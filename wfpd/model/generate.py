"""Writes the compiled code's names of the fields: `python -m wfpd.model.generate PATH`.

PATH ends in _field_ids.pxi (the packet path's), wfpd_fields.h or fields.pxd (those of compiled callouts).
"""

from __future__ import annotations

import pathlib
import sys

from wfpd.model.fields import FIELDS

_NOTE = "Generated from wfpd/model/fields.py by `python -m wfpd.model.generate`; do not edit."


def field_ids() -> str:
    """The text of `_field_ids.pxi`."""
    lines = [f"# {_NOTE}", "cdef enum:"]
    lines += [f"    FIELD_{item.name.upper()} = {item.id}" for item in FIELDS]
    lines.append(f"    N_FIELDS = {len(FIELDS)}")
    return "\n".join(lines) + "\n"


def field_header() -> str:
    """The text of `wfpd_fields.h`."""
    lines = [f"/* {_NOTE} */", "#ifndef WFPD_FIELDS_H", "#define WFPD_FIELDS_H", "", "enum {"]
    lines += [f"    WFPD_FIELD_{item.name.upper()} = {item.id}," for item in FIELDS]
    return "\n".join([*lines, "};", "", "#endif"]) + "\n"


def field_names() -> str:
    """The text of `fields.pxd`, which tells Cython of the header's names."""
    lines = [f"# {_NOTE}", 'cdef extern from "wfpd_fields.h" nogil:', "    enum:"]
    lines += [f"        WFPD_FIELD_{item.name.upper()}" for item in FIELDS]
    return "\n".join(lines) + "\n"


TEXTS = {".h": field_header, ".pxi": field_ids, ".pxd": field_names}

if __name__ == "__main__":
    path = pathlib.Path(sys.argv[1])
    path.write_text(TEXTS[path.suffix]())
