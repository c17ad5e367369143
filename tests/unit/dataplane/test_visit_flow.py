"""Flows of visits: reauthorization, directions, groups, timeouts, and what is kept of an authorization."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from tests.replaying import decide
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Host, Replayer, Snapshot
from wfpd.model.layers import slot_name
from wfpd.model.policy import Word
from wfpd.replay import make_snapshot

HERE, THERE, OTHER = "192.0.2.1", "198.51.100.2", "198.51.100.3"
SECOND = 1_000_000_000


class Path:
    """One flow table under policies that follow one another."""

    def __init__(self, folder: pathlib.Path, *, host: Host | None = None, live: bool = True, **flows: Any) -> None:
        self.flows = Flows(64, **flows)
        self.now = 1.0
        self._file = folder / "policy.yaml"
        self._host = host
        self._live = live
        self._generation = 0
        self.snapshot: Snapshot | None = None

    def policy(self, *filters: str, names: list[str] | None = None) -> Path:
        """Publish a policy; each filter is a flow mapping's inside without a name (f1, f2 ... by default)."""
        self._generation += 1
        names = names or [f"f{n}" for n in range(1, len(filters) + 1)]
        lines = [f"  - {{name: {name}, {text}}}" for name, text in zip(names, filters, strict=True)]
        self._file.write_text("\n".join(["version: 1", "filters:", *lines]) + "\n")
        words = dict.fromkeys(("on_error", "on_malformed", "on_late", "flows_full"), Word.PERMIT)
        self.snapshot = Snapshot(pack(load_policy(str(self._file), trust="warn")), [], generation=self._generation,
                                 previous=self.snapshot, **words)  # fmt: skip
        self._replayer = Replayer(self.snapshot, self.flows, self._host, live=self._live)
        return self

    def send(self, packet: Packet, hook: str | None = None, **given: Any) -> dict[str, Any]:
        """Visit with a packet; its hook follows from the local address."""
        near = packet.src in (HERE, "2001:db8::1")
        visit = self._replayer.visit(
            bytes(packet), hook or ("output" if near else "input"), int(self.now * 1e9), **given
        )
        visit["layers"] = [slot_name(row[0]) for row in visit["rows"]]
        visit["name"] = None if visit["filter"] is None else self.snapshot.filter_name(visit["filter"])  # type: ignore[union-attr]
        return visit


@pytest.fixture
def path(tmp_path: pathlib.Path) -> Path:
    return Path(tmp_path)


def udp(source: str = THERE, target: str = HERE, sport: int = 9, dport: int = 53) -> Packet:
    return IP(src=source, dst=target) / UDP(sport=sport, dport=dport)


def answer(packet: Packet) -> Packet:
    layer = packet.payload
    return IP(src=packet.dst, dst=packet.src) / type(layer)(sport=layer.dport, dport=layer.sport)


ACCEPT, CONNECT = "layer: ale_auth_recv_accept", "layer: ale_auth_connect"


# ------------------------------------------------------------------------------ reauthorization


def test_an_inbound_flow_is_reauthorized_at_recv_accept_by_an_outbound_packet(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit").send(udp())
    path.policy(f"{ACCEPT}, action: permit, when: {{ip_remote_port: 9}}", f"{CONNECT}, action: permit")
    result = path.send(answer(udp()))
    assert (result["layers"], result["verdict"]) == (["ale_auth_recv_accept_v4"], "permit")
    assert not result["to_server"]
    assert path.send(udp())["reason"] == "flow"


def test_an_outbound_flow_is_reauthorized_at_connect_by_an_inbound_packet(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit").send(udp(HERE, THERE))
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: block, when: {{ip_remote_port: 53}}")
    result = path.send(answer(udp(HERE, THERE)))
    assert (result["layers"], result["verdict"], result["name"]) == (["ale_auth_connect_v4"], "block", "f2")


def test_reauthorization_is_told_by_flag_and_reason_and_arrival_is_empty_on_an_outbound_packet(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit").send(udp())
    path.policy(
        f"{ACCEPT}, action: block, when: {{flags: {{flags_all_set: [is_reauthorize]}}, reauthorize_reason: 1, "
        "ip_arrival_interface: {equal: empty}}"
    )
    assert path.send(answer(udp()), out_interface=2)["verdict"] == "block"


def test_a_failed_reauthorization_tears_the_flow_down_and_the_next_packet_is_a_first_one(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit").send(udp())
    path.policy(f"{ACCEPT}, action: block, when: {{flags: {{flags_all_set: [is_reauthorize]}}}}")
    first, second = path.send(udp()), path.send(udp())
    assert (first["verdict"], first["reason"]) == ("block", "filter")
    assert (second["verdict"], second["layers"]) == ("permit", ["ale_auth_recv_accept_v4"])
    assert second["flow_id"] != first["flow_id"] != 0
    assert [(flow["flow_id"], flow["end"]) for flow in path.flows.drain_ended()] == [
        (first["flow_id"], "reauthorization")
    ]


def test_a_change_at_another_layer_reauthorizes_nothing_and_the_flow_s_filter_keeps_its_name(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit", names=["permit"]).send(udp())
    path.policy("layer: inbound_ippacket, action: block, when: {ip_remote_address: 203.0.113.1}",
                f"{ACCEPT}, action: permit", names=["first", "permit"])  # fmt: skip
    result = path.send(udp())
    assert (result["reason"], result["name"], result["layers"]) == ("flow", "permit", ["inbound_ippacket_v4"])


def test_a_layer_that_has_lost_its_filters_leaves_the_flow_without_one(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit").send(udp())
    path.policy(f"{CONNECT}, action: permit")
    result = path.send(udp())
    assert (result["verdict"], result["reason"], result["filter"], result["slot"]) == ("permit", "no_match", None, None)


def test_a_block_of_a_later_layer_has_the_flow_s_id_and_leaves_the_flow(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit", "layer: datagram_data, action: block, when: {direction: outbound}")
    made, blocked, again = path.send(udp()), path.send(answer(udp())), path.send(udp())
    assert (blocked["verdict"], blocked["flow_id"], blocked["to_server"]) == ("block", made["flow_id"], False)
    assert again["flow_id"] == made["flow_id"] != 0


def test_a_late_packet_has_the_flow_s_id_too(path: Path, tmp_path: pathlib.Path) -> None:
    made = path.policy(f"{ACCEPT}, action: permit").send(udp())
    file = tmp_path / "slow.yaml"
    file.write_text("""version: 1
callouts: [{name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: 0.05}}]
filters:
  - {name: f1, layer: ale_auth_recv_accept, action: permit}
  - {name: ask, layer: datagram_data, action: {callout: slow}}
""")
    slow = make_snapshot(load_policy(str(file), trust="warn"))
    late = Replayer(slow, path.flows, late_after=0.01).visit(bytes(answer(udp())), "output", SECOND)
    assert (late["reason"], late["flow_id"], late["to_server"]) == ("late", made["flow_id"], False)


# -------------------------------------------------------------------------------- in the middle


def tcp(source: str, sport: int, target: str, dport: int, flags: str = "A") -> Packet:
    return IP(src=source, dst=target) / TCP(sport=sport, dport=dport, flags=flags)


@pytest.mark.parametrize(
    ("local_port", "remote_port", "listening", "layer"),
    [
        (5000, 80, (5000,), "ale_auth_recv_accept_v4"),
        (5000, 80, (), "ale_auth_connect_v4"),
        (80, 5000, (), "ale_auth_recv_accept_v4"),
        (80, 5000, (5000,), "ale_auth_recv_accept_v4"),
    ],
)
@pytest.mark.parametrize("outbound", [True, False])
def test_a_live_flow_picked_up_in_its_middle_has_its_server_by_listener_then_by_port(
    tmp_path: pathlib.Path, local_port: int, remote_port: int, listening: tuple[int, ...], layer: str, outbound: bool
) -> None:
    path = Path(tmp_path, host=Host(listening=listening)).policy(
        f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit"
    )
    packet = tcp(HERE, local_port, THERE, remote_port) if outbound else tcp(THERE, remote_port, HERE, local_port)
    assert path.send(packet)["layers"] == [layer]


@pytest.mark.parametrize(("outbound", "layer"), [(True, "ale_auth_connect_v4"), (False, "ale_auth_recv_accept_v4")])
def test_equal_ports_without_a_listener_leave_the_direction_of_the_packet(
    path: Path, outbound: bool, layer: str
) -> None:
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit")
    assert path.send(tcp(HERE, 7, THERE, 7) if outbound else tcp(THERE, 7, HERE, 7))["layers"] == [layer]


# --------------------------------------------------------------------- multicast and broadcast

BOTH = """version: 1
filters:
  - {name: in, layer: ale_auth_recv_accept, action: ANSWER}
  - {name: out, layer: ale_auth_connect, action: permit}
"""
INBOUND, BLOCKED = BOTH.replace("ANSWER", "permit"), BOTH.replace("ANSWER", "block")


def reasons(results: list[dict[str, Any]]) -> list[str]:
    return [result["reason"] for result in results]


def test_all_inbound_groups_are_one_flow() -> None:
    packets = [udp(THERE, "224.0.0.251"), udp(OTHER, "239.255.255.250", 7, 1900), udp(OTHER, "255.255.255.255", 68, 67),
               udp(THERE, HERE)]  # fmt: skip
    results = decide(INBOUND, packets, local=f"{HERE}/32")
    assert reasons(results) == ["filter", "flow", "flow", "filter"]
    assert results[1]["filter"] == "in" and results[1]["layers"] == []


def test_a_blocked_inbound_group_packet_authorizes_nothing() -> None:
    results = decide(BLOCKED, [udp(THERE, "224.0.0.251"), udp(OTHER, "224.0.0.251")], local=f"{HERE}/32")
    assert [result["verdict"] for result in results] == ["block", "block"]


def test_the_inbound_groups_of_the_two_families_are_apart() -> None:
    six = IPv6(src="2001:db8::9", dst="ff02::fb") / UDP(sport=1, dport=5353)
    results = decide(INBOUND, [udp(THERE, "224.0.0.251"), six, six], local=f"{HERE}/32,2001:db8::1/128")
    assert reasons(results) == ["filter", "filter", "flow"]


def test_the_answer_to_an_inbound_group_packet_is_classified_at_connect() -> None:
    packets = [udp(THERE, "224.0.0.251"), udp(HERE, THERE, 5353, 9), udp(HERE, OTHER, 5353, 9)]
    results = decide(INBOUND, packets, local=f"{HERE}/32")
    assert [result["layers"][0]["layer"] for result in results[1:]] == ["ale_auth_connect_v4"] * 2


@pytest.mark.parametrize("group", ["239.255.255.250", "255.255.255.255"])
def test_anybody_may_answer_an_outbound_group_packet_for_four_seconds(group: str) -> None:
    sent = udp(HERE, group, 4000, 1900)
    packets = [sent, udp(THERE, HERE, 1900, 4000), udp(OTHER, HERE, 77, 4000), udp(OTHER, HERE, 77, 4001),
               udp(OTHER, HERE, 77, 4000), udp(OTHER, HERE, 77, 4000)]  # fmt: skip
    results = decide(BLOCKED, packets, local=f"{HERE}/32", times=[10, 11, 12, 12, 14, 14.5])
    assert [result["verdict"] for result in results] == ["permit", "permit", "permit", "block", "permit", "block"]
    assert reasons(results)[:3] == ["filter", "flow", "flow"] and results[1]["filter"] == "out"


def test_only_outbound_packets_keep_it_open() -> None:
    sent, got = udp(HERE, "239.255.255.250", 4000, 1900), udp(OTHER, HERE, 77, 4000)
    results = decide(BLOCKED, [sent, got, sent, got, got], local=f"{HERE}/32", times=[10, 13, 13.5, 17, 18])
    assert [result["verdict"] for result in results] == ["permit", "permit", "permit", "permit", "block"]
    assert reasons(results)[2] == "flow"


def test_a_multicast_answer_belongs_to_the_flow_that_it_answers() -> None:
    sent, got = udp(HERE, "224.0.0.251", 5353, 5353), udp(OTHER, "224.0.0.251", 5353, 5353)
    results = decide(BLOCKED, [sent, got, got], local=f"{HERE}/32", times=[10, 11, 15])
    assert [result["verdict"] for result in results] == ["permit", "permit", "block"]


def test_two_groups_of_one_sender_are_authorized_each() -> None:
    packets = [udp(HERE, "239.255.255.250", 4000, 1900), udp(HERE, "224.0.0.251", 4000, 5353)]
    assert reasons(decide(BLOCKED, packets, local=f"{HERE}/32")) == ["filter", "filter"]


def test_ipv6_groups_are_answered_likewise() -> None:
    sent = IPv6(src="2001:db8::1", dst="ff02::c") / UDP(sport=4000, dport=1900)
    got = IPv6(src="2001:db8::9", dst="2001:db8::1") / UDP(sport=8, dport=4000)
    results = decide(BLOCKED, [sent, got, got], local="2001:db8::1/128", times=[10, 13, 15])
    assert [result["verdict"] for result in results] == ["permit", "permit", "block"]


def test_a_broadcast_echo_is_answered_by_its_identifier() -> None:
    sent = IP(src=HERE, dst="255.255.255.255") / ICMP(type=8, id=5)
    results = decide(
        BLOCKED, [sent, *(IP(src=OTHER, dst=HERE) / ICMP(type=0, id=number) for number in (5, 6))],
        local=f"{HERE}/32", times=[10, 11, 11],
    )  # fmt: skip
    assert [result["verdict"] for result in results] == ["permit", "permit", "block"]


def test_a_directed_broadcast_is_known_where_the_host_is(tmp_path: pathlib.Path) -> None:
    path = Path(tmp_path, host=Host(broadcast4=[0xC00002FF])).policy(
        f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit"
    )
    first, second = path.send(udp(THERE, "192.0.2.255")), path.send(udp(OTHER, "192.0.2.255", 8))
    assert (first["reason"], second["reason"], second["flow_id"]) == ("filter", "flow", first["flow_id"])


def test_groups_use_no_more_of_the_table_than_their_own_flows(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit")
    for port in range(1, 40):
        path.send(udp(OTHER, f"224.0.0.{port}", port, port))
    assert len(path.flows) == 1
    for port in range(5000, 5200):
        path.send(udp(HERE, "239.0.0.1", port, 9))
    assert len(path.flows) <= path.flows.capacity == 64


def test_a_policy_change_reauthorizes_the_flow_of_all_inbound_groups(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit").send(udp(THERE, "224.0.0.251"))
    path.policy(f"{ACCEPT}, action: block, when: {{flags: {{flags_all_set: [is_reauthorize]}}}}")
    assert path.send(udp(OTHER, "239.1.1.1"))["verdict"] == "block"


# ------------------------------------------------------------------------------------- timeouts

OPENED = [tcp(HERE, 4000, THERE, 80, "S"), tcp(THERE, 80, HERE, 4000, "SA"), tcp(HERE, 4000, THERE, 80)]


@pytest.mark.parametrize(
    ("packets", "seconds"),
    [
        (OPENED[:1], 60),
        (OPENED, 432_000),
        ([*OPENED, tcp(HERE, 4000, THERE, 80, "FA"), tcp(THERE, 80, HERE, 4000, "FA")], 10),
        ([*OPENED, tcp(THERE, 80, HERE, 4000, "R")], 10),
        ([udp(HERE, THERE)], 60),
        ([IP(src=HERE, dst=THERE) / ICMP(type=8, id=5)], 60),
        ([IP(src=HERE, dst=THERE, proto=99) / Raw(b"x")], 60),
        ([udp(HERE, "239.0.0.1")], 4),
    ],
)
def test_a_flow_lives_exactly_its_time_without_a_packet(path: Path, packets: list[Packet], seconds: int) -> None:
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit")
    for packet in packets:
        path.send(packet)
    at = SECOND + seconds * SECOND
    assert path.flows.sweep(at) == 0 and len(path.flows) == 1
    assert path.flows.sweep(at + 1) == 1 and len(path.flows) == 0
    (ended,) = path.flows.drain_ended()
    assert (ended["end"], ended["ended_ns"], ended["last_ns"]) == ("timeout", at + 1, SECOND)
    assert path.flows.evictions()["timeout"] == 1


def test_half_a_close_leaves_a_connection_established(path: Path) -> None:
    path.policy(f"{ACCEPT}, action: permit", f"{CONNECT}, action: permit")
    for packet in (*OPENED, tcp(HERE, 4000, THERE, 80, "FA"), tcp(HERE, 4000, THERE, 80, "FA")):
        path.send(packet)
    path.flows.sweep(1000 * SECOND)
    assert len(path.flows) == 1


# ----------------------------------------------------------------------------------------- icmp


@pytest.mark.parametrize(
    ("packet", "kind"),
    [(IP(src=HERE, dst=THERE) / ICMP(type=8), 8), (IP(src=HERE, dst=THERE) / ICMP(type=13), 13),
     (IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest(), 128)],
)  # fmt: skip
def test_original_icmp_type_is_that_of_the_message_that_made_the_flow(path: Path, packet: Packet, kind: int) -> None:
    path.policy(f"{CONNECT}, action: block, when: {{original_icmp_type: {kind}}}")
    assert path.send(packet)["verdict"] == "block"


def test_original_icmp_type_stays_on_reauthorization_by_the_answer_and_is_empty_elsewhere(path: Path) -> None:
    path.policy(f"{CONNECT}, action: permit").send(IP(src=HERE, dst=THERE) / ICMP(type=8, id=5))
    path.policy(f"{CONNECT}, action: block, when: {{original_icmp_type: 8, ip_local_port: 0}}")
    assert path.send(IP(src=THERE, dst=HERE) / ICMP(type=0, id=5))["verdict"] == "block"
    path.policy(f"{CONNECT}, action: block, when: {{original_icmp_type: {{equal: empty}}}}")
    assert path.send(udp(HERE, THERE))["verdict"] == "block"


# -------------------------------------------------------------------------------- many workers


def test_what_another_worker_saw_meanwhile_is_kept(tmp_path: pathlib.Path) -> None:
    """Two visits of one connection overlap: the FIN of the inner one, and both packets, count."""
    path = Path(tmp_path).policy(f"{CONNECT}, action: permit", f"{ACCEPT}, action: permit")
    for packet in OPENED:
        path.send(packet)
    path.send(tcp(THERE, 80, HERE, 4000, "FA"))
    file = tmp_path / "outer.yaml"
    file.write_text("""version: 1
callouts: [{name: meanwhile}]
filters:
  - {name: asked, layer: inbound_transport, action: {callout: meanwhile, kind: inspection}}
  - {name: f1, layer: ale_auth_connect, action: permit}
  - {name: f2, layer: ale_auth_recv_accept, action: permit}
""")
    inner: list[dict[str, Any]] = []
    assert path.snapshot is not None

    def meanwhile(_: Any) -> None:
        inner.append(path.send(tcp(HERE, 4000, THERE, 80, "FA")))

    words = dict.fromkeys(("on_error", "on_malformed", "on_late", "flows_full"), Word.PERMIT)
    outer = Snapshot(
        pack(load_policy(str(file), trust="warn")), [meanwhile], generation=2, previous=path.snapshot, **words
    )
    result = Replayer(outer, path.flows, live=True).visit(bytes(tcp(THERE, 80, HERE, 4000)), "input", SECOND)
    assert len(inner) == 1 and inner[0]["flow_id"] == result["flow_id"]
    path.flows.sweep(SECOND, all=True)
    (ended,) = path.flows.drain_ended()
    assert (ended["state"], ended["packets"]) == ("closing", (3, 3))


def test_at_one_hook_the_two_directions_are_two_flows() -> None:
    there = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=4000, dport=53))
    back = bytes(IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=53, dport=4000))
    policy = "version: 1\nfilters: [{name: in, layer: ale_auth_recv_accept, action: permit}]\n"
    one_hook = decide(policy, [there, back, there, back], hook="input")
    assert [line["reason"] for line in one_hook] == ["filter", "filter", "flow", "flow"]
    told_apart = decide(policy, [there, back, there, back], local="198.51.100.2/32")
    assert [line["reason"] for line in told_apart] == ["filter", "flow", "flow", "flow"]
