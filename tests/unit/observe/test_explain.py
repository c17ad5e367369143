"""The explanation as a document: names, order, what is left out, and its published schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from tests.builders import a_filter, a_policy, callout, equal, snapshot, sublayer, when
from wfpd.dataplane import Replayer
from wfpd.imagined import imagine
from wfpd.model.policy import Action, FilterFlag, Policy
from wfpd.observe import explain
from wfpd.observe.explain import MOST_BEHIND, callouts_asked, describe_packet, explain_visit

SCHEMA = json.loads((Path(explain.__file__).with_name("explain_schema.json")).read_text())
LAYER = jsonschema.Draft202012Validator({"$ref": "#/$defs/layer", "$defs": SCHEMA["$defs"]})
PACKET = jsonschema.Draft202012Validator(SCHEMA["properties"]["packet"])
UDP = imagine("udp", "192.0.2.1:4000", "198.51.100.2:53")
DNS, WEB = (when("ip_destination_port", equal(port)) for port in (53, 80))


def layer_of(policy: Policy, answer: str = "continue", near: int = 5) -> dict[str, Any]:
    """The one layer that the datagram visits at forward."""
    taken = snapshot(policy)
    visit = Replayer(taken).visit(UDP.data(), "forward", 1, near=near, answers=lambda index: (answer, False))
    (layer,) = explain_visit(taken, visit)
    LAYER.validate(layer)
    return layer


def test_the_published_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_filters_stand_in_the_order_in_which_they_are_asked() -> None:
    layer = layer_of(a_policy([
        a_filter("web", Action.PERMIT, WEB, weight=9), a_filter("dns", Action.BLOCK, DNS, weight=8),
        a_filter("all", Action.PERMIT, weight=7), a_filter("late", Action.PERMIT, WEB, weight=6),
    ]))  # fmt: skip
    (only,) = layer["sublayers"]
    assert (only["sublayer"], only["weight"], only["n_filters"], only["n_more"]) == ("universal", 0x8000, 4, 0)
    assert [(item["filter"], item["match"], item["asked"]) for item in only["filters"]] == [
        ("web", "near", True), ("dns", "match", True), ("all", "behind", False), ("late", "near", False),
    ]  # fmt: skip
    assert only["filters"][0]["failed"] == {"field": "ip_destination_port", "wants": "80", "has": "53"}
    assert (layer["action"], layer["right"], layer["sublayer"], layer["filter"]) == (
        "block", "clear", "universal", "dns")  # fmt: skip
    assert layer["fields"] == {"ip_destination_port": "53"}


def test_sublayers_without_a_match_are_there_in_order() -> None:
    ranks = [sublayer("high", 0x9000), sublayer("low", 1)]
    layer = layer_of(a_policy([a_filter("a", Action.BLOCK, WEB, sublayer="low"), a_filter("b", Action.BLOCK, WEB),
                               a_filter("c", Action.PERMIT, sublayer="high")], ranks))  # fmt: skip
    assert [item["sublayer"] for item in layer["sublayers"]] == ["high", "universal", "low"]
    assert (layer["action"], layer["right"]) == ("permit", "set")


def test_the_right_a_veto_and_an_answer_are_told() -> None:
    ranks = [sublayer("high", 0x9000)]
    policy = a_policy([
        a_filter("hard", Action.PERMIT, sublayer="high", flags=FilterFlag.CLEAR_ACTION_RIGHT),
        a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c"),
    ], ranks, [callout("c")])  # fmt: skip
    layer = layer_of(policy, "block")
    hard, asks = (item for each in layer["sublayers"] for item in each["filters"])
    assert hard["after"] == {"action": "permit", "right": "clear"} and hard["flags"] == ["clear_action_right"]
    assert (asks["answer"], asks["veto"], asks["stands"]) == ({"kind": "block", "clear_right": False}, True, True)
    assert asks["callout"] == "c" and (layer["action"], layer["filter"]) == ("block", "asks")
    assert list(callouts_asked({"visits": [{"layers": [layer, layer]}]})) == ["c"]


def test_what_matches_behind_the_end_is_cut_and_counted() -> None:
    many = [a_filter(f"f{index}", Action.BLOCK) for index in range(MOST_BEHIND + 6)]
    (only,) = layer_of(a_policy([*many, a_filter("web", Action.BLOCK, WEB)]))["sublayers"]
    assert only["n_more"] == 5 and len(only["filters"]) == MOST_BEHIND + 2
    assert only["filters"][-1]["match"] == "near"


def test_a_filter_that_a_callout_kept_from_being_asked_is_behind() -> None:
    policy = a_policy([a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c", weight=5), a_filter("all", Action.BLOCK)],
                      callouts=[callout("c")])  # fmt: skip
    asks, every = layer_of(policy, "permit")["sublayers"][0]["filters"]
    assert (asks["match"], every["match"], every["asked"]) == ("match", "behind", False)


def test_a_packet_is_described_as_far_as_it_can_be_read() -> None:
    told = describe_packet(7, UDP.data(), 28)
    assert told == {
        "number": 7, "length": 28, "data": UDP.data().hex(), "protocol": "udp", "source": "192.0.2.1",
        "source_port": 4000, "destination": "198.51.100.2", "destination_port": 53,
    }  # fmt: skip
    syn, echo = imagine("tcp", "192.0.2.1", "192.0.2.2:22"), imagine("icmp", "2001:db8::1", "2001:db8::2")
    assert describe_packet(1, syn.data(), 40)["tcp_flags"] == "syn"
    assert describe_packet(1, echo.data(), 48)["icmp_type"] == "echo_request"
    assert describe_packet(1, b"", 60) == {"number": 1, "length": 60, "data": ""}
    assert describe_packet(1, syn.data()[:30], 30)["malformed"] == "bad_total_length"
    fragment = bytearray(UDP.data())
    fragment[6] = 0x20
    assert describe_packet(1, bytes(fragment), 28)["fragment"] is True
    for packet in (told, describe_packet(1, syn.data()[:3], 40), describe_packet(1, bytes(fragment), 28)):
        PACKET.validate(packet)
