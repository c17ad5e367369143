"""Traffic under two policies: counts by what decides before and after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wfpd import weighing
from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.errors import CaptureError
from wfpd.imagined import imagine
from wfpd.model.policy import Policy
from wfpd.replay import parse_local


def policy(directory: Path, filters: str, rest: str = "") -> Policy:
    path = directory / "policy.yaml"
    path.write_text(f"version: 1\n{rest}\nfilters: [{filters}]\n")
    return load_policy(str(path), trust="warn")


def to(*ports: int) -> Iterator[CapturedPacket]:
    """UDP packets to these ports, 28 bytes each."""
    for number, port in enumerate(ports, 1):
        yield imagine("udp", "192.0.2.1:9", f"198.51.100.2:{port}").packet()._replace(number=number)


BLOCK = "{name: dns, layer: ipforward, action: block, when: {ip_destination_port: 53}}"
BOTH = "{name: few, layer: ipforward, action: block, when: {ip_destination_port: [53, 54]}}"


def test_packets_are_counted_by_the_filters_before_and_after(tmp_path: Path) -> None:
    old, new = policy(tmp_path, BLOCK), policy(tmp_path, BOTH.replace("53, ", ""))
    found = weighing.weigh(old, new, to(1, 53, 54, 53, 2))
    assert [found[name] for name in ("packets", "bytes", "changed", "unchanged", "bytes_changed")] == [5, 140, 3, 2, 84]
    nothing = {"verdict": "permit", "reason": "no_match", "layer": None, "filter": None}
    by = {"verdict": "block", "reason": "filter", "layer": "ipforward_v4"}
    assert found["changes"] == [
        {"old": {**by, "filter": "dns"}, "new": nothing, "packets": 2, "bytes": 56, "first_packet": 2},
        {"old": nothing, "new": {**by, "filter": "few"}, "packets": 1, "bytes": 28, "first_packet": 3},
    ]
    assert list(weighing.render(found)) == [
        "capture: the verdict of 3 of 5 packets changes (84 of 140 bytes)",
        "  block (dns at ipforward_v4) -> permit (no_match): 2 packets, 56 bytes, the first is 2",
        "  permit (no_match) -> block (few at ipforward_v4): 1 packet, 28 bytes, the first is 3",
    ]


def test_another_filter_with_the_same_verdict_is_no_change(tmp_path: Path) -> None:
    assert weighing.weigh(policy(tmp_path, BLOCK), policy(tmp_path, BOTH), to(53, 53))["changed"] == 0


def test_each_policy_has_flows_of_its_own(tmp_path: Path) -> None:
    shut = policy(tmp_path, "{name: in, layer: ale_auth_recv_accept, action: block}")
    out = policy(tmp_path, "{name: in, layer: ale_auth_recv_accept, action: block},"
                           "{name: out, layer: ale_auth_connect, action: block}")  # fmt: skip
    packets = [imagine("udp", "10.0.0.1:9", "192.0.2.1:7").packet(),
               imagine("udp", "192.0.2.1:7", "10.0.0.1:9").packet()._replace(number=2)]  # fmt: skip
    found = weighing.weigh(shut, out, iter(packets), local=parse_local("10.0.0.0/8"))
    # The answer belongs to a flow only where its request was permitted.
    assert [(change["old"]["reason"], change["new"]["filter"]) for change in found["changes"]] == [
        ("no_match", "out"), ("no_match", "in"),
    ]  # fmt: skip


def test_callouts_are_not_called_and_their_packets_are_said_to_be_undecided(tmp_path: Path) -> None:
    asks = "{name: asks, layer: ipforward, action: {callout: c, kind: unknown}}"
    new = policy(tmp_path, asks, 'callouts: [{name: c, use: "no_such_module:Class"}]')
    found = weighing.weigh(policy(tmp_path, BLOCK), new, to(53, 1))
    assert (found["asked_callouts"], found["changed"]) == (2, 1)
    assert "  not decided: 2 packets with a callout, which was taken to continue" in weighing.render(found)


def test_changes_beyond_a_number_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighing, "MOST_KINDS", 1)
    old, new = policy(tmp_path, BLOCK), policy(tmp_path, BOTH.replace("53, ", ""))
    found = weighing.weigh(old, new, to(53, 54, 54))
    assert (len(found["changes"]), found["other_changes"], found["changed"]) == (1, 2, 3)
    assert list(weighing.render(found))[-1] == "  and 2 packets that other filters decide"


def test_a_person_is_shown_the_heaviest_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighing, "SHOWN", 0)
    found = weighing.weigh(policy(tmp_path, BLOCK), policy(tmp_path, ""), to(53))
    assert list(weighing.render(found))[1:] == ["  and 1 packet that other filters decide"]


def test_a_capture_that_breaks_off_is_weighed_so_far(tmp_path: Path) -> None:
    def broken() -> Iterator[CapturedPacket]:
        yield from to(53)
        raise CaptureError("it ends in the middle of a packet")

    found: dict[str, Any] = weighing.weigh(policy(tmp_path, BLOCK), policy(tmp_path, ""), broken())
    assert (found["packets"], found["changed"]) == (1, 1)
    assert list(weighing.render(found))[-1].endswith("breaks off after packet 1: it ends in the middle of a packet")
