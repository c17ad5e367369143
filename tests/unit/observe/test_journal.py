import socket

from wfpd.observe.journal import Journal, encode


def test_a_value_with_a_line_break_is_length_prefixed() -> None:
    assert encode([("A", "x"), ("B", "y\nz")]) == b"A=x\nB\n\x03\0\0\0\0\0\0\0y\nz\n"


def test_an_entry_is_one_datagram(tmp_path) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(path)
        journal = Journal(path)
        assert journal.send([("MESSAGE", "hi")])
        assert journald.recv(99) == b"MESSAGE=hi\n"
        journal.close()


def test_without_journald_the_entry_is_refused(tmp_path) -> None:
    assert not Journal(str(tmp_path / "none")).send([("MESSAGE", "hi")])
