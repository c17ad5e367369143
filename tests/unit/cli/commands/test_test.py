from pathlib import Path

from wfpd import cli

EXAMPLES = Path(__file__).resolve().parents[4] / "docs" / "examples"


def test_the_examples_are_tested(capsys) -> None:
    assert cli.main(["test", str(EXAMPLES / "tests" / "gateway.test.yaml")]) == 0
    assert "passed" in capsys.readouterr().out
    assert cli.main(["test", str(EXAMPLES / "tests"), "-k", "no such case"]) == 2
    assert cli.main(["test", str(EXAMPLES / "none.test.yaml")]) == 3
