import json

from tests.unit.cli.answering import GOOD
from wfpd import cli


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
