import json

from tests.unit.cli.answering import Daemon
from wfpd import cli
from wfpd.control.protocol import REFUSED, RpcError


def test_sets_are_listed_with_how_much_is_in_them(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["sets"] = [{"name": "bad", "type": "ip_address", "n_values": 100000}]
    assert cli.main(["sets", "list", "--socket", path]) == 0
    assert capsys.readouterr().out == "name  type        values\nbad   ip_address  100000\n"
    assert cli.main(["sets", "list", "--json", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out) == {"objects": daemon.objects["sets"]}


def test_sets_of_one_name_with_other_values_are_told_of(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["sets"] = [{"name": "bad", "type": "address", "n_values": 3, "n_different": 2}]
    assert cli.main(["sets", "list", "--socket", path]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "bad   address  3 of 2 sets"
    daemon.answer = {"object": {"name": "bad", "n_values": 1, "n_different": 2, "values": ["192.0.2.1"]}}
    assert cli.main(["sets", "show", "bad", "--socket", path]) == 0
    assert capsys.readouterr().err == (
        "2 sets have this name, of the policy file or of sessions: the values are those of all\n"
    )


def test_a_set_is_shown_a_value_a_line_and_what_is_left_out_is_said(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = {"object": {"name": "bad", "n_values": 3, "values": ["192.0.2.1", "198.51.100.0/24"]}}
    assert cli.main(["sets", "show", "bad", "--most", "2", "--socket", path]) == 0
    assert tuple(capsys.readouterr()) == ("192.0.2.1\n198.51.100.0/24\n", "1 more; --most N shows them\n")
    assert daemon.asked == [{"name": "bad", "size": 2}]
    assert cli.main(["sets", "show", "bad", "--json", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out) == daemon.answer["object"]
    daemon.answer = RpcError(REFUSED, 'there is no set "worse"')
    assert cli.main(["sets", "show", "worse", "--socket", path]) == 1
