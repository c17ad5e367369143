"""Our rules in a real kernel: what is queued, passed, answered, replaced and left behind."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import netfilterqueue
import pytest

from tests.integration import netns
from tests.integration.netns import Namespace, Network
from tests.proven import OTHER_USER, need_other_user
from wfpd.model.policy import Attachment, Faults, Reply, Word
from wfpd.netfilter import conflicts, rules
from wfpd.netfilter.conflicts import Kind
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.nftables import Nftables, table_text
from wfpd.netfilter.rules import Commands, RuleSet

MARKS = Marks()
BLOCKING = Faults(on_absent=Word.BLOCK)
pytestmark = pytest.mark.root
Decide = Callable[[netfilterqueue.Packet], None]


class Consumer:
    """Decides every packet of one queue by a callback, in a thread inside a namespace."""

    def __init__(self, space: Namespace, queue: int, decide: Decide) -> None:
        self.count = 0
        self._decide = decide
        self._stop = threading.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=space.call, args=(self._work, queue, ready), daemon=True)
        self._thread.start()
        assert ready.wait(3)

    def _work(self, queue: int, ready: threading.Event) -> None:
        bound = netfilterqueue.NetfilterQueue()
        bound.bind(queue, self._one, max_len=8192)
        try:
            with socket.socket(fileno=bound.get_fd()) as sock:
                sock.settimeout(0.1)
                ready.set()
                while not self._stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        bound.run_socket(sock)
                sock.detach()
        finally:
            bound.unbind()

    def _one(self, packet: netfilterqueue.Packet) -> None:
        self.count += 1
        self._decide(packet)

    def stop(self) -> None:
        """Unbind."""
        self._stop.set()
        self._thread.join(3)


def accept(packet: netfilterqueue.Packet) -> None:
    """The simplest decision."""
    packet.accept()


def reply(kind: Reply) -> Decide:
    """A block with a reply: accepted, with the reply mark."""

    def decide(packet: netfilterqueue.Packet) -> None:
        packet.set_mark(MARKS.merge(packet.get_mark(), MARKS.reply(kind)))
        packet.accept()

    return decide


@contextlib.contextmanager
def consumer(space: Namespace, queue: int = 0, decide: Decide = accept) -> Iterator[Consumer]:
    """A Consumer for the block's time."""
    made = Consumer(space, queue, decide)
    try:
        yield made
    finally:
        made.stop()


def planned(*attachments: Attachment, faults: Faults = BLOCKING, workers: int = 1) -> RuleSet:
    """The rules for some attachments."""
    return rules.plan(attachments, faults, MARKS, [one.queues or (0, workers - 1) for one in attachments])


def in_namespace(space: Namespace) -> Commands:
    """The runner for a namespace."""
    return Commands(netns=space.path)


@pytest.mark.parametrize("family", [4, 6])
def test_forwarded_packets_are_queued_once_and_counted(net: Network, family: int) -> None:
    commands = in_namespace(net.router)
    assert rules.install(planned(Attachment("forward", ("c0", "s*"))), commands)
    with consumer(net.router) as queue, net.udp_receiver(net.server, 9000, family) as receiver:
        net.send_udp(net.client, 50, 64, 9000, to=netns.SERVER[family])
        assert receiver.wait_for(50)
        assert netns.wait_until(lambda: queue.count == rules.counters(commands)["forward"])
        assert queue.count >= 50
        assert queue.count < 60  # neighbour discovery and the like, but no second visit


def test_input_and_output_are_counted_apart(net: Network) -> None:
    commands = in_namespace(net.server)
    ruleset = planned(
        Attachment("input", queues=(0, 0), families=(4,)), Attachment("output", queues=(1, 1), families=(4,))
    )
    rules.install(ruleset, commands)
    with consumer(net.server, 0) as arriving, consumer(net.server, 1) as leaving:
        assert net.ping(net.client, n=3) == 3
        assert (arriving.count, leaving.count) == (3, 3)
    assert rules.counters(commands) == {"input": 3, "output": 3}


def test_prerouting_and_postrouting_are_queued_where_asked_for(net: Network) -> None:
    commands = in_namespace(net.router)
    rules.install(
        planned(Attachment("prerouting", ("c0",), families=(4,)), Attachment("postrouting", ("s0",), families=(4,))),
        commands,
    )
    with consumer(net.router) as queue, net.udp_receiver(net.server, 9000) as receiver:
        net.send_udp(net.client, 5, 64, 9000)
        assert receiver.wait_for(5)
        assert queue.count == 10


def test_without_a_listener_packets_pass_where_absence_permits(net: Network) -> None:
    rules.install(planned(Attachment("forward", ("c0", "s0")), faults=Faults()), in_namespace(net.router))
    with net.udp_receiver(net.server, 9000) as receiver:
        net.send_udp(net.client, 10, 64, 9000)
        assert receiver.wait_for(10)
    assert rules.counters(in_namespace(net.router)) == {"forward": 10}


def test_without_a_listener_packets_stay_out_where_absence_blocks(net: Network) -> None:
    rules.install(planned(Attachment("forward")), in_namespace(net.router))
    with net.udp_receiver(net.server, 9000) as receiver:
        net.send_udp(net.client, 10, 64, 9000)
        assert not receiver.wait_for(1, timeout=0.3)
    assert rules.counters(in_namespace(net.router)) == {"forward": 10}


@pytest.mark.parametrize("hook", ["forward", "input", "output", "prerouting"])
@pytest.mark.parametrize("family", [4, 6])
def test_a_reset_reply_refuses_the_connection(net: Network, hook: str, family: int) -> None:
    space = {"forward": net.router, "prerouting": net.router, "input": net.server, "output": net.client}[hook]
    rules.install(planned(Attachment(hook)), in_namespace(space))
    with (
        net.tcp_echo(net.server, 7000, family),
        consumer(space, 0, _only_tcp_and_udp(Reply.TCP_RESET, family)),
        pytest.raises(ConnectionRefusedError),
    ):
        net.tcp_connect(net.client, 7000, to=netns.SERVER[family])


@pytest.mark.parametrize("hook", ["forward", "input", "output"])
@pytest.mark.parametrize("family", [4, 6])
def test_an_unreachable_reply_reaches_the_sending_socket(net: Network, hook: str, family: int) -> None:
    space = {"forward": net.router, "input": net.server, "output": net.client}[hook]
    rules.install(planned(Attachment(hook)), in_namespace(space))
    with (
        consumer(space, 0, _only_tcp_and_udp(Reply.ICMP_UNREACHABLE, family)),
        net.client.socket(netns.family_of(netns.SERVER[family])) as sock,
    ):
        sock.connect((netns.SERVER[family], 9000))
        # An error made while the packet is sent is send()'s, a later one recv()'s.
        with contextlib.suppress(ConnectionRefusedError):
            sock.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(10)


@pytest.mark.parametrize("hook", ["input", "forward"])
def test_a_block_with_reply_at_prerouting_stands_though_a_later_hook_would_permit(net: Network, hook: str) -> None:
    space = {"input": net.server, "forward": net.router}[hook]
    ruleset = planned(Attachment("prerouting", queues=(0, 0)), Attachment(hook, queues=(1, 1)))
    rules.install(ruleset, in_namespace(space))
    with (
        net.tcp_echo(net.server, 7000),
        consumer(space, 0, _only_tcp_and_udp(Reply.TCP_RESET, 4)),
        consumer(space, 1) as later,
        pytest.raises(ConnectionRefusedError),
    ):
        net.tcp_connect(net.client, 7000)
    assert later.count == 0


def test_net_admin_alone_is_enough_for_every_rule(net: Network) -> None:
    program = """
from wfpd.model.policy import Attachment, Faults
from wfpd.netfilter import rules
from wfpd.netfilter.marks import Marks
hooks = ("prerouting", "input", "forward", "output", "postrouting")
attachments = [Attachment(hook, balance="flows") for hook in hooks]
ruleset = rules.plan(attachments, Faults(), Marks(), [(0, 1)] * len(attachments))
assert rules.install(ruleset, rules.Commands())
statuses, counters = rules.look(ruleset, rules.Commands())
assert all(status.in_place for status in statuses) and len(statuses) == 10
assert set(counters) == set(hooks)
assert rules.purge(rules.Commands())
"""
    need_other_user()
    argv = [*OTHER_USER, "--no-new-privs"]
    argv += [f"--{kind}=-all,+net_admin" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    net.router.run([*argv, sys.executable, "-c", program])


def test_a_drop_mark_and_a_reset_mark_on_udp_are_silent_drops(net: Network) -> None:
    rules.install(planned(Attachment("forward")), in_namespace(net.router))
    for kind in (Reply.NONE, Reply.TCP_RESET):
        with consumer(net.router, 0, reply(kind)), net.udp_receiver(net.server, 9000) as receiver:
            with net.client.socket() as sock:
                sock.connect((netns.SERVER4, 9000))
                sock.send(b"x")
                sock.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    sock.recv(10)
            assert receiver.count == 0


def test_foreign_values_in_our_bits_neither_reach_wfpd_nor_the_act_rules(net: Network) -> None:
    net.router.run(["iptables-nft", "-t", "mangle", "-A", "FORWARD", "-j", "MARK", "--set-mark", "0x20000007"])
    rules.install(planned(Attachment("forward", families=(4,))), in_namespace(net.router))
    marks: list[int] = []

    def note(packet: netfilterqueue.Packet) -> None:
        marks.append(packet.get_mark())
        packet.accept()

    with consumer(net.router, 0, note), net.udp_receiver(net.server, 9000) as receiver:
        net.send_udp(net.client, 3, 64, 9000)
        assert receiver.wait_for(3)
    assert marks == [7, 7, 7]


def test_purge_leaves_nothing_and_foreign_rules_alone(net: Network) -> None:
    commands = in_namespace(net.router)
    net.router.run(["iptables-nft", "-A", "FORWARD", "-p", "udp", "--dport", "1", "-j", "DROP"])
    before = _rules(net.router)
    every = [Attachment(hook, balance="flows") for hook in ("prerouting", "input", "forward", "output", "postrouting")]
    assert rules.install(planned(*every, workers=3), commands)
    assert "WFPD_" in net.router.rules()
    assert rules.purge(commands)
    assert "WFPD_" not in net.router.rules()
    assert "wfpd" not in net.router.rules()
    assert _rules(net.router) == before
    assert not rules.purge(commands)


def test_a_clean_stop_removes_rules_only_where_absence_permits(net: Network) -> None:
    commands = in_namespace(net.router)
    blocking, permitting = planned(Attachment("forward")), planned(Attachment("forward"), faults=Faults())
    rules.install(blocking, commands)
    assert not rules.remove(blocking, commands)
    assert all(status.in_place for status in rules.present(blocking, commands))
    rules.install(permitting, commands)
    assert rules.remove(permitting, commands)
    assert not any(status.installed for status in rules.present(permitting, commands))


def test_equal_rules_are_adopted_with_their_counters(net: Network) -> None:
    commands = in_namespace(net.router)
    ruleset = planned(Attachment("forward"), faults=Faults())
    assert rules.install(ruleset, commands)
    net.send_udp(net.client, 7, 64, 9000)
    assert not rules.install(ruleset, commands)
    assert rules.counters(commands)["forward"] >= 7


def test_replacing_loses_and_passes_no_packet_under_a_sender(net: Network) -> None:
    commands = in_namespace(net.router)
    first = planned(Attachment("forward", queues=(0, 0)))
    second = planned(Attachment("forward", queues=(1, 1), balance="flows"))
    n = 3000
    with (
        consumer(net.router, 0) as old,
        consumer(net.router, 1) as new,
        net.udp_receiver(net.server, 9000) as receiver,
    ):
        rules.install(first, commands)
        sender = threading.Thread(target=net.send_udp, args=(net.client, n, 64, 9000), kwargs={"pause": 0.0003})
        sender.start()
        for _ in range(5):
            rules.install(second, commands)
            rules.install(first, commands)
        sender.join()
        assert receiver.wait_for(n)
        assert netns.wait_until(lambda: old.count + new.count >= n)
        assert old.count
        assert new.count
        # Every packet was inspected exactly once (a handful of neighbour discovery besides).
        assert n <= old.count + new.count <= n + 20


def test_status_says_what_stands_in_the_way(net: Network) -> None:
    commands = in_namespace(net.router)
    ruleset = planned(Attachment("forward", families=(4,)))
    (missing,) = rules.present(ruleset, commands)
    assert not missing.installed
    rules.install(ruleset, commands)
    (good,) = rules.present(ruleset, commands)
    assert good.in_place
    assert good.last
    net.router.run(["iptables-nft", "-t", "mangle", "-A", "FORWARD", "-j", "MARK", "--set-mark", "1"])
    net.router.run(["iptables-nft", "-t", "mangle", "-I", "FORWARD", "1", "-p", "tcp", "-j", "ACCEPT"])
    net.router.run(["iptables-nft", "-I", "FORWARD", "1", "-j", "ACCEPT"])
    (bad,) = rules.present(ruleset, commands)
    assert not bad.last
    assert bad.shadowed_by == "-A FORWARD -p tcp -j ACCEPT"
    assert bad.acts_shadowed_by == "-A FORWARD -j ACCEPT"
    rules.install(ruleset, commands)
    (again,) = rules.present(ruleset, commands)
    assert again.last
    assert not again.acts_shadowed_by


@pytest.mark.parametrize("defragment", [True, False])
def test_forward_sees_whole_packets_only_while_defragmenting(net: Network, defragment: bool) -> None:
    rules.install(planned(Attachment("forward", ("c0",), (4,), defragment=defragment)), in_namespace(net.router))
    lengths: list[int] = []

    def note(packet: netfilterqueue.Packet) -> None:
        lengths.append(packet.get_payload_len())
        packet.accept()

    with consumer(net.router, 0, note):
        assert net.ping(net.client, size=3000) == 1
    assert (max(lengths) > 3000) is defragment
    assert (len(lengths) == 2) is defragment


@pytest.mark.parametrize("family", [4, 6])
def test_balance_by_flows_spreads_ports_and_keeps_a_flow_on_one_queue(net: Network, family: int) -> None:
    rules.install(planned(Attachment("forward", balance="flows"), workers=2), in_namespace(net.router))
    ports: list[set[bytes]] = [set(), set()]
    offset = 40 if family == 6 else 20

    def note(queue: int) -> Decide:
        def decide(packet: netfilterqueue.Packet) -> None:
            data = packet.get_payload()
            if data[6 if family == 6 else 9] == socket.IPPROTO_TCP:
                source, destination = data[offset : offset + 2], data[offset + 2 : offset + 4]
                ports[queue].add(max(source, destination))
            packet.accept()

        return decide

    with consumer(net.router, 0, note(0)), consumer(net.router, 1, note(1)), net.tcp_echo(net.server, 700, family):
        for _ in range(24):
            assert net.tcp_round_trip(net.client, 700, to=netns.SERVER[family]) == b"ping"
    assert len(ports[0]) + len(ports[1]) == 24
    assert min(len(ports[0]), len(ports[1])) >= 4
    assert not ports[0] & ports[1]


def test_the_kernel_takes_the_nft_table_apart_from_the_queue_statement(net: Network) -> None:
    # Not every kernel has nft's queue statement; all other statements of the table are tried here.
    every = [Attachment(hook, ("eth0", "w*")) for hook in ("prerouting", "input", "forward", "output", "postrouting")]
    ruleset = planned(*every, Attachment("input", families=(6,)), workers=2)
    text = re.sub(r" queue (flags bypass )?to \S+( mod \d+ offset \d+)?", "", table_text(ruleset))
    assert "queue" not in text
    net.router.run(["nft", "-f", "-"], stdin=text)
    backend = Nftables(in_namespace(net.router))
    assert all(status.in_place for status in backend.present(ruleset))
    assert not backend.install(ruleset)
    assert backend.purge()
    assert "wfpd" not in net.router.run(["nft", "list", "ruleset"]).stdout


def test_rules_of_others_that_meet_ours_are_found(net: Network) -> None:
    router = net.router
    router.run(["iptables-nft", "-t", "mangle", "-A", "FORWARD", "-j", "MARK", "--set-xmark", "0x100000/0x100000"])
    router.run(["iptables-nft", "-N", "DOCKER-USER"])
    router.run(["iptables-nft", "-A", "FORWARD", "-j", "NFQUEUE", "--queue-num", "3"])
    router.run(
        ["nft", "-f", "-"], stdin="table inet fw {\nchain f {\nmeta mark and 0xf0000000 == 0x10000000 accept\n}\n}\n"
    )
    net.ip("-n", router.name, "rule", "add", "fwmark", "0x200000/0xff00000", "lookup", "52")
    rules.install(planned(Attachment("forward")), in_namespace(router))
    found = conflicts.others(MARKS.mask, in_namespace(router))
    kinds = [finding.kind for finding in found]
    assert kinds == [Kind.MARK, Kind.MARK, Kind.ROUTE, Kind.QUEUE, Kind.NEIGHBOUR]
    assert not any("WFPD" in finding.text for finding in found)


def _only_tcp_and_udp(kind: Reply, family: int) -> Decide:
    """Reply to TCP and UDP, accept the rest (ICMP errors, neighbour discovery)."""

    def decide(packet: netfilterqueue.Packet) -> None:
        if packet.get_payload()[6 if family == 6 else 9] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            reply(kind)(packet)
        else:
            packet.accept()

    return decide


def _rules(space: Namespace) -> list[str]:
    return [line for line in space.rules().splitlines() if line.startswith("-A")]
