import json
from pathlib import Path

from tests.unit.cli.answering import GOOD
from wfpd import cli

EXAMPLES = Path(__file__).resolve().parents[4] / "docs" / "examples"


def test_diff_is_1_where_a_verdict_changes(tmp_path, capsys) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(GOOD)
    new.write_text(GOOD.replace("block", "permit"))
    assert cli.main(["diff", str(old), str(new)]) == 1
    assert "block -> permit  every packet  (a -> a)" in capsys.readouterr().out
    assert cli.main(["diff", str(old), str(old), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"format": 1, "same": True, "layers": []}
    new.write_text("version: 2\n")
    assert cli.main(["diff", str(old), str(new)]) == 1
    assert cli.main(["diff", str(old), str(tmp_path / "none.yaml")]) == 3


def test_diff_weighs_a_capture(tmp_path, capsys) -> None:
    new = tmp_path / "new.yaml"
    new.write_text((EXAMPLES / "gateway.yaml").read_text().replace("ip_source_port: [80, 443]", "ip_source_port: 443"))
    arguments = ["diff", str(EXAMPLES / "gateway.yaml"), str(new)]
    assert cli.main([*arguments, "--capture", str(EXAMPLES / "gateway.pcap"), "--json"]) == 1
    (change,) = json.loads(capsys.readouterr().out)["capture"]["changes"]
    assert (change["old"]["filter"], change["new"]["filter"]) == ("web-replies", "no-other-tcp")
    assert (change["packets"], change["first_packet"]) == (1, 2)
    assert cli.main([*arguments, "--capture", str(tmp_path / "none.pcap")]) == 3
    assert cli.main([*arguments, "--capture", str(EXAMPLES / "gateway.pcap"), "--local", "here"]) == 2
    assert cli.main([*arguments, "--hook", "input"]) == 2
    assert "--capture" in capsys.readouterr().err
