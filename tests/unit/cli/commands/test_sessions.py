import json
import time

from tests.unit.cli.answering import Daemon
from wfpd import cli


def test_sessions_are_listed_with_their_transaction(daemon: Daemon, path: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    daemon.answer = {"sessions": [{"key": "k", "id": 4, "name": "vpn", "dynamic": True, "uid": 0, "pid": 77,
                                   "transaction": "write", "since": 880}]}  # fmt: skip
    assert cli.main(["sessions", "list", "--socket", path]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["4", "vpn", "yes", "0", "77", "write", "2", "min", "ago", "k"]
    assert cli.main(["sessions", "--json", "--socket", path, "list"]) == 0
    assert json.loads(capsys.readouterr().out) == daemon.answer
