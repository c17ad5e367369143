"""The records that are written in C are those of the format."""

from __future__ import annotations

import struct

import pytest

from tests.builders import a_filter, a_policy, equal, sublayer, when, within
from wfpd.compiler import format as fmt
from wfpd.compiler._records import record_sizes
from wfpd.compiler.pack import pack
from wfpd.model.conditions import Atom, Op
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action


def section(packed: bytes, name: str) -> bytes:
    offset, length = struct.unpack_from("<QQ", packed, 16 + 16 * fmt.SECTIONS.index(name))
    return packed[offset : offset + length]


def test_every_record_has_the_size_of_its_format() -> None:
    assert record_sizes() == {name: struct.calcsize(getattr(fmt, name)) for name in record_sizes()}


def test_a_filter_and_its_conditions_are_written_member_by_member() -> None:
    item = a_filter(
        "n", Action.BLOCK, when("ip_source_port", equal(5), within(7, 9)),
        when("ip_protocol", Atom(Op.EMPTY), negate=True), weight=77,
    )  # fmt: skip
    packed = pack(a_policy([item], [sublayer("universal", 5)]))
    (filter_,) = struct.iter_unpack(fmt.FILTER, section(packed, "filters"))
    assert filter_[0] == item.key.bytes and filter_[1] == 77 and filter_[5:7] == (item.slot, Action.BLOCK)
    assert filter_[10:14] == (fmt.NONE32, fmt.NONE32, 0, 2)
    port, protocol = FIELD["ip_source_port"].id, FIELD["ip_protocol"].id
    assert list(struct.iter_unpack(fmt.CONDITION, section(packed, "conditions"))) == [(port, 1, 0), (protocol, 1, 1)]
    assert list(struct.iter_unpack(fmt.TERM, section(packed, "terms"))) == [(0, 0, 0, 2, 0), (0, 1, 0, 1, 2)]
    atoms = list(struct.iter_unpack(fmt.ATOM, section(packed, "atoms")))
    assert atoms == [(0, 0, 0, 0, 0, 5, 0, 5), (0, 0, 0, 0, 0, 7, 0, 9), (Op.EMPTY, 0, 0, 0, 0, 0, 0, 0)]


def test_a_filter_in_no_sublayer_is_refused() -> None:
    with pytest.raises(KeyError):
        pack(a_policy([a_filter("a", Action.PERMIT, sublayer="gone")]))
