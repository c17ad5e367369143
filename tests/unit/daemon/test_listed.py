"""Layers, sets and flows as the control socket lists them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import builders
from tests.control_schema import check_result
from wfpd.control.protocol import RpcError
from wfpd.daemon.listed import Listings
from wfpd.dataplane import Flows
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action


def listings(snapshot: Any = None, flows: Any = None) -> Listings:
    return Listings(SimpleNamespace(snapshot=snapshot, flows=flows or Flows(16)), lambda *_: {"name": "f"})  # type: ignore[arg-type]


def policy() -> Any:
    named = builders.when("ip_source_address", Atom(Op.IN_SET, set="address-wide"))
    text = builders.when("interface_name", Atom(Op.IN_SET, set="text-small"))
    number = builders.when("ip_protocol", Atom(Op.IN_SET, set="number-small"))
    filters = [builders.a_filter("a", Action.BLOCK, named, text, number),
               builders.a_filter("b", Action.BLOCK, named, at=builders.slot(family=6))]  # fmt: skip
    return builders.snapshot(builders.a_policy(filters, sets=builders.value_sets()))


def test_layers_have_their_filters_by_family() -> None:
    answer = listings(policy()).layers({})
    check_result("layers.list", answer)
    found = {one["name"]: one for one in answer["objects"]}
    assert found["ipforward"]["filters"] == {"ipforward_v4": 1, "ipforward_v6": 1}
    assert (found["ipforward"]["n_filters"], found["inbound_transport"]["n_filters"]) == (2, 0)
    assert found["ipforward"]["default_sublayer"] == "universal"
    assert all(one["n_filters"] == 0 for one in listings().layers({})["objects"])


def test_sets_are_shown_by_what_their_fields_have() -> None:
    shown = listings(policy())
    answer = shown.sets({})
    check_result("sets.list", answer)
    assert {one["name"]: (one["type"], one["n_values"]) for one in answer["objects"]} == {
        "address-wide": ("address", 3), "text-small": ("text", 2), "number-small": ("number", 2),
    }  # fmt: skip
    assert shown.set_values({"name": "address-wide"})["object"]["values"] == [
        "0.0.0.0/31", "192.0.0.0/2", "::ffff:ffff:ffff:ffff-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ]  # fmt: skip
    assert shown.set_values({"name": "number-small", "size": 1})["object"] == {
        "name": "number-small", "type": "number", "n_values": 2, "n_different": 1, "values": ["6"],
    }  # fmt: skip
    assert shown.set_values({"name": "text-small"})["object"]["values"] == ["eth0", "lo"]


@pytest.mark.parametrize("parameters", [{}, {"name": 1}, {"name": "none"}, {"name": "text-small", "size": -1},
                                        {"name": "text-small", "size": True}])  # fmt: skip
def test_a_set_that_is_not_there_is_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(RpcError):
        listings(policy()).set_values(parameters)


@pytest.mark.parametrize("parameters", [
    {"size": 0}, {"size": 1001}, {"size": "5"}, {"cursor": 7}, {"cursor": "-1"}, {"cursor": "9" * 30}, {"template": []},
    {"template": {"colour": 1}}, {"template": {"address": "x"}}, {"template": {"port": 65536}},
    {"template": {"port": True}}, {"template": {"protocol": "nothing"}}, {"template": {"protocol": 256}},
])  # fmt: skip
def test_what_is_no_listing_of_flows_is_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(RpcError):
        listings().list_flows(parameters)


def test_an_empty_table_is_one_empty_page() -> None:
    answer = listings().list_flows({"template": {"address": "::1", "port": "53", "protocol": "udp"}})
    check_result("flows.list", answer)
    assert answer == {"objects": [], "total": 0, "cursor": None}
    assert listings().close_flows({"cursor": "0"}) == {}
