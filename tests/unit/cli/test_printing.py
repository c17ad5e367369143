import pytest

from wfpd import cli


@pytest.mark.parametrize("command", [["check"], ["run", "--policy"], ["replay", "x.pcap", "--policy"]])
def test_a_file_that_cannot_be_opened_is_3(command: list[str], tmp_path) -> None:
    pytest.importorskip("wfpd.daemon")
    assert cli.main([*command, str(tmp_path / "absent")]) == 3
