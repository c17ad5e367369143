import json

import pytest

from tests.unit.cli.answering import GOOD
from wfpd import cli
from wfpd.netfilter.commands import Commands


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
    assert cli.main(["check", "--strict", "--json", "--login", "none", str(good)]) == 0
    assert json.loads(capsys.readouterr().out)["filters"] == 2


ATTACHED = "attach:\n  - {hook: forward, queues: 7-8}\n"


@pytest.fixture
def attached(tmp_path) -> str:
    path = tmp_path / "attached.yaml"
    path.write_text(GOOD + ATTACHED)
    path.chmod(0o600)
    return str(path)


def tools(monkeypatch, tmp_path, **bodies: str) -> None:
    """Only these tools are found: shell scripts of the bodies, _ for -."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name, body in bodies.items():
        program = directory / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/called\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setattr("wfpd.checking.Commands", lambda: Commands(search_path=str(directory)))


def test_check_prints_the_rules_and_calls_nothing_that_changes_the_kernel(
    attached: str, monkeypatch, tmp_path, capsys
) -> None:
    tools(monkeypatch, tmp_path, iptables_nft_restore="exit 1", ip6tables_nft_restore="exit 1", iptables_save="true")
    assert cli.main(["check", attached]) == 0
    said = capsys.readouterr().out
    assert "rules that `wfpd run` would install:" in said and "--queue-balance 7:8 --queue-bypass" in said
    assert (tmp_path / "called").read_text() == "iptables_save\n"


def test_check_names_other_users_of_our_mark_bits(attached: str, monkeypatch, tmp_path, capsys) -> None:
    rule = "-A PREROUTING -j MARK --set-xmark 0x100000/0x100000"
    listing = f"printf '%s\\n' '*mangle' ':PREROUTING ACCEPT [0:0]' '{rule}' COMMIT"
    tools(monkeypatch, tmp_path, iptables_save=listing)
    assert cli.main(["check", attached]) == 0
    assert "other: mark: iptables mangle PREROUTING" in capsys.readouterr().out
    assert cli.main(["check", "--json", attached]) == 0
    (other,) = json.loads(capsys.readouterr().out)["others"]
    assert (other["kind"], other["text"]) == ("mark", rule)


def test_check_without_tools_notes_it_and_is_0(attached: str, monkeypatch, tmp_path, capsys) -> None:
    tools(monkeypatch, tmp_path)
    assert cli.main(["check", attached]) == 0
    assert "note: the rules cannot be shown here: neither iptables-nft nor nft" in capsys.readouterr().out
    assert cli.main(["check", "--json", attached]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["rules"], len(found["notes"])) == (True, None, 1)


def test_check_notes_a_tool_that_fails(attached: str, monkeypatch, tmp_path, capsys) -> None:
    tools(monkeypatch, tmp_path, nft="echo not allowed >&2; exit 1")
    assert cli.main(["check", attached]) == 0
    said = capsys.readouterr().out
    assert "queue" in said
    assert "note: other users of the packet path were not all seen: nft: not allowed" in said


def test_check_refuses_attachments_that_cannot_be_planned(tmp_path, capsys) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD + "attach:\n  - {hook: input, backend: nftables}\n  - {hook: output, backend: iptables}\n")
    path.chmod(0o600)
    assert cli.main(["check", str(path)]) == 1
    assert f"{path}:6: " in capsys.readouterr().err
    assert cli.main(["check", "--json", str(path)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["rules"], found["errors"][0]["line"]) == (False, None, 6)


def test_check_without_attach_notes_that_nothing_is_queued(tmp_path, capsys) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    assert cli.main(["check", str(path)]) == 0
    assert "note: there is no attach: no packet would be queued" in capsys.readouterr().out
