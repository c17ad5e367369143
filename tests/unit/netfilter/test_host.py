"""Interfaces and addresses out of rtnetlink messages, and this machine's own (read only)."""

from __future__ import annotations

import ipaddress
import itertools
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from wfpd.netfilter import host
from wfpd.netfilter.host import HostInfo, Interface, merge, parse_link, parse_route


def link(arphrd: int, index: int, name: bytes, flags: int = 0) -> bytes:
    value = name + b"\0"
    attribute = struct.pack("=HH", 4 + len(value), 3) + value
    return struct.pack("=BxHiII", 0, arphrd, index, flags, 0) + attribute


def route(family: int, kind: int, destination: str, length: int, table: int = 255) -> bytes:
    packed = ipaddress.ip_address(destination).packed
    head = struct.pack("=8BI", family, length, 0, 0, table, 0, 0, kind, 0)
    return head + struct.pack("=HH", 4 + len(packed), 1) + packed


def number(text: str) -> int:
    return int(ipaddress.ip_address(text))


def test_interface_types_are_ianas() -> None:
    assert parse_link(link(772, 1, b"lo", 8)) == Interface(1, "lo", 772, 24, True)
    assert parse_link(link(1, 2, b"eth0")) == Interface(2, "eth0", 1, 6, False)
    assert [parse_link(link(arphrd, 3, b"x")).iana_type for arphrd in (512, 65534, 768, 801, 4711)] == [
        23,
        131,
        131,
        71,
        1,
    ]


def test_routes_of_table_local_are_ranges_by_family_and_kind() -> None:
    v4, v6 = socket.AF_INET, socket.AF_INET6
    assert parse_route(route(v4, 2, "127.0.0.0", 8)) == (4, 2, (number("127.0.0.0"), number("127.255.255.255")))
    assert parse_route(route(v4, 3, "192.0.2.255", 32)) == (4, 3, (number("192.0.2.255"),) * 2)
    assert parse_route(route(v6, 5, "ff00::", 8)) == (6, 5, (number("ff00::"), (1 << 128) - 1))
    assert parse_route(route(v4, 2, "192.0.2.0", 24, table=254)) is None
    assert parse_route(route(7, 2, "192.0.2.0", 24)) is None


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6))))
def test_merged_ranges_are_sorted_disjoint_and_hold_the_same_numbers(pairs: list[tuple[int, int]]) -> None:
    ranges = [(low, low + width) for low, width in pairs]
    merged = merge(ranges)
    assert {n for low, high in merged for n in range(low, high + 1)} == {
        n for low, high in ranges for n in range(low, high + 1)
    }
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(merged))


def test_lookups_by_index_and_address() -> None:
    info = HostInfo((Interface(1, "lo", 772, 24, True),), local4=((5, 9),), local6=((1, 1),))
    assert info.interface(1) is not None
    assert info.interface(2) is None
    assert [info.is_local(4, address) for address in (4, 5, 9, 10)] == [False, True, True, False]
    assert info.is_local(6, 1)


def test_this_machine_has_loopback() -> None:
    info = host.read_host()
    assert info.interface(1) is not None
    assert [interface.name for interface in info.interfaces if interface.is_loopback] == ["lo"]
    assert list(info.interfaces) == sorted(info.interfaces, key=lambda interface: interface.index)


def test_a_watcher_without_changes_has_nothing_to_drain() -> None:
    watcher = host.HostWatcher()
    assert watcher.fileno() >= 0
    watcher.drain()
    watcher.close()
