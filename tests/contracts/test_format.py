"""The packed format, the packet path's structs and the generated field ids say the same."""

from __future__ import annotations

import pathlib
import struct

from wfpd.compiler import format as fmt
from wfpd.dataplane._part import packed_sizes
from wfpd.model.generate import field_ids

ROOT = pathlib.Path(__file__).parents[2]


def test_every_record_has_the_size_of_its_struct() -> None:
    assert {name: struct.calcsize(getattr(fmt, name)) for name in packed_sizes()} == packed_sizes()


def test_the_generated_field_ids_are_those_of_the_model() -> None:
    assert (ROOT / "ext/wfpd/dataplane/_field_ids.pxi").read_text() == field_ids()
