"""The field table: ids are positions, types follow the family."""

from __future__ import annotations

import uuid

from wfpd.model.fields import FIELD, FIELD_ALIASES, FIELDS, FLAG_BITS, DataType, Vocabulary


def test_a_fields_id_is_its_position_and_its_name_is_unique() -> None:
    assert [item.id for item in FIELDS] == list(range(len(FIELDS)))
    assert len(FIELD) == len(FIELDS)


def test_no_alias_is_also_a_field() -> None:
    assert not set(FIELD_ALIASES) & set(FIELD)


def test_an_address_is_uint32_at_v4_and_16_bytes_at_v6() -> None:
    address = FIELD["ip_local_address"]
    assert address.is_address
    assert (address.type_for(4), address.type_for(6)) == (DataType.UINT32, DataType.BYTE_ARRAY16)
    assert not FIELD["ip_protocol"].is_address


def test_extensions_have_no_guid_and_guids_are_well_formed() -> None:
    for item in FIELDS:
        assert not (item.extension and item.guid)
        if item.guid:
            assert str(uuid.UUID(item.guid)) == item.guid


def test_types_know_their_width_and_kind() -> None:
    assert DataType.UINT64.bits == 64 and DataType.BYTE_BLOB.bits == 0
    assert DataType.UINT8.is_integer and not DataType.BYTE_ARRAY16.is_integer
    assert DataType.BYTE_BLOB.is_text and not DataType.SID.is_text
    assert FIELD["flags"].is_flags and FIELD["tcp_flags"].is_flags and not FIELD["ip_dscp"].is_flags
    assert FIELD["ip_dscp"].vocabulary is Vocabulary.DSCP


def test_every_flag_is_one_bit_of_its_own() -> None:
    assert all(bit & (bit - 1) == 0 for bit in FLAG_BITS.values())
    assert len(set(FLAG_BITS.values())) == len(FLAG_BITS)
