"""The layer table: slots, twins, names and the fields they refer to."""

from __future__ import annotations

import uuid

from wfpd.model.fields import FIELD, FIELD_ALIASES
from wfpd.model.layers import BY_SLOT, EMPTY_FIELDS, LAYER, LAYERS, N_SLOTS, TWIN_OFFSET, UNSERVED_LAYERS, slot_name


def test_every_slot_is_one_layer_of_one_family() -> None:
    assert len(BY_SLOT) == 2 * len(LAYERS) and max(BY_SLOT) < N_SLOTS
    for slot, (layer, family) in BY_SLOT.items():
        assert layer.slot(family) == slot and slot_name(slot) == layer.full_name(family)


def test_a_twin_stands_sixteen_behind_its_layer_and_has_its_fields() -> None:
    for layer in LAYERS:
        if layer.twin:
            owner = LAYER[layer.name.removesuffix("_discard")]
            assert layer.index == owner.index + TWIN_OFFSET and layer.fields == owner.fields and owner.has_twin


def test_a_twins_family_stands_before_discard() -> None:
    assert LAYER["inbound_transport_discard"].full_name(4) == "inbound_transport_v4_discard"
    assert LAYER["ipforward"].full_name(6) == "ipforward_v6"


def test_a_layer_names_known_fields_each_once() -> None:
    for layer in LAYERS:
        assert len(set(layer.fields)) == len(layer.fields)
        assert set(layer.fields) <= set(FIELD)
        assert {target for _, target in layer.aliases} <= set(layer.fields)


def test_every_layer_is_served_or_says_why_not() -> None:
    assert LAYER["stream"].served and LAYER["stream_discard"].served
    assert all(layer.served or layer.why_not for layer in LAYERS)


def test_unserved_layers_and_empty_fields_have_a_reason() -> None:
    assert not set(UNSERVED_LAYERS) & set(LAYER) and all(UNSERVED_LAYERS.values())
    assert set(EMPTY_FIELDS) <= set(FIELD) | set(FIELD_ALIASES) and all(EMPTY_FIELDS.values())


def test_guids_are_well_formed_and_unique() -> None:
    guids = [guid for layer in LAYERS for guid in (layer.guid_v4, layer.guid_v6) if guid]
    assert len(set(guids)) == len(guids)
    assert all(str(uuid.UUID(guid)) == guid for guid in guids)


def test_absorb_is_legal_where_wfp_allows_it() -> None:
    assert LAYER["inbound_transport"].absorb and LAYER["ale_auth_connect"].absorb
    assert not LAYER["ipforward"].absorb and not LAYER["inbound_transport_discard"].absorb
