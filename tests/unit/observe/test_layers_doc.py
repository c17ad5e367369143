"""layers_json: every layer once, each field with its type and where its value comes from."""

from __future__ import annotations

import json
from typing import Any

from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYERS, UNSERVED_LAYERS
from wfpd.observe.layers_doc import layers_json

BY_NAME: dict[str, dict[str, Any]] = {item["name"]: item for item in layers_json()}


def fields_of(layer: str) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in BY_NAME[layer]["fields"]}


def test_every_layer_is_there_once_and_the_whole_is_json() -> None:
    names = [item["name"] for item in json.loads(json.dumps(layers_json()))]
    assert len(names) == len(set(names)) == len(LAYERS) + len(UNSERVED_LAYERS)


def test_a_twin_has_a_guid_of_its_own_and_the_fields_of_its_layer() -> None:
    layer, twin = BY_NAME["inbound_transport"], BY_NAME["inbound_transport_discard"]
    assert (layer["has_twin"], layer["discard"], twin["discard"]) == (True, False, True)
    assert twin["families"][0]["name"] == "inbound_transport_v4_discard"
    assert twin["families"][0]["guid"] == "ac4a9833-f69d-4648-b261-6dc84835ef39"
    assert fields_of("inbound_transport_discard").keys() == fields_of("inbound_transport").keys()


def test_layers_of_a_flow_are_fed_by_both_directions() -> None:
    assert BY_NAME["datagram_data_discard"]["hooks"] == ["input", "output"]
    assert BY_NAME["inbound_transport"]["hooks"] == ["input"]
    assert BY_NAME["ipforward"]["hooks"] == ["forward"]


def test_layers_that_cannot_be_served_say_why() -> None:
    for item in BY_NAME.values():
        assert item["served"] is (item["why_not"] is None)
    assert "bind()" in BY_NAME["ale_resource_assignment"]["why_not"]


def test_an_address_has_a_type_for_each_family() -> None:
    assert fields_of("ipforward")["ip_source_address"]["type"] == {"v4": "uint32", "v6": "byte_array16"}


def test_a_field_that_nothing_on_linux_fills_is_empty_and_says_why() -> None:
    entry = fields_of("inbound_transport")["current_profile_id"]
    assert (entry["status"], entry["why"]) == ("empty", "Linux has no network category")


def test_what_wfp_lacks_is_an_extension() -> None:
    assert fields_of("ipforward")["tcp_flags"]["status"] == "extension"
    assert fields_of("ipforward")["ip_protocol"]["status"] == "extension"
    assert fields_of("inbound_transport")["ip_protocol"]["status"] == "served"


def test_icmp_names_are_aliases_of_the_ports_at_transport_layers() -> None:
    assert fields_of("inbound_transport")["ip_local_port"]["aliases"] == ["icmp_type"]
    assert "aliases" in fields_of("ipforward")["icmp_type"]
    assert fields_of("ipforward")["ip_source_port"]["aliases"] == []


def test_every_field_that_a_layer_has_is_of_the_schema() -> None:
    assert {name for item in BY_NAME.values() for name in (entry["name"] for entry in item["fields"])} <= FIELD.keys()
