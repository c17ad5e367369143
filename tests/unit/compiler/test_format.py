"""The packed format: records that a C struct without padding can mirror."""

from __future__ import annotations

import struct

import pytest

from wfpd.compiler import format as fmt
from wfpd.compiler.pack import pack
from wfpd.model.policy import Policy

RECORDS = ("LAYER", "FILTER", "CONDITION", "TERM", "ATOM", "SET", "TEXT", "SUBLAYER", "CALLOUT", "STRING")


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_little_endian_and_a_multiple_of_four_bytes(name: str) -> None:
    record = getattr(fmt, name)
    assert record.startswith("<")
    assert struct.calcsize(record) % 4 == 0


def test_the_header_names_every_section_aligned_and_in_order() -> None:
    content = pack(Policy())
    magic, version, count = struct.unpack_from("<8sII", content)
    assert (magic, version, count) == (fmt.MAGIC, fmt.VERSION, len(fmt.SECTIONS))
    places = [struct.unpack_from("<QQ", content, 16 + 16 * index) for index in range(count)]
    assert all(offset % 64 == 0 and offset + length <= len(content) for offset, length in places)
    assert [offset for offset, _ in places] == sorted(offset for offset, _ in places)
