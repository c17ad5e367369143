import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wfpd import cli
from wfpd.control.admin import AdminServer, Method, Roles
from wfpd.control.protocol import REFUSED, Role, RpcError
from wfpd.errors import KernelError
from wfpd.observe.record import EventRecord
from wfpd.observe.sinks import Hub

GOOD = "version: 1\nfilters:\n  - {name: a, layer: ipforward, action: block}\n"


class Daemon:
    """What the socket answers."""

    def __init__(self, path: str) -> None:
        self.enforcing = True
        self.answer: dict | Exception = {}
        self.asked: list[dict] = []
        self.hub = Hub()
        methods = {"status": Method(Role.READ, lambda params, peer: self.status()),
                   "reload": Method(Role.OPERATE, lambda params, peer: self.reply(params)),
                   "confirm": Method(Role.OPERATE, lambda params, peer: self.reply(params))}  # fmt: skip
        methods["events.last"] = Method(Role.READ, lambda params, peer: self.answer)
        self.server = AdminServer(path, methods, Roles(), hub=self.hub)
        self.server.start()

    def status(self) -> dict:
        words = dict.fromkeys(("on_absent", "on_full", "on_late", "on_error", "on_malformed"), "permit")
        reload = {"last_successful": True, "last_success_timestamp": 0, "last_error": "", "confirm_remaining": None}
        return {"version": "0", "pid": 1, "policy": "p", "enforcing": self.enforcing, "audit": False, "generation": 1,
                "hash": "", "uptime_seconds": 1, "hooks": [], "queues": [], "flows": {"used": 0, "max": 1},
                "reload": reload, "words": words, "rules_error": ""}  # fmt: skip

    def reply(self, params) -> dict:
        self.asked.append(dict(params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "c.sock")


@pytest.fixture
def daemon(path: str) -> Iterator[Daemon]:
    daemon = Daemon(path)
    yield daemon
    daemon.server.close()


def reloaded(successful: bool = True, **more: object) -> dict:
    return {"successful": successful, "generation": 2, "hash": "ab" * 32, "seconds": 0.1, "n_filters": 3,
            "problems": [], "lints": [], "restart_needed": [], "confirm_within": None} | more  # fmt: skip


def test_status_is_1_while_not_enforcing_and_3_without_a_daemon(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main(["status", "--socket", path]) == 0
    assert "enforcing" in capsys.readouterr().out
    daemon.enforcing = False
    assert cli.main(["status", "--json", "--socket", path]) == 1
    assert json.loads(capsys.readouterr().out)["enforcing"] is False
    assert cli.main(["status", "--socket", path + ".not"]) == 3
    assert "hint:" in capsys.readouterr().err


def test_a_refused_reload_prints_every_error_and_is_1(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(False, problems=[{"text": "p.yaml:3: no such layer"}])
    assert cli.main(["reload", "--socket", path]) == 1
    assert "p.yaml:3: no such layer" in capsys.readouterr().err


def test_a_good_reload_says_what_needs_a_restart(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(restart_needed=["workers"])
    assert cli.main(["reload", "--confirm", "1m", "--socket", path]) == 0
    assert daemon.asked == [{"confirm": 60.0}]
    assert "restart needed for workers" in capsys.readouterr().out


def test_nothing_to_confirm_is_1(daemon: Daemon, path: str) -> None:
    daemon.answer = RpcError(REFUSED, "no reload waits")
    assert cli.main(["confirm", "--socket", path]) == 1


def test_events_end_after_the_count(daemon: Daemon, path: str, capsys) -> None:
    import threading

    event = {"timestamp": "t", "event_type": "drop", "proto": "TCP", "verdict": {"action": "drop"},
             "wfp": {"reason": "filter", "filter": "telnet"}}  # fmt: skip
    line = json.dumps(event).encode() + b"\n"
    timer = threading.Timer(0.3, daemon.hub.write, (EventRecord(0, "block"), line))
    timer.start()
    assert cli.main(["events", "--count", "1", "--socket", path]) == 0
    timer.join()
    assert "telnet" in capsys.readouterr().out


def test_the_last_block_is_shown_and_none_is_1(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main(["events", "--last", "--socket", path]) == 1
    daemon.answer = {"timestamp": "t", "event_type": "drop", "verdict": {"action": "drop"}, "wfp": {"filter": "telnet"}}
    assert cli.main(["events", "--last", "--socket", path]) == 0
    assert "telnet" in capsys.readouterr().out


def test_check_reports_the_line_and_is_1(tmp_path, capsys) -> None:
    bad = tmp_path / "p.yaml"
    bad.write_text("version: 1\nfilters:\n  - {name: a, layer: nowhere, action: block}\n")
    assert cli.main(["check", str(bad)]) == 1
    assert ":3: " in capsys.readouterr().err
    assert cli.main(["check", "--json", str(bad)]) == 1
    assert json.loads(capsys.readouterr().out)["errors"][0]["line"] == 3


def test_check_of_a_good_policy_is_0(tmp_path, capsys) -> None:
    good = tmp_path / "p.yaml"
    good.write_text(GOOD)
    good.chmod(0o600)
    assert cli.main(["check", "--strict", "--json", str(good)]) == 0
    assert json.loads(capsys.readouterr().out)["filters"] == 2


@pytest.mark.parametrize("command", [["check"], ["run", "--policy"], ["replay", "x.pcap", "--policy"]])
def test_a_file_that_cannot_be_opened_is_3(command: list[str], tmp_path) -> None:
    pytest.importorskip("wfpd.daemon")
    assert cli.main([*command, str(tmp_path / "absent")]) == 3


def test_layers_are_listed_from_the_schema(capsys) -> None:
    assert cli.main(["layers", "--json"]) == 0
    layers = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert layers["inbound_transport_v4"]["twin"] == "inbound_transport_v4_discard"
    states = {field["name"]: field["state"] for field in layers["ipforward_v6"]["fields"]}
    assert states["ip_ttl"] == "extension"
    assert cli.main(["layers"]) == 0


def test_usage_is_2(capsys) -> None:
    for arguments in ([], ["nonsense"], ["reload", "--confirm", "soon"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2


def test_a_fault_of_ours_is_70_with_a_report_and_no_traceback(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cli, "layer_schema", lambda: 1 // 0)
    assert cli.main(["layers"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (report,) = tmp_path.glob("wfpd-report-*.txt")
    assert "ZeroDivisionError" in report.read_text() and str(report) in said
    assert cli.main(["layers", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_error_on_purpose_has_its_own_status(monkeypatch, capsys) -> None:
    def refuse() -> None:
        raise KernelError("queue 0 is taken", hint="look")

    monkeypatch.setattr(cli, "layer_schema", refuse)
    assert cli.main(["layers"]) == 3
    assert capsys.readouterr().err == "error: queue 0 is taken\n  hint: look\n"


def test_a_closed_pipe_is_0_without_a_message() -> None:
    child = subprocess.Popen([sys.executable, "-m", "wfpd", "layers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 0
    child.stderr.close()


def test_times_are_written_with_a_unit() -> None:
    assert [cli.seconds(text) for text in ("60s", "5m", "1h", "500ms", "7")] == [60, 300, 3600, 0.5, 7]
