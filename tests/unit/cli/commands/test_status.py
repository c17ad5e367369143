import json

from tests.unit.cli.answering import Daemon
from wfpd import cli


def test_status_is_1_while_not_enforcing_and_3_without_a_daemon(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main(["status", "--socket", path]) == 0
    assert "enforcing" in capsys.readouterr().out
    daemon.enforcing = False
    daemon.why_not = ["queue 3 is not bound"]
    assert cli.main(["status", "--socket", path]) == 1
    assert "not enforcing: queue 3 is not bound\n" in capsys.readouterr().out
    assert cli.main(["status", "--json", "--socket", path]) == 1
    assert json.loads(capsys.readouterr().out)["enforcing"] is False
    assert cli.main(["status", "--socket", path + ".not"]) == 3
    assert "hint:" in capsys.readouterr().err
