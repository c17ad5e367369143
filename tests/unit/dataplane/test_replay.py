"""The traced visit: rows as the packet path wrote them."""

from __future__ import annotations

import pathlib

import pytest
from scapy.layers.inet import IP, UDP

from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer
from wfpd.model.layers import LAYER
from wfpd.replay import make_snapshot

PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(dport=53))


def replayer(tmp_path: pathlib.Path, text: str) -> Replayer:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nfilters:\n" + text)
    return Replayer(make_snapshot(load_policy(str(path), trust="warn")), Flows(16))


def test_rows_name_slots_and_filters_by_number(tmp_path: pathlib.Path) -> None:
    replay = replayer(tmp_path, "  - {name: one, layer: ipforward_v4, action: block, reply: icmp_unreachable}\n")
    result = replay.visit(PACKET, "forward", 1)
    assert result["rows"] == [(LAYER["ipforward"].slot(4), "block", "clear", 0, (), False)]
    assert result["reply"] == "icmp_unreachable" and result["slot"] == LAYER["ipforward"].slot(4)


def test_rows_are_explained_where_that_is_asked_for(tmp_path: pathlib.Path) -> None:
    text = (
        "  - {name: dns, layer: ipforward_v4, action: block, when: {ip_destination_port: 53}}\n"
        "  - {name: web, layer: ipforward_v4, action: permit, when: {ip_destination_port: 80}}\n"
    )
    replay = replayer(tmp_path, text)
    assert "layers" not in replay.visit(PACKET, "forward", 1)
    (layer,) = replay.visit(PACKET, "forward", 1, near=2)["layers"]
    assert (layer["held"], layer["near"]) == ([0], [(1, 0)])
    assert layer["values"] == {"ip_destination_port": 53}
    assert [(step["said"], step["stands"]) for step in layer["steps"]] == [("block", True)]
    again = replay.visit(PACKET, "forward", 2, near=0)
    assert again["layers"] == [{**layer, "near": [], "order": [0]}] and again["rows"][0][3] == 0


def test_answers_stand_in_for_callouts(tmp_path: pathlib.Path) -> None:
    text = (
        "  - {name: asks, layer: ipforward_v4, action: {callout: c, kind: unknown}}\n"
        'callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed", options: {answer: raise}}]\n'
    )
    replay = replayer(tmp_path, text)
    for answer, verdict in ((("block", True), "block"), (("permit", False), "permit"), (("continue", False), "permit")):
        asked: list[int] = []

        def answers(callout: int, answer: tuple[str, bool] = answer, asked: list[int] = asked) -> tuple[str, bool]:
            asked.append(callout)
            return answer

        found = replay.visit(PACKET, "forward", 1, answers=answers, near=0)
        assert (found["verdict"], asked) == (verdict, [0])
        assert [step["answer"] for step in found["layers"][0]["steps"]] == [answer]


def test_an_unknown_hook_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyError):
        replayer(tmp_path, "  - {name: one, layer: ipforward, action: block}\n").visit(PACKET, "sideways", 1)


def test_a_mark_and_an_interface_are_fields_where_they_are_known(tmp_path: pathlib.Path) -> None:
    text = (
        "  - {name: marked, layer: ipforward, action: block, when: {packet_mark: 7}}\n"
        "  - {name: named, layer: ipforward, action: block, when: {interface_name: eth7}}\n"
    )
    replay = replayer(tmp_path, text)
    assert replay.visit(PACKET, "forward", 1)["verdict"] == "permit"
    assert replay.visit(PACKET, "forward", 1, mark=7)["verdict"] == "block"
    assert replay.visit(PACKET, "forward", 1, interface_name=b"eth7")["verdict"] == "block"


def test_what_a_callout_answered_is_explained_and_a_late_one_too(tmp_path: pathlib.Path) -> None:
    text = (
        "  - {name: asks, layer: ipforward_v4, action: {callout: c, kind: unknown}}\n"
        'callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed", options: {answer: block, clear_right: true}}]\n'
    )
    (layer,) = replayer(tmp_path, text).visit(PACKET, "forward", 1, near=0)["layers"]
    assert [(step["answer"], step["said"], step["stands"]) for step in layer["steps"]] == [
        (("block", True), "block", True)
    ]
    slow = text.replace("answer: block, clear_right: true", "answer: sleep, seconds: 0.01")
    path = tmp_path / "slow.yaml"
    path.write_text("version: 1\nfilters:\n" + slow)
    snapshot = make_snapshot(load_policy(str(path), trust="warn"))
    found = Replayer(snapshot, Flows(16), late_after=0.001).visit(PACKET, "forward", 1, near=0)
    assert (found["reason"], len(found["layers"]), len(found["rows"])) == ("late", 1, 1)
