"""Arbitration's cold door: what a callout sees, and what its answer does to a layer."""

from __future__ import annotations

import pathlib

import pytest

from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane._arbitrate import arbitrate_layer
from wfpd.dataplane._table import Snapshot
from wfpd.model.layers import LAYER

SLOT = LAYER["ipforward"].slot(4)


def snapshot(tmp_path: pathlib.Path, *actions: str) -> Snapshot:
    lines = ["version: 1", 'callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed"}]', "sublayers:"]
    lines += [f"  - {{name: s{n}, weight: {0x9000 - n}}}" for n in range(len(actions))]
    lines.append("filters:")
    lines += [f"  - {{name: f{n}, layer: ipforward_v4, sublayer: s{n}, {action}}}" for n, action in enumerate(actions)]
    path = tmp_path / "policy.yaml"
    path.write_text("\n".join(lines) + "\n")
    policy = load_policy(str(path), trust="warn")
    return Snapshot(pack(policy), [lambda c: None], generation=1, on_error=1, on_malformed=1, on_late=1, flows_full=1)


def test_a_callout_sees_the_action_so_far_and_the_right(tmp_path: pathlib.Path) -> None:
    seen = []

    def answer(index: int, action: str | None, right: bool) -> dict:
        seen.append((index, action, right))
        return {"kind": "continue"}

    result = arbitrate_layer(snapshot(tmp_path, "action: block", "action: {callout: c}"), [0, 1], answer)
    assert seen == [(1, "block", False)]
    assert result["action"] == "block" and result["filter"] == 0 and result["hits"] == [0, 1]


@pytest.mark.parametrize(("kind", "expected"), [("terminating", "block"), ("unknown", "none"), ("inspection", "none")])
def test_only_a_terminating_callout_must_decide(tmp_path: pathlib.Path, kind: str, expected: str) -> None:
    table = snapshot(tmp_path, f"action: {{callout: c, kind: {kind}}}")
    assert arbitrate_layer(table, [0], lambda *_: {"kind": "continue"})["action"] == expected


def test_a_block_of_a_standing_hard_permit_is_a_veto(tmp_path: pathlib.Path) -> None:
    table = snapshot(tmp_path, "action: permit, flags: [clear_action_right]", "action: {callout: c}")
    result = arbitrate_layer(table, [0, 1], lambda *_: {"kind": "block"})
    assert (result["action"], result["reason"], result["veto"], result["right"]) == ("block", "veto", True, False)


def test_a_failed_callout_reports_error_and_a_late_one_late(tmp_path: pathlib.Path) -> None:
    table = snapshot(tmp_path, "action: {callout: c}")
    assert arbitrate_layer(table, [0], lambda *_: {"kind": "block", "failed": True})["reason"] == "error"
    assert arbitrate_layer(table, [0], lambda *_: {"kind": "permit", "late": True})["reason"] == "late"
