"""`stage.start`, `stage.status` and `stage.stop`: parameters, one at a time, its end, and what is told to whom."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control_schema import check_params, check_result
from wfpd.config import load_policy
from wfpd.control.compile_child import compile_block
from wfpd.control.handover import Compiled, decode
from wfpd.control.peer import Peer
from wfpd.control.protocol import INVALID_PARAMS, REFUSED, Role, RpcError
from wfpd.daemon.staging import PARAMETERS, Staging
from wfpd.dataplane import Engine, Stage
from wfpd.errors import PolicyError
from wfpd.explaining import bare_snapshot
from wfpd.imagined import imagine

POLICY = """version: 1
callouts: [{name: c, use: "no_such_module:C"}]
filters:
  - {name: no-dns, layer: ipforward_v4, action: block, when: {ip_destination_port: 53}}
  - {name: asks, layer: ipforward_v4, action: {callout: c}, when: {ip_destination_port: 80}}
"""


class Watched:
    """The engine, with a hand on the stage."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.staged: list[Stage] = []

    @property
    def snapshot(self) -> Any:
        return self._engine.snapshot

    @property
    def n_workers(self) -> int:
        return self._engine.n_workers

    def stage(self, stage: Stage) -> None:
        self._engine.stage(stage)
        self.staged.append(stage)

    def unstage(self) -> bool:
        return self._engine.unstage()


class Running:
    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.host = None

    def filter_info(self, generation: int, index: int) -> dict[str, Any] | None:
        return {"name": f"filter-{index}", "sublayer": "universal"} if generation == 1 else None

    def interface_name(self, index: int) -> str:
        return {7: "eth7"}.get(index, "")


def compiled(path: str) -> Compiled:
    return decode(memoryview(compile_block(path, "warn")))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "staged.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    path = tmp_path / "running.yaml"
    path.write_text("version: 1\nfilters: [{name: one, layer: ipforward_v4, action: permit}]\n")
    engine = Engine(1)
    engine.swap(bare_snapshot(load_policy(str(path), trust="warn")))
    made = Staging(Running(Watched(engine)), str(path), compiled)  # type: ignore[arg-type]
    yield made
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "wfpd-stage"]


def stage_of(staging: Staging) -> Stage:
    found: Stage = staging._daemon.engine.staged[-1]  # type: ignore[attr-defined]
    return found


def put(staging: Staging, port: int, verdict: str = "permit", **more: Any) -> None:
    data = imagine("udp", "192.0.2.1:9", f"198.51.100.2:{port}").packet().data
    stage_of(staging).put(data, "forward", 1, verdict=verdict, slot=24, filter=0, **more)


def wait_for(staging: Staging, compared: int) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while (found := staging.status())["packets"]["seen"] < compared or found["packets"]["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def test_a_staged_policy_says_which_filters_would_decide_otherwise(staging: Staging, file: str) -> None:
    check_params("stage.start", {"path": file})
    started = staging.start({"path": file})
    check_result("stage.start", started)
    assert started["running"] and started["path"] == file and started["n_filters"] == 2
    put(staging, 53, in_interface=7)
    put(staging, 53, generation=9)
    put(staging, 80)
    put(staging, 443)
    found = wait_for(staging, 4)
    check_result("stage.status", found)
    assert found["same"] is False
    assert found["packets"]["would_block"] == 2 and found["packets"]["compared"] == 3
    assert found["not_decided"] == {"packets": 1, "callouts": {"c": 1}}
    known = next(row for row in found["differences"] if row["active"]["filter"])
    assert known["active"] == {
        "layer": "ipforward_v4", "sublayer": "universal", "filter": "filter-0", "reason": None}  # fmt: skip
    assert known["staged"]["filter"] == "no-dns" and known["verdict"] == "block"
    assert known["example"]["command"] == (
        "wfpd explain --hook forward --proto udp --src 192.0.2.1:9 --dst 198.51.100.2:53 --interface eth7"
    )
    last = staging.stop()
    check_result("stage.stop", last)
    assert (last["running"], last["ended"]) == (False, "stopped")
    assert last["differences"] == found["differences"] or len(last["differences"]) == 2
    assert staging.status() == {"running": False, "path": None}


def test_a_callout_s_answer_may_be_given(staging: Staging, file: str) -> None:
    staging.start({"path": file, "answers": {"c": "block"}})
    put(staging, 80)
    found = wait_for(staging, 1)
    assert found["not_decided"]["packets"] == 0 and found["packets"]["would_block"] == 1


def test_there_is_one_at_a_time_and_none_to_stop_before_the_first(staging: Staging, file: str) -> None:
    with pytest.raises(RpcError, match="no policy is staged") as raised:
        staging.stop()
    assert raised.value.code == REFUSED
    check_result("stage.status", staging.status())
    staging.start({"path": file})
    with pytest.raises(RpcError, match="staged already") as raised:
        staging.start({"path": file})
    assert raised.value.code == REFUSED
    staging.stop()
    assert staging.start({"path": file})["running"]


def test_its_time_ends_it_and_frees_it_and_what_it_found_stays(staging: Staging, file: str) -> None:
    staging.start({"path": file, "for": 0.05})
    put(staging, 53)
    deadline = time.monotonic() + 10
    while staging.status()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    staging._daemon.engine.staged.clear()  # type: ignore[attr-defined]
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Stage)]
    found = staging.status()
    assert (found["ended"], found["packets"]["would_block"]) == ("time", 1)
    assert staging.start({"path": file})["packets"]["seen"] == 0  # The next one begins from nothing.


def test_a_refused_file_stages_nothing_and_says_its_lines(staging: Staging, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("version: 1\nfilters:\n  - {name: one, layer: no_such_layer, action: block}\n")
    with pytest.raises(PolicyError, match=r"broken.yaml:3"):
        staging.start({"path": str(path)})
    assert staging.status() == {"running": False, "path": None}


def test_while_one_is_compiled_no_other_begins_and_the_daemon_s_stop_does_not_wait(tmp_path: Path, file: str) -> None:
    running = tmp_path / "running.yaml"
    running.write_text(POLICY)
    engine = Engine(1)
    engine.swap(bare_snapshot(load_policy(str(running), trust="warn")))
    entered, leave = threading.Event(), threading.Event()
    refused: list[str] = []

    def slow(path: str) -> Compiled:
        entered.set()
        leave.wait(10)
        return compiled(path)

    made = Staging(Running(Watched(engine)), str(running), slow)  # type: ignore[arg-type]

    def begin() -> None:
        try:
            made.start({"path": file})
        except RpcError as error:
            refused.append(error.message)

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    assert entered.wait(5)
    with pytest.raises(RpcError, match="another policy is being staged"):
        made.start({"path": file})
    made.close()
    leave.set()
    thread.join(10)
    assert refused == ["wfpd is stopping"] and made.status()["path"] is None


def test_a_comparison_that_fails_lets_go_of_the_workers_and_is_no_yes(
    staging: Staging, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(staging, "_watch", fail)
    staging.start({"path": file})
    deadline = time.monotonic() + 10
    while (found := staging.status())["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert (found["ended"], found["same"]) == ("failed", False)
    monkeypatch.undo()
    assert staging.start({"path": file})["running"]


@pytest.mark.parametrize(
    "wrong",
    [{"path": "relative.yaml"}, {"path": 7}, {"path": "/a\0b"}, {"path": "/" + "x" * 5000}, {"sample": 0},
     {"sample": True}, {"sample": 1.5}, {"sample": 1_000_001}, {"for": 0}, {"for": "1"}, {"for": True}, {"for": 86401},
     {"answers": []}, {"answers": {"c": "maybe"}}, {"answers": {"nobody": "block"}},
     {"answers": {str(n): "block" for n in range(257)}}],
)  # fmt: skip
def test_parameters_that_are_none_are_refused(staging: Staging, file: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(RpcError) as raised:
        staging.start({"path": file, **wrong})
    assert raised.value.code == INVALID_PARAMS
    assert wrong.keys() <= PARAMETERS
    assert staging.status()["path"] is None


def test_who_operates_is_not_told_what_a_secret_file_says(staging: Staging, file: str, tmp_path: Path) -> None:
    secrets = tmp_path / "elsewhere"
    secrets.mkdir()
    secret = secrets / "secret"
    secret.write_text("password: 123\n")
    secret.chmod(0o600)
    operator, root = Peer(1000, 1, Role.OPERATE), Peer(0, 1, Role.ADMINISTER)
    with pytest.raises(RpcError, match="not for everybody") as raised:
        staging.start({"path": str(secret)}, operator)
    assert raised.value.code == REFUSED
    with pytest.raises(RpcError, match="cannot open"):
        staging.start({"path": str(secrets / "none")}, operator)
    with pytest.raises(PolicyError):
        staging.start({"path": str(secret)}, root)
    Path(file).chmod(0o600)  # Beside the running policy.
    assert staging.start({"path": file}, operator)["running"]
