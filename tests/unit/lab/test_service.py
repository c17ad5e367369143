"""The lab's daemon: its files, and what is said when it does not start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wfpd.config.schema import load_policy
from wfpd.lab.errors import LabError
from wfpd.lab.network import Network
from wfpd.lab.service import METRICS, Service
from wfpd.lab.story import edited, shipped_policy


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(Network(), tmp_path, shipped_policy())


def test_every_path_of_the_daemon_lies_in_the_labs_directory(service: Service, tmp_path: Path) -> None:
    daemon = load_policy(service.policy).daemon
    assert daemon.control_path.startswith(str(tmp_path))
    assert daemon.metrics == METRICS


def test_the_edited_policy_loads_as_well(service: Service) -> None:
    service.write(edited(shipped_policy()))
    assert "no-ping" in [item.name for item in load_policy(service.policy).filters]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("error: queue 0 is already taken by another process", r"queue 0 is taken in wfpd-router-"),
        ("error: no such thing", r"wfpd ended with status 3: error: no such thing"),
    ],
)
def test_a_daemon_that_ends_at_once_says_why(
    service: Service, log: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawn(arguments: list[str], **streams: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(["sh", "-c", f"echo '{log}'; exit 3"], stdout=streams["stdout"], text=True)
        process.wait()
        return process

    monkeypatch.setattr(service, "_spawn", spawn)
    with pytest.raises(LabError, match=message):
        service.start()


def test_an_event_is_found_by_protocol_and_port(service: Service) -> None:
    service.events.put({"proto": "UDP", "dest_port": 7})
    service.events.put({"proto": "TCP", "dest_port": 23, "event_type": "drop"})
    assert service.decided("TCP", 23, 0.1) == {"proto": "TCP", "dest_port": 23, "event_type": "drop"}
    assert service.decided("TCP", 23, 0.01) is None
