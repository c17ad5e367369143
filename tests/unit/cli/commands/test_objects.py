import json

import pytest

from tests.unit.cli.answering import Daemon, key
from wfpd import cli
from wfpd.control.protocol import REFUSED, RpcError

ROWS = [
        {"key": key(1), "name": "edge", "weight": 0x9000, "requested_weight": 0x9000, "n_filters": 2,
         "provider": "acme"},
        {"key": key(2), "name": "core", "weight": 1, "requested_weight": 0, "n_filters": 0, "provider": None},
        {"key": key(3), "name": "core", "weight": 2, "requested_weight": 0, "n_filters": 1, "provider": "acme"},
]  # fmt: skip


def test_a_list_is_a_table_of_all_pages(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["sublayers"] = ROWS
    assert cli.main(["sublayers", "list", "--socket", path]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name  weight  requested  filters  provider  lifetime  key",
        f"edge  0x9000  0x9000           2  acme      -         {key(1)}",
        f"core  0x0001  0x0000           0  -         -         {key(2)}",
        f"core  0x0002  0x0000           1  acme      -         {key(3)}",
    ]
    assert cli.main(["sublayers", "list", "--name", "core", "--provider", "acme", "--json", "--socket", path]) == 0
    assert [item["key"] for item in json.loads(capsys.readouterr().out)["objects"]] == [key(3)]


def test_one_is_shown_whole(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["callouts"] = [{"key": key(1), "name": "dns", "registered": True}]
    assert cli.main(["callouts", "show", "dns", "--socket", path]) == 0
    assert capsys.readouterr().out == f"key         {key(1)}\nname        dns\nregistered  yes\n"
    assert cli.main(["callouts", "show", key(1), "--json", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out) == daemon.objects["callouts"][0]
    assert cli.main(["callouts", "show", key(9), "--socket", path]) == 1
    assert capsys.readouterr().err == "error: there is no such object (FWP_E_NOT_FOUND)\n"


def test_one_is_added_as_an_entry_of_a_policy(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = {"generation": 4, "objects": [{"key": key(5), "name": "edge"}]}
    assert cli.main(["sublayers", "add", "--name", "edge", "weight=0x9000", "--socket", path]) == 0
    assert tuple(capsys.readouterr()) == (f"{key(5)}  edge\n", "generation 4: 1 sublayer added\n")
    assert cli.main(["provider-contexts", "--json", "--socket", path, "add", "--name", "c", "data={a: [b]}"]) == 0
    assert json.loads(capsys.readouterr().out) == daemon.answer
    assert daemon.asked == [{"sublayer": {"name": "edge", "weight": "0x9000"}},
                            {"provider_context": {"name": "c", "data": {"a": ["b"]}}}]  # fmt: skip


def test_a_refusal_is_1_with_wfp_s_code_and_the_hint(daemon: Daemon, path: str, capsys) -> None:
    data = {"error": "FWP_E_IN_USE", "code": 2150760458, "hint": "delete its filters first"}
    daemon.answer = RpcError(REFUSED, "the sublayer is in use", data)
    assert cli.main(["sublayers", "delete", key(1), "--socket", path]) == 1
    assert capsys.readouterr().err == "error: the sublayer is in use (FWP_E_IN_USE)\n  hint: delete its filters first\n"
    assert cli.main(["sublayers", "delete", key(1), "--json", "--socket", path]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "successful": False, "error": "the sublayer is in use", "wfp_error": "FWP_E_IN_USE", "code": 2150760458,
        "hint": "delete its filters first",
    }  # fmt: skip


def test_names_are_deleted_by_their_keys_and_an_ambiguous_one_is_refused(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["sublayers"] = ROWS
    daemon.answer = {"generation": 5, "deleted": 2}
    assert cli.main(["sublayers", "delete", "edge", key(2), "--socket", path]) == 0
    assert daemon.asked[-1] == {"keys": [key(1), key(2)]}
    assert capsys.readouterr().err == "generation 5: 2 deleted\n"
    daemon.asked.clear()
    assert cli.main(["sublayers", "delete", "edge", "core", "--socket", path]) == 1
    assert not [params for params in daemon.asked if "keys" in params]
    said = capsys.readouterr().err
    assert key(2) in said and key(3) in said and "say which by its key" in said


@pytest.mark.parametrize("command", [["sublayers"], ["callouts", "add"], ["providers", "list", "x"],
                                     ["sublayers", "show"],
                                     ["sublayers", "add", "--name", "a", "weight"]])  # fmt: skip
def test_usage_is_2(command: list[str], path: str) -> None:
    try:
        status = cli.main([*command, *(["--socket", path] if len(command) > 1 else [])])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2


def test_a_daemon_that_is_older_or_away_is_3(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main(["providers", "add", "--name", "acme", "--socket", path]) == 3
    assert "there is no method 'providers.add'" in capsys.readouterr().err
    assert cli.main(["providers", "list", "--socket", path + ".not"]) == 3
