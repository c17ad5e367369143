"""The explanation on a terminal, and without one."""

from __future__ import annotations

import re
from pathlib import Path

from wfpd.config import load_policy
from wfpd.explaining import Explainer
from wfpd.imagined import imagine
from wfpd.observe.explain_text import render

TEXT = """
version: 1
sublayers: [{name: high, weight: 0x9000}]
callouts: [{name: watch, use: "wfpd.callouts.fixed:Fixed"}]
filters:
  - {name: hard, layer: ipforward_v4, sublayer: high, action: permit, flags: [clear_action_right],
     when: {ip_protocol: udp}}
  - {name: web, layer: ipforward_v4, action: block, weight: 9, when: {ip_destination_port: [80, 443]}}
  - {name: asks, layer: ipforward_v4, action: {callout: watch, kind: unknown}, weight: 8}
  - {name: quiet, layer: ipforward_v4, action: block, weight: 7, mode: audit}
  - {name: dns, layer: ipforward_v4, action: block, weight: 6, when: {ip_destination_port: 53}}
  - {name: all, layer: ipforward_v4, action: permit, weight: 5}
"""
UDP = imagine("udp", "192.0.2.1:4000", "198.51.100.2:53").packet()


def explained(tmp_path: Path, answer: str = "continue", color: bool = False) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    document = Explainer(load_policy(str(path), trust="warn"), answers={"watch": answer}).explain(UDP)
    return render(document, color)


def test_every_step_is_a_line(tmp_path: Path) -> None:
    assert explained(tmp_path).splitlines() == [
        "packet 1: udp 192.0.2.1:4000 -> 198.51.100.2:53, 28 bytes",
        "hook forward",
        "",
        "ipforward_v4: permit, right clear by hard (high)",
        "    ip_destination_port 53",
        "    ip_protocol udp",
        "  sublayer high (0x9000), 1 filter",
        "    match   permit   hard  -> permit, right clear",
        "  sublayer universal (0x8000), 5 filters",
        "    near    block    web    ip_destination_port is 53, wants [80, 443]",
        "    match   watch    asks   answers continue: continues",
        "    match   block    quiet  audit: matches and takes part in nothing",
        "    match   block    dns    block, changes nothing: the right is clear (permit stands)",
        "    behind  permit   all    matches too, behind the end of its sublayer",
        "",
        "callout watch was not called: its answer is taken for granted (--answer watch=block)",
        "verdict: permit, a filter decided: ipforward_v4 high hard",
    ]


def test_a_veto_is_loud(tmp_path: Path) -> None:
    told = explained(tmp_path, "block")
    assert "    match   watch    asks   answers block: VETO -> block, right clear\n" in told
    assert told.endswith("verdict: block, a callout vetoed a permit: ipforward_v4 universal asks\n")


def test_colours_change_nothing_but_colour(tmp_path: Path) -> None:
    painted = explained(tmp_path, color=True)
    assert "\x1b[32mpermit\x1b[0m" in painted and "\x1b[31;1mblock\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == explained(tmp_path)


def test_a_near_miss_behind_the_end_says_so(tmp_path: Path) -> None:
    text = TEXT.replace("weight: 9", "weight: 1")
    (tmp_path / "p.yaml").write_text(text)
    told = render(Explainer(load_policy(str(tmp_path / "p.yaml"), trust="warn")).explain(UDP))
    assert "wants [80, 443] (and stands behind the end)" in told


def test_packets_of_no_address_and_of_no_layer(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(TEXT)
    explainer = Explainer(load_policy(str(tmp_path / "p.yaml"), trust="warn"), hook="input")
    assert render(explainer.explain(UDP)).splitlines()[1:] == [
        "hook input: no layer with filters was visited", "", "verdict: permit, no filter matched: permitted",
    ]  # fmt: skip
    cut = UDP._replace(data=UDP.data[:3])
    assert render(explainer.explain(cut)).startswith("packet 1: 28 bytes that no address can be read of\n")
    other = render(explainer.explain(UDP._replace(is_ip=False, data=b"")))
    assert other.endswith("verdict: permit, the packet is not IP\n")


def test_ends_have_their_ports_and_icmp_its_type(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(TEXT)
    explainer = Explainer(load_policy(str(tmp_path / "p.yaml"), trust="warn"))
    first = render(explainer.explain(imagine("tcp", "[2001:db8::1]:1", "[2001:db8::2]:2", flags="syn,ack").packet()))
    assert first.startswith("packet 1: tcp [2001:db8::1]:1 -> [2001:db8::2]:2, syn+ack, 60 bytes\n")
    echo = render(explainer.explain(imagine("icmp", "192.0.2.1", "192.0.2.2").packet()))
    assert echo.startswith("packet 1: icmp 192.0.2.1 -> 192.0.2.2, echo_request code 0, 28 bytes\n")
    broken = render(explainer.explain(UDP._replace(data=UDP.data[:25], original_length=25)))
    assert "malformed: bad_total_length" in broken.splitlines()[0]
