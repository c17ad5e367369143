"""The kernel's accounts, as it prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfpd.errors import KernelError
from wfpd.netfilter import proc

QUEUES = """\
    0   4242     3 2 65531     7     2      120  1
    9 3198471551     0 1 65531     0     0        5  1
"""

NETLINK = """\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
000000009a210e2e 0   0          00000000 0        0        0     2        0        4
0000000020abdc22 12  4242       00000000 2304     0        0     2        17       561
0000000020abdc33 12  3198471551 00000000 0        0        0     2        0        562
0000000020abdc44 0   4242       00000000 0        0        0     2        99       563
"""


def test_queue_lines_are_read_by_queue() -> None:
    found = proc.parse_queues(QUEUES)
    assert list(found) == [0, 9]
    assert found[0] == proc.QueueStatus(0, 4242, 3, "packet", 65531, 7, 2, 120)
    assert (found[9].copy_mode, found[9].portid) == ("meta", 3198471551)


def test_socket_drops_are_those_of_netfilter_sockets_only() -> None:
    assert proc.parse_netlink_drops(NETLINK) == {4242: 17, 3198471551: 0}
    assert proc.parse_netlink_drops("") == {}


def test_no_queues_is_an_empty_answer_and_a_short_line_is_passed_over() -> None:
    assert proc.parse_queues("") == {}
    assert proc.parse_queues("1 2 3\n") == {}


def test_a_kernel_without_the_file_is_a_kernel_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proc, "NET", tmp_path)
    with pytest.raises(KernelError, match="nfnetlink_queue"):
        proc.queues()
