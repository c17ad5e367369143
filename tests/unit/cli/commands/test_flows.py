import json
import time

import pytest

from tests.unit.cli.answering import Daemon
from wfpd import cli

FLOW = {"flow_id": 1, "protocol": "tcp", "local_address": "192.0.2.1", "local_port": 22,
        "remote_address": "2001:db8::1", "remote_port": 50000, "direction": "inbound", "state": "established",
        "layer": "ale_auth_recv_accept_v4",
        "filter": "ssh\x1b[31m", "packets_in": 3, "packets_out": 2, "bytes_in": 300, "bytes_out": 20, "started": 10,
        "last_seen": 90}  # fmt: skip
PING = {"protocol": "icmp", "local_address": "192.0.2.1", "remote_address": "192.0.2.9"}


def test_flows_are_a_row_each(daemon: Daemon, path: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(time, "time", lambda: 100.0)
    daemon.objects["flows"] = [FLOW, PING]
    assert cli.main(["flows", "list", "--socket", path]) == 0
    title, first, second = capsys.readouterr().out.splitlines()
    assert title.split() == "proto local remote direction state packets bytes last seen layer filter".split()
    assert first.split() == ["tcp", "192.0.2.1:22", "[2001:db8::1]:50000", "inbound", "established", "5", "320", "10",
                             "s", "ago", "ale_auth_recv_accept_v4", "ssh\\x1b[31m"]  # fmt: skip
    assert second.split()[:4] == ["icmp", "192.0.2.1", "192.0.2.9", "-"]


def test_flows_are_shown_by_an_end_or_by_their_id(daemon: Daemon, path: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(time, "time", lambda: 100.0)
    daemon.objects["flows"] = [FLOW, PING | {"flow_id": 2}]
    assert cli.main(["flows", "show", "1", "--socket", path]) == 0
    said = capsys.readouterr().out
    assert "started         1 min ago\nlast_seen       10 s ago" in said and "filter          ssh\\x1b[31m" in said
    assert cli.main(["flows", "show", "2", "--json", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out) == {"objects": [PING | {"flow_id": 2}]}
    assert cli.main(["flows", "show", "3", "--socket", path]) == 1
    daemon.objects["flows"] = []
    capsys.readouterr()
    assert cli.main(["flows", "show", "[2001:db8::1]:50000", "--socket", path]) == 1
    assert daemon.asked[-1]["template"] == {"address": "2001:db8::1", "port": 50000}
    assert capsys.readouterr().err == "error: there is no such flow\n  hint: `wfpd flows list` has them all\n"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["flows", "show", "ssh", "--socket", path])
    assert stopped.value.code == 2


def test_what_is_asked_for_is_the_template(daemon: Daemon, path: str, capsys) -> None:
    options = ["--address", "192.0.2.1", "--port", "22", "--proto", "tcp"]
    assert cli.main(["flows", "list", *options, "--json", "--socket", path]) == 0
    assert daemon.asked == [{"template": {"address": "192.0.2.1", "port": 22, "protocol": "tcp"}, "size": 1000}]
    assert json.loads(capsys.readouterr().out) == {"objects": []}
    assert cli.main(["flows", "list", "--socket", path]) == 0
    assert capsys.readouterr().err == "no flows\n"


@pytest.mark.parametrize("port", ["-1", "65536", "ssh", "1e3"])
def test_a_port_that_is_none_is_2(port: str, path: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["flows", "list", "--port", port, "--socket", path])
    assert stopped.value.code == 2
