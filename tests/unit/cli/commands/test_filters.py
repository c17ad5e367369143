import io
import json

import pytest

from tests.unit.cli.answering import GOOD, Daemon
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
    key = "00000000-0000-0000-0000-00000000000"
    assert cli.main(["filters", "--json", "--socket", path, "delete", f"{key}1", f"{key}2"]) == 0
    assert json.loads(capsys.readouterr().out) == {"generation": 3, "deleted": 2}
    assert daemon.asked == [{"policy": GOOD}, {"keys": [f"{key}1", f"{key}2"]}]


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
