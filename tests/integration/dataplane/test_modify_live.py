"""Modified packets on the wire: what a callout writes arrives, with checksums that the receiver's kernel accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import live, snapshot_of
from tests.integration.netns import SERVER, Network
from wfpd.dataplane._engine import Engine

QUEUE = 3


def rule(net: Network, family: int) -> None:
    tool = "iptables" if family == 4 else "ip6tables"
    net.router.run([tool, "-t", "mangle", "-A", "FORWARD", "-j", "NFQUEUE", "--queue-num", str(QUEUE)])


def engine_for(tmp_path: Path, watch: Any, family: int, protocol: str, **more: Any) -> Any:
    when = f"{{ip_protocol: {protocol}}}"
    filters = f"  - {{name: asked, layer: ipforward_v{family}, action: {{callout: watch}}, when: {when}}}"
    return live(Engine(1, late_after=30), snapshot_of(tmp_path, filters, callouts={"watch": watch}, **more))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("audit", [False, True])
def test_datagrams_arrive_in_order_with_what_the_callout_wrote(
    net: Network, tmp_path: Path, family: int, audit: bool
) -> None:
    head = 28 if family == 4 else 48

    def watch(c: Any) -> None:
        if c.packet[head + 3] % 2:  # The sender's number.
            c.modify(bytes(c.packet) + b"longer")
        c.permit()

    with (
        engine_for(tmp_path, watch, family, "udp", audit=audit) as running,
        net.udp_receiver(net.server, 5000, family) as receiver,
    ):
        running.add(net.router, QUEUE)
        rule(net, family)
        running.start()
        net.send_udp(net.client, 20, 64, 5000, to=SERVER[family])
        assert receiver.wait_for(20)
    assert [data[3] for data in receiver.payloads] == list(range(20))
    assert [data.endswith(b"longer") for data in receiver.payloads] == [not audit and i % 2 == 1 for i in range(20)]
    assert running.engine.counters()["queues"][QUEUE]["modified"] == (0 if audit else 10)


@pytest.mark.parametrize("family", [4, 6])
def test_every_segment_of_a_stream_with_gso_packets_may_be_rewritten(net: Network, tmp_path: Path, family: int) -> None:
    sizes: list[int] = []

    def watch(c: Any) -> None:
        data = bytes(c.packet)
        sizes.append(len(data))
        c.modify(data[: 40 + (family == 6) * 20] + data[40 + (family == 6) * 20 :].replace(b"a", b"b"))
        c.permit()

    with engine_for(tmp_path, watch, family, "tcp") as running:
        running.add(net.router, QUEUE)
        rule(net, family)
        running.start()
        with net.tcp_echo(net.server, 7000, family):
            sent = b"a" * 400_000
            assert net.tcp_round_trip(net.client, 7000, sent, to=SERVER[family]) == b"b" * 400_000
    assert max(sizes) > 1500
    assert running.engine.counters()["queues"][QUEUE]["modified"] == len(sizes)
