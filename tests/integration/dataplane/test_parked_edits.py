"""Packets that were modified before they were parked: told apart by what came, and sent on as callouts left them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.dataplane.test_parking import PARKING, QUEUE, open_queues, parking
from tests.integration.dataplane.test_resumed import FILTERS, Said, three
from tests.integration.live import Live, live, snapshot_of
from tests.integration.netns import SERVER, Network, wait_until
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._parking import ParkedPacket


class Edits:
    """Gives datagrams another end, and a fourth one none."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, c: Any) -> None:
        self.n += 1
        if self.n % 4:
            c.modify(bytes(c.packet) + b"longer"[: self.n % 4])


class Parks:
    """Parks all that comes."""

    def __init__(self) -> None:
        self.handles: list[ParkedPacket] = []
        self.packets: list[bytes] = []

    def __call__(self, c: Any) -> None:
        self.packets.append(bytes(c.packet))
        self.handles.append(c.pend())


def serve(net: Network, running: Live) -> None:
    """Both families, forwarded."""
    open_queues(net, running)
    net.router.run(["ip6tables", "-t", "mangle", "-A", "FORWARD", "-p", "udp", "-j", "NFQUEUE", "--queue-num", "3"])
    running.start()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("audit", [False, True])
def test_what_was_modified_before_it_was_parked_arrives_so(
    net: Network, tmp_path: Path, family: int, audit: bool
) -> None:
    edits, parks = Edits(), Parks()
    below = Said(lambda c: c.write(c.payload_offset + 4, b"B") or c.permit())
    with (
        live(Engine(1, late_after=30), three(tmp_path, edits, parks, below, audit=audit)) as running,
        net.udp_receiver(net.server, 5000, family) as receiver,
    ):
        serve(net, running)
        net.send_udp(net.client, 8, 64, 5000, to=SERVER[family])
        assert wait_until(lambda: parking(running)["waiting"] == 8)
        sizes = [len(one) for one in parks.packets]
        assert [size - min(sizes) for size in sizes] == [1, 2, 3, 0] * 2
        assert parking(running)["bytes"] == 8 * min(sizes) + 2 * sum(size for size in sizes[:3])
        assert all(handle.complete("permit") for handle in reversed(parks.handles))
        assert receiver.wait_for(8) and wait_until(lambda: parking(running)["bytes"] == 0)
        counters = running.engine.counters()
    at, tails = 48 if family == 6 else 28, []
    for one in receiver.payloads:
        (sent,) = [each[at:] for each in parks.packets if each[at : at + 4] == one[:4]]
        assert one == (one[:4] + b"B" + sent[5:] if not audit else sent[: len(one)])
        tails.append(len(one) - min(len(each) - at for each in parks.packets))
    assert sorted(tails) == ([0] * 8 if audit else [0, 0, 1, 1, 2, 2, 3, 3])
    assert (edits.n, counters["queues"][PARKING]["strays"], counters["callout_errors"]) == (8, 0, {})
    assert counters["queues"][PARKING]["modified"] == (0 if audit else 8)


def test_a_late_one_goes_as_it_came(net: Network, tmp_path: Path) -> None:
    parks = Parks()
    policy = three(tmp_path, Edits(), parks, Said(), faults="{on_late: permit}")
    with live(Engine(1, late_after=0.2), policy) as running, net.udp_receiver(net.server, 5000) as receiver:
        serve(net, running)
        net.send_udp(net.client, 3, 64, 5000)
        assert receiver.wait_for(3)
        assert not parks.handles[0].complete("permit")
    assert len({len(one) for one in receiver.payloads}) == 1
    assert len({len(one) for one in parks.packets}) == 3


@pytest.mark.parametrize("keeps", [True, False])
def test_a_reload_keeps_what_callouts_that_are_still_there_have_made(net: Network, tmp_path: Path, keeps: bool) -> None:
    edits, parks = Edits(), Parks()
    with (
        live(Engine(1, late_after=30), three(tmp_path, edits, parks, Said())) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        serve(net, running)
        net.send_udp(net.client, 3, 64, 5000)
        assert wait_until(lambda: parking(running)["waiting"] == 3)
        more = "  - {name: new, layer: ipforward, action: permit, when: {ip_protocol: 99}, weight: 7}\n"
        filters = more + (FILTERS if keeps else "\n".join(FILTERS.splitlines()[1:]))
        callouts = {"before": edits, "watch": parks, "below": Said()}
        new = snapshot_of(tmp_path, filters, callouts=callouts, generation=2, previous=running.engine.snapshot)
        assert running.engine.swap(new)
        assert all(handle.complete("permit") for handle in parks.handles)
        assert receiver.wait_for(3)
    assert len({len(one) for one in receiver.payloads}) == (3 if keeps else 1)
    assert (edits.n, len(parks.handles)) == (3, 3)


def test_what_callouts_have_made_counts_in_the_bytes_that_may_wait(net: Network, tmp_path: Path) -> None:
    parks = Parks()
    with live(Engine(1, late_after=30), three(tmp_path, Edits(), parks, Said(), faults="{on_error: block}")) as running:
        running.add(net.router, QUEUE)
        running.add_parking(net.router, PARKING, 64, memory=400)
        net.router.run(["iptables", "-t", "mangle", "-A", "FORWARD", "-j", "NFQUEUE", "--queue-num", str(QUEUE)])
        running.start()
        net.send_udp(net.client, 4, 64, 5000)  # 92 bytes, and 93 to 95 of all but the last.
        assert wait_until(lambda: parking(running)["refused"] == 2)
        assert (parking(running)["waiting"], parking(running)["bytes"]) == (2, 2 * 92 + 93 + 94)
        assert parks.handles[0].complete("permit")
        assert wait_until(lambda: parking(running)["bytes"] == 92 + 94)


def test_what_is_made_meanwhile_counts_when_it_is_parked_again(net: Network, tmp_path: Path) -> None:
    first, second = Parks(), Parks()
    with live(Engine(1, late_after=30), three(tmp_path, Said(), first, second, faults="{on_error: block}")) as running:
        running.add(net.router, QUEUE)
        running.add_parking(net.router, PARKING, 64, memory=300)
        net.router.run(["iptables", "-t", "mangle", "-A", "FORWARD", "-j", "NFQUEUE", "--queue-num", str(QUEUE)])
        running.start()
        net.send_udp(net.client, 2, 64, 5000)
        assert wait_until(lambda: parking(running)["waiting"] == 2)
        assert first.handles[0].complete("permit", packet=first.packets[0][:-10])
        assert wait_until(lambda: parking(running)["again"] == 1)
        assert parking(running)["bytes"] == 92 + 92 + 82
        assert first.handles[1].complete("permit", packet=first.packets[1])  # There is no room for it.
        assert wait_until(lambda: parking(running)["refused"] == 1 and parking(running)["bytes"] == 92 + 82)
        assert second.handles[0].complete("permit")
        assert wait_until(lambda: parking(running)["bytes"] == 0)
        assert running.engine.counters()["callout_errors"] == {"below": 1}
