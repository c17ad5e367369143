"""The control socket's `explain`: the running tables, and parameters that are refused by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.control_schema import check_params
from wfpd.config import load_policy
from wfpd.control.protocol import INVALID_PARAMS, REFUSED, RpcError
from wfpd.daemon.asked import PARAMETERS, explain_live
from wfpd.dataplane import Host
from wfpd.explaining import bare_snapshot
from wfpd.imagined import imagine

GIVEN = {"hook": "input", "protocol": "tcp", "source": "192.0.2.1:4000", "destination": "203.0.113.10:22"}


def running(tmp_path: Path, *, snapshot: bool = True) -> Any:
    """What the method needs of the daemon: eth7 is interface 7."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 1\ncallouts: [{name: c, use: \"m:C\"}]\nfilters:\n"
        "  - {name: named, layer: ale_auth_recv_accept_v4, action: permit, weight: 9, when: {interface_type: tunnel}}\n"
        "  - {name: marked, layer: inbound_transport_v4, action: block, when: {packet_mark: 7}}\n"
        "  - {name: ssh, layer: ale_auth_recv_accept_v4, action: block, weight: 1, when: {ip_local_port: 22}}\n"
    )  # fmt: skip
    policy = load_policy(str(path), trust="warn")
    return SimpleNamespace(
        policy=policy, host=Host([(7, b"eth7", 131, False, 1), (8, b"eth8", 6, False, 0)]),
        engine=SimpleNamespace(snapshot=bare_snapshot(policy) if snapshot else None),
        interface_index=lambda name: {"eth7": 7, "eth8": 8}.get(name, 0),
    )  # fmt: skip


def test_the_running_tables_decide_with_what_the_host_knows(tmp_path: Path) -> None:
    daemon = running(tmp_path)
    assert explain_live(daemon, GIVEN)["decision"]["filter"] == "ssh"
    assert explain_live(daemon, {**GIVEN, "interface": "eth8"})["decision"]["filter"] == "ssh"
    by_tunnel = explain_live(daemon, {**GIVEN, "interface": "eth7"})
    assert (by_tunnel["decision"]["verdict"], by_tunnel["decision"]["filter"]) == ("permit", "named")
    assert explain_live(daemon, {**GIVEN, "mark": 7})["decision"]["filter"] == "marked"
    near = explain_live(daemon, {**GIVEN, "near": 0, "flags": "syn", "payload": 3, "answers": {"c": "block"}})
    assert near["packet"]["length"] == 43
    assert all(item["match"] != "near" for visit in near["visits"] for layer in visit["layers"]
               for sublayer in layer["sublayers"] for item in sublayer["filters"])  # fmt: skip


def test_asking_twice_leaves_no_flow(tmp_path: Path) -> None:
    daemon = running(tmp_path)
    tunnel = {**GIVEN, "interface": "eth7"}
    assert [explain_live(daemon, tunnel)["decision"]["reason"] for _ in range(2)] == ["filter", "filter"]


@pytest.mark.parametrize(("changed", "says"), [
    ({"hook": None}, "hook is a text"), ({"hook": "sideways"}, "hook is one of"), ({"source": "x" * 257}, "source"),
    ({"source": "nowhere"}, "no address"), ({"protocol": "nonsense"}, "no protocol"), ({"mark": -1}, "mark"),
    ({"mark": True}, "mark"), ({"near": 101}, "near"), ({"payload": 1.5}, "payload"), ({"answers": []}, "answers"),
    ({"answers": {"c": "maybe"}}, "answers"), ({"answers": {"d": "block"}}, "no callout"),
    ({"interface": "eth9"}, "no interface 'eth9'"), ({"answers": {"c": []}}, "answers"),
])  # fmt: skip
def test_wrong_parameters_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(RpcError, match=says) as raised:
        explain_live(running(tmp_path), {**GIVEN, **changed})
    assert raised.value.code == INVALID_PARAMS


def test_a_packet_of_a_capture_is_asked_about_by_its_bytes(tmp_path: Path) -> None:
    data = imagine("tcp", "192.0.2.1:4000", "203.0.113.10:22", payload=100).data()
    daemon = running(tmp_path)
    asked = {"hook": "input", "data": data.hex()}
    check_params("explain", asked)
    for _ in range(2):
        found = explain_live(daemon, asked)
        assert (found["decision"]["filter"], found["packet"]["length"]) == ("ssh", 140)
    cut = explain_live(daemon, {"hook": "input", "data": data[:40].hex(), "length": 140, "interface": "eth7"})
    assert (cut["decision"]["filter"], cut["packet"]["length"]) == ("named", 140)
    assert explain_live(daemon, {"hook": "input", "data": "45"})["decision"]["reason"] == "malformed"
    for changed, says in (
        ({"data": ""}, "data is"), ({"data": "4"}, "data is"), ({"data": "4G"}, "data is"), ({"data": 69}, "data is"),
        ({"data": "45" * 16385}, "data is"), ({"source": "192.0.2.1"}, "source describes"), ({"length": -1}, "length"),
        ({"hook": "sideways"}, "hook is one of"), ({"payload": 1}, "payload describes"),
    ):  # fmt: skip
        with pytest.raises(RpcError, match=says) as raised:
            explain_live(daemon, {**asked, **changed})
        assert raised.value.code == INVALID_PARAMS
    with pytest.raises(RpcError, match="length is that of data"):
        explain_live(daemon, {**GIVEN, "length": 3})
    with pytest.raises(RpcError, match="hook is missing"):
        explain_live(daemon, {"data": data.hex()})


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_what_a_packet_needs_is_not_guessed(tmp_path: Path, name: str) -> None:
    with pytest.raises(RpcError, match=f"{name} is missing"):
        explain_live(running(tmp_path), {key: value for key, value in GIVEN.items() if key != name})
    assert name in PARAMETERS


def test_without_a_policy_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(RpcError) as raised:
        explain_live(running(tmp_path, snapshot=False), GIVEN)
    assert raised.value.code == REFUSED
