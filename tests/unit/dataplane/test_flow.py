"""The flow table's own promises: a fixed capacity and counted evictions."""

from __future__ import annotations

import pathlib
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet

from tests.replaying import decide
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer
from wfpd.replay import make_snapshot

AUTHORIZE = """version: 1
daemon: {{flows: {{max: {maximum}, full: {full}}}}}
filters: [{{name: all, layer: ale_auth_recv_accept, action: permit}}]
"""


def test_a_table_holds_at_least_what_was_asked_for_and_starts_empty() -> None:
    flows = Flows(20000)
    assert flows.capacity >= 20000 and len(flows) == 0
    assert flows.evictions() == {"timeout": 0, "half_open": 0, "oldest": 0}


def test_a_table_for_no_flow_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Flows(0)


def test_half_open_flows_make_room_before_others_and_even_where_a_full_table_blocks() -> None:
    keep = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=1, dport=53)
    flood = [IP(src="192.0.2.9", dst="192.0.2.2") / TCP(sport=port, dport=80, flags="S") for port in range(1, 30)]
    results = decide(AUTHORIZE.format(maximum=2, full="block"), [keep, *flood, keep], hook="input",
                     times=[0.0] * 31)  # fmt: skip
    assert {result["verdict"] for result in results} == {"permit"}
    assert results[-1]["reason"] == "flow"


def test_a_closing_flow_is_forgotten_after_ten_seconds() -> None:
    packets = [IP(src="192.0.2.1", dst="192.0.2.2") / TCP(sport=4, dport=80, flags=flags) for flags in ("S", "R", "A")]
    near = decide(AUTHORIZE.format(maximum=9, full="permit"), packets, hook="input", times=[0, 1, 10])
    late = decide(AUTHORIZE.format(maximum=9, full="permit"), packets, hook="input", times=[0, 1, 12])
    assert near[2]["reason"] == "flow" and late[2]["reason"] == "filter"


def fill(flows: Flows, *, n: int, at: int = 0, kind: Packet | None = None) -> None:
    """`n` flows, of datagrams unless `kind` says otherwise, whose packets come at `at` nanoseconds."""
    kind = kind or UDP()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "policy.yaml"
        path.write_text(AUTHORIZE.format(maximum=9, full="permit"))
        replayer = Replayer(make_snapshot(load_policy(str(path), trust="warn")), flows)
    for port in range(1, n + 1):
        kind.sport, kind.dport = port, 53
        replayer.visit(bytes(IP(src="192.0.2.1", dst="192.0.2.2") / kind.copy()), "input", at)


LATE = 61 * 1_000_000_000


def test_a_sweep_ends_no_more_than_its_limit_and_goes_on_where_it_stopped() -> None:
    flows = Flows(100)
    fill(flows, n=30)
    assert flows.sweep(LATE - 1_000_000_000) == 0
    assert [flows.sweep(LATE, limit=12) for _ in range(4)] == [12, 12, 6, 0]
    assert len(flows) == 0 and len(flows.drain_ended(10)) == 10
    assert [end["client"][1] for end in flows.drain_ended()] == list(range(11, 31))


def test_a_sweep_waits_for_the_reader_and_loses_nothing() -> None:
    flows = Flows(100, ended=8)
    fill(flows, n=20)
    assert flows.sweep(LATE) == 8 and flows.sweep(LATE) == 0 and len(flows) == 12
    found = len(flows.drain_ended())
    while flows.sweep(LATE):
        found += len(flows.drain_ended())
    assert found == 20 and flows.ended_lost == 0


def test_ends_on_the_packet_path_never_wait_and_what_is_lost_is_counted() -> None:
    flows = Flows(4, ended=2)
    fill(flows, n=20)
    assert flows.evictions()["oldest"] == 16 and flows.ended_lost == 14
    assert [end["end"] for end in flows.drain_ended()] == ["oldest", "oldest"]


def test_evictions_are_counted_by_reason() -> None:
    flows = Flows(4)
    fill(flows, n=10, kind=TCP(flags="S"))
    assert flows.evictions() == {"timeout": 0, "half_open": 6, "oldest": 0}
    fill(flows, n=9)
    assert flows.evictions() == {"timeout": 0, "half_open": 10, "oldest": 5}
    flows.sweep(LATE)
    assert flows.evictions() == {"timeout": 4, "half_open": 10, "oldest": 5}


def test_without_a_reader_nothing_is_kept_and_nothing_is_lost() -> None:
    flows = Flows(4, ended=0)
    fill(flows, n=20)
    assert flows.sweep(LATE, all=True) == 4 and flows.drain_ended() == [] and flows.ended_lost == 0


def test_ids_are_unpredictable_unless_a_seed_is_given() -> None:
    def ids(**seed: int) -> list[int]:
        flows = Flows(9, **seed)
        fill(flows, n=5)
        flows.sweep(0, all=True)
        return [end["flow_id"] for end in flows.drain_ended()]

    assert ids() != ids() and ids(id_seed=7) == ids(id_seed=7)
    assert all(0 < one < 2**53 for one in ids()) and len(set(ids(id_seed=7))) == 5


def pages(flows: Flows, size: int, between: Callable[[], object] = lambda: None, **wish: Any) -> list[dict[str, Any]]:
    """Every page's flows."""
    found, cursor = [], 0
    while True:
        rows, following = flows.page(cursor, size, **wish)
        found += rows
        if following is None:
            return found
        assert following > cursor
        cursor = following
        between()


@pytest.mark.parametrize("maximum", [700, 20000])
@pytest.mark.parametrize("size", [1, 7, 256, 65536])
def test_pages_have_every_flow_once(maximum: int, size: int) -> None:
    flows = Flows(maximum)
    assert flows.page(0, size) == ([], None)
    fill(flows, n=600, at=5)
    rows = pages(flows, size)
    assert sorted(row["remote"][1] for row in rows) == list(range(1, 601))
    assert len({row["flow_id"] for row in rows}) == 600
    one = next(row for row in rows if row["remote"][1] == 9)
    assert one == one | {
        "family": 4, "protocol": 17, "remote": (bytes([192, 0, 2, 1]), 9), "local": (bytes([192, 0, 2, 2]), 53),
        "outbound": False, "state": "other", "first_ns": 5, "last_ns": 5, "packets": (1, 0), "place": 0,
    }  # fmt: skip


def test_pages_are_of_the_address_the_port_and_the_protocol_that_are_asked_for() -> None:
    flows = Flows(700)
    fill(flows, n=300, at=5)
    assert [row["remote"][1] for row in pages(flows, 10, port=7)] == [7]
    assert len(pages(flows, 10, port=53, protocol=17)) == 300
    assert not pages(flows, 10, protocol=6)
    assert len(pages(flows, 10, address=bytes([192, 0, 2, 1]))) == 300
    assert not pages(flows, 10, address=bytes([192, 0, 2, 3]))
    assert not pages(flows, 10, address=bytes(16))


def test_flows_that_ended_are_in_no_page_and_their_slots_are_used_again() -> None:
    flows = Flows(700)
    fill(flows, n=300)
    flows.sweep(LATE, limit=100)
    assert len(pages(flows, 50)) == len(flows) == 200
    fill(flows, n=300, at=LATE)
    assert sorted(row["remote"][1] for row in pages(flows, 50)) == list(range(1, 301))


def test_what_stays_is_told_once_though_others_come_and_go_between_pages() -> None:
    flows = Flows(20000)
    fill(flows, n=300)
    fill(flows, n=500, at=LATE // 2)
    stays = {row["flow_id"] for row in pages(flows, 999) if row["last_ns"]}
    told = [row["flow_id"] for row in pages(flows, 20, lambda: flows.sweep(LATE, limit=3))]
    assert stays <= set(told) and len(told) == len(set(told))


def test_a_page_is_read_while_others_store() -> None:
    flows, stop = Flows(20000), threading.Event()

    def store() -> None:
        for at in range(30):
            fill(flows, n=200, at=at)
        stop.set()

    thread = threading.Thread(target=store, daemon=True)
    thread.start()
    while not stop.wait(0.001):
        assert len(pages(flows, 64)) <= 200
    thread.join(10)
    assert len(pages(flows, 64)) == 200


@pytest.mark.parametrize("cursor", [2**63, 2**32 - 1, 2**64 - 1])
def test_a_place_where_no_flow_is_ends_the_listing(cursor: int) -> None:
    assert Flows(9).page(cursor, 5) == ([], None)
