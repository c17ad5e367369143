import pytest

from tests.unit.cli.answering import GOOD
from wfpd import cli


def test_bench_refuses_numbers_that_are_none_or_too_large(tmp_path, capsys) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(GOOD)
    for option in (["--rounds", "0"], ["--packets", "65537"], ["--packets", "many"], ["--hook", "prerouting"]):
        with pytest.raises(SystemExit) as end:
            cli.main(["bench", "--policy", str(policy), *option])
        assert end.value.code == 2
    assert "65537" in capsys.readouterr().err


def test_bench_of_a_bad_policy_is_1_and_of_no_file_3(tmp_path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 2\n")
    assert cli.main(["bench", "--policy", str(policy)]) == 1
    assert cli.main(["bench", "--policy", str(tmp_path / "none.yaml")]) == 3
    policy.write_text(GOOD)
    assert cli.main(["bench", "--policy", str(policy), "--capture", str(tmp_path / "none.pcap")]) == 3


def test_bench_says_that_it_needs_root(tmp_path, monkeypatch, capsys) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(GOOD)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["bench", "--policy", str(policy)]) == 3
    assert "root" in capsys.readouterr().err
