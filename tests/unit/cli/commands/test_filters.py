import io
import json

import pytest

from tests.unit.cli.answering import GOOD, Daemon, key
from wfpd import cli
from wfpd.cli.commands.filters import MAX_CHANGE
from wfpd.control.protocol import REFUSED, RpcError

ADDED = {"generation": 2, "filters": [{"key": "k1", "layer": "ipforward_v4", "name": "a"}]}


def test_a_file_of_filters_is_added_and_keys_are_deleted(daemon: Daemon, path: str, tmp_path, capsys) -> None:
    file = tmp_path / "more.yaml"
    file.write_text(GOOD)
    daemon.answer = ADDED
    assert cli.main(["filters", "add", str(file), "--socket", path]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("k1  ipforward_v4  a\n", "generation 2: 1 engine filters added\n")
    daemon.answer = {"generation": 3, "deleted": 2}
    assert cli.main(["filters", "--json", "--socket", path, "delete", key(1), key(2)]) == 0
    assert json.loads(capsys.readouterr().out) == {"generation": 3, "deleted": 2}
    assert daemon.asked == [{"policy": GOOD}, {"keys": [key(1), key(2)]}]


def test_a_file_comes_from_standard_input(daemon: Daemon, path: str, monkeypatch) -> None:
    daemon.answer = ADDED
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert cli.main(["filters", "add", "-", "--socket", path]) == 0
    assert daemon.asked == [{"policy": GOOD}]


def test_a_refused_change_is_1_with_every_problem(daemon: Daemon, path: str, tmp_path, capsys) -> None:
    file = tmp_path / "more.yaml"
    file.write_text(GOOD)
    daemon.answer = RpcError(REFUSED, "no", {"problems": ["line 3: no such layer"]})
    assert cli.main(["filters", "add", str(file), "--socket", path]) == 1
    assert capsys.readouterr().err == "error: line 3: no such layer\n"


@pytest.mark.parametrize("content", [b"\xff", b"#" * (MAX_CHANGE + 1)])
def test_a_change_that_cannot_be_sent_is_3(content: bytes, path: str, tmp_path) -> None:
    file = tmp_path / "more.yaml"
    file.write_bytes(content)
    assert cli.main(["filters", "add", str(file), "--socket", path]) == 3
    assert cli.main(["filters", "add", str(tmp_path / "none.yaml"), "--socket", path]) == 3
    assert cli.main(["filters", "add", str(file), str(file), "--socket", path]) == 3


FILTERS = [{"key": key(number), "name": name, "layer": "ipforward_v4", "sublayer": "universal", "weight": number << 60,
            "action": "block", "hits": hits, "last_hit": None, "when": {}}
           for number, (name, hits) in enumerate([("a", 5), ("b", 50), ("c", 0)], 1)]  # fmt: skip


def test_filters_are_listed_with_weights_and_hits(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["filters"] = FILTERS
    assert cli.main(["filters", "list", "--socket", path]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == "name layer sublayer weight range action hits last hit key when".split()
    row = ["b", "ipforward_v4", "universal", "0x2000000000000000", "2", "block", "50", "never", key(2)]
    assert said[2].split() == row
    assert cli.main(["filters", "list", "--sort", "hits", "--json", "--socket", path]) == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)["objects"]] == ["b", "a", "c"]


@pytest.mark.parametrize(("options", "template"), [
    (["--layer", "ipforward_v4", "--sublayer", "s", "--provider", "p", "--name", "n", "--callout", "c",
      "--action", "permit", "--action", "block"], {"layer": "ipforward_v4",
                             "sublayer": "s", "provider": "p", "name": "n", "callout": "c",
                             "action": ["permit", "block"]}),
    (["--best", "--sort", "weight"], {"flags": ["best_terminating_match", "sorted"]}),
    (["--layer", "l", "ip_protocol=tcp"], {"layer": "l", "type": "overlapping", "when": {"ip_protocol": "tcp"}}),
    (["--layer", "l", "--overlapping", "a=1"], {"layer": "l", "type": "overlapping", "when": {"a": "1"}}),
    (["--layer", "l", "--contained", "a=[1, 2]"], {"layer": "l", "type": "fully_contained", "when": {"a": ["1", "2"]}}),
])  # fmt: skip
def test_what_is_asked_for_is_the_template(options: list[str], template: dict, daemon: Daemon, path: str) -> None:
    assert cli.main(["filters", "list", *options, "--socket", path]) == 0
    assert daemon.asked == [{"template": template, "size": 1000}]


@pytest.mark.parametrize(("options", "made"), [
    (["--action", "block"], {"action": "block"}),
    (["--action", "permit", "--weight", "0x10", "--sublayer", "s", "--provider", "p"],
     {"action": "permit", "weight": "0x10", "sublayer": "s", "provider": "p"}),
    (["--action", "block", "--weight", "range:7", "ip_protocol=tcp"],
     {"action": "block", "weight": {"range": "7"}, "when": {"ip_protocol": "tcp"}}),
    (["--callout", "dns"], {"action": {"callout": "dns", "kind": "terminating"}}),
    (["--callout", "dns", "--kind", "inspection"], {"action": {"callout": "dns", "kind": "inspection"}}),
])  # fmt: skip
def test_a_described_filter_is_added_as_an_entry_of_a_policy(
    options: list[str], made: dict, daemon: Daemon, path: str
) -> None:
    daemon.answer = ADDED
    assert cli.main(["filters", "add", "--name", "a", "--layer", "l", *options, "--for", "10m", "--socket", path]) == 0
    assert daemon.asked == [{"filter": {"name": "a", "layer": "l"} | made, "for": 600.0}]


@pytest.mark.parametrize(("command", "says"), [
    (["list", "a=1"], "conditions are those of a layer"), (["list", "--contained"], "speak of conditions"),
    (["list", "--layer", "l", "odd"], "is not NAME=VALUE"), (["add"], "what is to be added"),
    (["add", "--name", "a", "--action", "block"], "--layer is missing"),
    (["add", "--name", "a", "--layer", "l"], "either --action or --callout"),
    (["add", "--name", "a", "--layer", "l", "--action", "block", "--callout", "c"], "either --action or --callout"),
    (["add", "--name", "a", "--layer", "l", "--action", "block", "--kind", "unknown"], "--kind is that of a --callout"),
    (["add", "--name", "a", "--layer", "l", "--action", "block", "more.yaml"], "is not NAME=VALUE"),
])  # fmt: skip
def test_what_cannot_be_meant_is_2(command: list[str], says: str, path: str, capsys) -> None:
    assert cli.main(["filters", *command, "--socket", path]) == 2
    assert says in capsys.readouterr().err


def test_a_filter_of_both_families_is_shown_and_deleted_by_its_name(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["filters"] = [FILTERS[0], FILTERS[0] | {"key": key(9), "layer": "ipforward_v6", "hits": 4}]
    hits = FILTERS[0]["hits"] + 4
    assert cli.main(["filters", "show", "a", "--socket", path]) == 0
    said = capsys.readouterr().out
    assert "ipforward_v4" in said and "ipforward_v6" in said and f"{hits} hits at all of them" in said
    assert cli.main(["filters", "show", "a", "--json", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out)["hits"] == hits
    daemon.answer = {"generation": 5, "deleted": 2}
    assert cli.main(["filters", "delete", "a", "--socket", path]) == 0
    assert daemon.asked[-1] == {"keys": [key(1), key(9)]}
