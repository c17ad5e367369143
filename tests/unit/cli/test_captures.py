import pytest

from wfpd.capture import CapturedPacket
from wfpd.cli.captures import open_capture, warn_of_links
from wfpd.errors import ControlError


def test_a_capture_that_cannot_be_opened_is_no_bad_capture(tmp_path) -> None:
    with pytest.raises(ControlError, match="cannot open"):
        open_capture(str(tmp_path / "none.pcap"))


def test_one_warning_a_link_type_and_the_packets_unchanged(capsys) -> None:
    links = (105, 1, 105, 147)
    packets = [CapturedPacket(number, 0, b"", 0, False, None, link) for number, link in enumerate(links)]
    assert list(warn_of_links(iter(packets))) == packets
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[3] for line in said] == ["105", "147"]
