"""The control socket's `counters`."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from wfpd.config import load_policy
from wfpd.daemon.counted import counters_json, hottest
from wfpd.explaining import bare_snapshot
from wfpd.observe.counters import EngineCounters, QueueCounters


def snapshot_of(tmp_path: Path, names: str) -> Any:
    path = tmp_path / "policy.yaml"
    entries = [f"  - {{name: {name}, layer: ipforward_v4, action: block}}\n" for name in names]
    path.write_text("version: 1\nfilters:\n" + "".join(entries))
    return bare_snapshot(load_policy(str(path), trust="warn"))


def engine_of(snapshot: Any, hot: list[tuple[int, int]]) -> Any:
    return SimpleNamespace(
        snapshot=snapshot, hottest=lambda n: hot[:n], last_hits=lambda slots: [7.5 for _ in slots]
    )  # fmt: skip


def test_a_reading_sums_the_queues_and_is_json() -> None:
    queues = {number: QueueCounters(packets={"permit": 10 * number, "block": 1}, bytes={"permit": 100, "block": 7})
              for number in (1, 2)}  # fmt: skip
    now = EngineCounters(queues=queues, drops={("ipforward_v4", "filter"): 2}, flows=3, flows_max=9, enforcing=True,
                         uninspected={"forward": 4}, vetoes={"ipforward_v4": 1})  # fmt: skip
    now.reload.generation = 5
    found = json.loads(json.dumps(counters_json(now, engine_of(None, []), [{"queue": 1}], 17.5)))
    assert found.pop("time") > 17.5
    assert found == {
        "started": 17.5, "generation": 5, "enforcing": True, "queues": [{"queue": 1}],
        "packets": {"permit": 30, "block": 2}, "bytes": {"permit": 200, "block": 14},
        "drops": [{"layer": "ipforward_v4", "reason": "filter", "count": 2}], "flows": {"count": 3, "max": 9},
        "filters": [], "uninspected": {"forward": 4}, "vetoes": {"ipforward_v4": 1},
    }  # fmt: skip


def test_the_hottest_filters_have_their_names_and_keys(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, "ab")
    number = {snapshot.filter_name(index): index for index in snapshot.filter_ids()}
    engine = engine_of(snapshot, [(number["b"], 9), (number["a"], 4)])
    found = hottest(engine, 50)
    assert [item["last_hit"] for item in found] == [7.5, 7.5]
    assert [(item["name"], item["layer"], item["action"], item["hits"]) for item in found] == [
        ("b", "ipforward_v4", "block", 9), ("a", "ipforward_v4", "block", 4)]  # fmt: skip
    assert uuid.UUID(found[0]["key"]).bytes == snapshot.filter_info(number["b"])["key"]
    assert [item["name"] for item in hottest(engine, 1)] == ["b"]


def test_numbers_of_a_snapshot_that_was_replaced_meanwhile_are_asked_for_again(tmp_path: Path) -> None:
    old, new = snapshot_of(tmp_path, "abc"), snapshot_of(tmp_path, "d")
    engine = engine_of(old, [])

    def replaced(n: int) -> list[tuple[int, int]]:
        first, engine.snapshot = engine.snapshot is old, new
        return [(2, 5)] if first else [(0, 1)]

    engine.hottest = replaced
    assert [item["name"] for item in hottest(engine, 5)] == ["d"]


def test_filters_that_are_replaced_all_the_time_are_left_out(tmp_path: Path) -> None:
    engine = engine_of(snapshot_of(tmp_path, "a"), [])

    def replaced(n: int) -> list[tuple[int, int]]:
        engine.snapshot = snapshot_of(tmp_path, "a")
        return [(0, 1)]

    engine.hottest = replaced
    assert hottest(engine, 5) == []


def test_an_engine_without_a_policy_has_no_hottest() -> None:
    assert hottest(engine_of(None, []), 5) == []
