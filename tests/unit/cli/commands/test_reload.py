import json

from tests.unit.cli.answering import Daemon
from wfpd import cli
from wfpd.control.protocol import REFUSED, RpcError


def reloaded(successful: bool = True, **more: object) -> dict:
    return {"successful": successful, "generation": 2, "hash": "ab" * 32, "seconds": 0.1, "n_filters": 3,
            "problems": [], "lints": [], "restart_needed": [], "confirm_within": None} | more  # fmt: skip


def test_a_refused_reload_prints_every_error_and_is_1(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(False, problems=[{"text": "p.yaml:3: no such layer"}])
    assert cli.main(["reload", "--socket", path]) == 1
    assert "p.yaml:3: no such layer" in capsys.readouterr().err


def test_a_good_reload_says_what_needs_a_restart(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(restart_needed=["workers"])
    assert cli.main(["reload", "--confirm", "1m", "--socket", path]) == 0
    assert daemon.asked == [{"confirm": 60.0}]
    assert "restart needed for workers" in capsys.readouterr().out


def test_of_many_lints_a_reload_repeats_the_first_and_says_how_many_more(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(lints=[{"text": f"p.yaml:{line}: a lint"} for line in range(1, 31)])
    assert cli.main(["reload", "--socket", path]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "lint: p.yaml:1: a lint"
    assert lines[20:] == ["lint: 10 more; `wfpd check` shows all of them"]
    assert cli.main(["reload", "--json", "--socket", path]) == 0
    assert len(json.loads(capsys.readouterr().out)["lints"]) == 30


def test_nothing_to_confirm_is_1(daemon: Daemon, path: str) -> None:
    daemon.answer = RpcError(REFUSED, "no reload waits")
    assert cli.main(["confirm", "--socket", path]) == 1
