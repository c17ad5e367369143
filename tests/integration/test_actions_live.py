"""What callouts do with packets, on real sockets of both families, where packets enter, leave and pass through."""

from __future__ import annotations

import errno
import pathlib
import socket
import time

import pytest

from tests.integration.netns import Network, wait_until
from tests.integration.places import LINES, PLACES, PORT, Place, serving
from tests.integration.running import Wfpd

CALLOUTS = '''
from wfpd.errors import ActionRefused

class Block:
    """Blocks what has the word."""

    def __init__(self, **how):
        self.how = how

    def classify(self, c):
        if b"evil" in bytes(c.payload):
            c.block(**self.how)
        else:
            c.permit()


class Write:
    """Writes other data of the same length."""

    modifies = True

    def __init__(self, log="/dev/null"):
        self.log = log

    def classify(self, c):
        if len(c.packet) > 1500:
            with open(self.log, "a") as log:
                print("joined", file=log)
        if len(c.payload):
            c.write(c.payload_offset, bytes(c.payload).replace(b"a", b"b"))
        c.permit()


class Double:
    """Makes datagrams twice as long."""

    modifies = True

    def classify(self, c):
        c.modify(bytes(c.packet) + bytes(c.payload))
        c.permit()


class Try:
    """Tries what is refused, and lets the packet go as it is."""

    modifies = True

    def __init__(self, log):
        self.log = log

    def classify(self, c):
        packet = bytes(c.packet)
        ports = 20 if packet[0] >> 4 == 4 else 40
        for what, attempt in {
            "longer": lambda: c.modify(packet + b"more"),
            "beyond": lambda: c.write(len(packet), b"x"),
            "garbage": lambda: c.modify(b"garbage"),
            "port": lambda: c.write(ports, b"\\0\\1"),
            "address": lambda: c.write(12 if packet[0] >> 4 == 4 else 8, b"\\x01"),
        }.items():
            if what == "longer" and c.values["ip_protocol"] == 17:
                continue
            try:
                attempt()
            except ActionRefused:
                with open(self.log, "a") as log:
                    print(what, file=log)
        assert bytes(c.packet) == packet
        c.permit()
'''


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, net: Network, family: int) -> Place:
    return Place(net, request.param, family)


def asks(use: str, options: str = "", protocol: str = "tcp") -> tuple[str, str, str]:
    """Source, callouts and filters of a policy that asks one callout about the packets of a protocol."""
    callouts = f'{{name: act, use: "acts:{use}", options: {{{options}}}}}'
    filters = f"  - {{name: ask, layer: {{layer}}, action: {{callout: act}}, when: {{ip_protocol: {protocol}}}}}"
    return CALLOUTS, callouts, filters


def error_of(sock: socket.socket, seconds: float = 3.0) -> int:
    """The error that the kernel has for a socket, 0 if none comes."""
    found: list[int] = []

    def comes() -> bool:
        found.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        return found[-1] != 0

    wait_until(comes, seconds)
    return found[-1]


def test_a_silent_block_tells_nobody(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    place.start(wfpd, tmp_path, *asks("Block", protocol="udp"))
    with place.net.udp_receiver(place.receiver, PORT, place.family) as receiver, place.datagrams() as sock:
        for data in (b"good", b"evil", b"better"):
            sock.send(data)
        assert receiver.wait_for(2)
        assert receiver.payloads == [b"good", b"better"]
        assert error_of(sock, 0.2) == 0


def test_icmp_unreachable_is_an_error_at_the_sender(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    place.start(wfpd, tmp_path, *asks("Block", "reply: icmp_unreachable", "udp"))
    with place.net.udp_receiver(place.receiver, PORT, place.family) as receiver, place.datagrams() as sock:
        sock.send(b"evil")
        assert error_of(sock) == errno.ECONNREFUSED
        sock.send(b"good")
        assert receiver.wait_for(1)
        assert receiver.payloads == [b"good"]


def test_a_reset_ends_the_connection_for_both_ends(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    source, callouts, filters = asks("Block", "reply: tcp_reset")
    # A hook whose layers have no filters sees nothing: the packets of both directions have to be asked about.
    back = "".join(f"\n  - {{name: back, layer: {layer}, action: permit}}" for layer in place.layers_back)
    place.start(wfpd, tmp_path, source, callouts, filters + back)
    with serving(place) as server, place.connect() as sock:
        sock.sendall(b"good")
        assert wait_until(lambda: server.data == b"good")
        sock.sendall(b"evil")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert server.ended == ""  # It learns of it with its own next packet.
        server.send(b"hello?")
        assert server.wait() == "reset" and server.data == b"good"
    drops = [wfpd.metric("wfpd_drops_total", layer=f"{place.layer}_v{place.family}", reason=reason)
             for reason in ("callout", "flow")]  # fmt: skip
    assert drops[0] == 1 and drops[1] >= 1
    assert wfpd.metric("wfpd_stream_events_total", event="cut") == 1


def test_a_reset_of_one_end_leaves_the_other(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    place.start(wfpd, tmp_path, *asks("Block", "reply: tcp_reset, reset_both: false"))
    with serving(place) as server, place.connect() as sock:
        sock.sendall(b"evil")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        server.send(b"hello?")  # The sender's kernel answers: it has no such connection any more.
        assert server.wait() == "reset"
    assert wfpd.metric("wfpd_drops_total", reason="flow") == 0


def test_datagrams_may_get_another_length(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    place.start(wfpd, tmp_path, *asks("Double", protocol="udp"))
    before = place.checksum_errors()
    with place.net.udp_receiver(place.receiver, PORT, place.family) as receiver, place.datagrams() as sock:
        sent = [b"%d" % number * 100 for number in range(20)]
        for data in sent:
            sock.send(data)
        assert receiver.wait_for(20)
        assert receiver.payloads == [data * 2 for data in sent]
    assert place.checksum_errors() == before
    assert wfpd.metric("wfpd_modified_packets_total") == 20


def test_segments_get_other_data_with_checksums_that_the_receiver_accepts(
    place: Place, wfpd: Wfpd, tmp_path: pathlib.Path
) -> None:
    # Offloads are on: packets of many segments, whose checksums are not filled in.
    place.start(wfpd, tmp_path, *asks("Write", f"log: {tmp_path}/joined"))
    before = place.checksum_errors()
    with serving(place) as server, place.connect() as sock:
        sock.sendall(b"abc" * 100_000)
        sock.shutdown(socket.SHUT_WR)
        assert server.wait() == "closed"
        assert server.data == b"bbc" * 100_000
    assert (tmp_path / "joined").exists()
    assert place.checksum_errors() == before


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_refused_modification_leaves_the_packet_as_it_was(
    place: Place, wfpd: Wfpd, tmp_path: pathlib.Path, protocol: str
) -> None:
    log = tmp_path / "refused"
    place.start(wfpd, tmp_path, *asks("Try", f"log: {log}", protocol))
    if protocol == "tcp":
        with serving(place) as server, place.connect() as sock:
            sock.sendall(b"untouched")
            sock.shutdown(socket.SHUT_WR)
            assert server.wait() == "closed" and server.data == b"untouched"
    else:
        with place.net.udp_receiver(place.receiver, PORT, place.family) as receiver, place.datagrams() as sock:
            sock.send(b"untouched")
            assert receiver.wait_for(1) and receiver.payloads == [b"untouched"]
    expected = {"beyond", "garbage", "port", "address"} | ({"longer"} if protocol == "tcp" else set())
    assert set(log.read_text().split()) == expected
    assert wfpd.metric("wfpd_modified_packets_total") == 0
    assert wfpd.metric("wfpd_callout_errors_total") == 0


# ---- written by the callouts that come with wfpd

BUILTIN = "wfpd.callouts.builtin"


def test_the_receiver_sees_the_dscp_that_was_set(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    callouts = f'{{name: act, use: "{BUILTIN}.dscp_set:DscpSet", options: {{dscp: ef}}}}'
    filters = "  - {name: ask, layer: {layer}, action: {callout: act}, when: {ip_protocol: udp}}"
    place.start(wfpd, tmp_path, "", callouts, filters)
    level, option, kind = (
        (socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS) if place.family == 4
        else (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS)
    )  # fmt: skip
    with place.receiver.socket(socket.AF_INET if place.family == 4 else socket.AF_INET6) as receiver:
        receiver.bind(("" if place.family == 4 else "::", PORT))
        receiver.setsockopt(level, option, 1)
        with place.datagrams() as sock:
            sock.setsockopt(level, kind, 2)  # Its ECN bits stay.
            sock.send(b"voice")
        data, more, *_ = receiver.recvmsg(100, 100)
    assert data == b"voice"
    ((_, kind_came, value),) = more
    assert (kind_came, value[0]) == (kind, 46 << 2 | 2)


@pytest.mark.parametrize("clamped", [True, False])
def test_the_receiver_sends_no_more_than_the_clamped_segment_size(
    place: Place, wfpd: Wfpd, tmp_path: pathlib.Path, clamped: bool
) -> None:
    callouts = f'{{name: act, use: "{BUILTIN}.mss_clamp:MssClamp", options: {{mss: 600}}}}'
    port = PORT if clamped else PORT + 1
    field = "ip_destination_port" if place.name == "forward" else "ip_local_port"
    field = "ip_remote_port" if place.name == "output" else field
    filters = (
        "  - {name: ask, layer: {layer}, action: {callout: act}, "
        f"when: {{ip_protocol: tcp, tcp_flags: [syn], {field}: {PORT}}}}}"
    )
    place.start(wfpd, tmp_path, "", callouts, filters)
    with serving(place, port) as server, place.connect(port) as sock:
        sock.sendall(b"hello")
        assert wait_until(lambda: server.data == b"hello")
        assert server.connection is not None
        most = server.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert (most <= 600) is clamped


def test_a_packet_that_is_blocked_is_not_written_back(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    source, callouts, filters = asks("Write", protocol="udp")
    callouts += ', {name: second, use: "acts:Block"}'
    first = filters.replace("{callout: act}", "{callout: act, kind: unknown}, weight: 2")
    source = source.replace("        c.permit()\n\n\nclass Double", "        c.continue_()\n\n\nclass Double")
    second = "\n  - {name: then, layer: {layer}, action: {callout: second}, weight: 1, when: {ip_protocol: udp}}"
    place.start(wfpd, tmp_path, source, callouts, first + second)
    with place.net.udp_receiver(place.receiver, PORT, place.family) as receiver, place.datagrams() as sock:
        for data in (b"an evil a", b"a good a"):
            sock.send(data)
        assert receiver.wait_for(1)
        time.sleep(0.1)
        assert receiver.payloads == [b"b good b"]
    assert wfpd.metric("wfpd_modified_packets_total") == 1


# ---- the layer stream


@pytest.mark.parametrize("place", ["input", "output"], indirect=True)
def test_a_block_of_the_stream_ends_the_connection_for_both_ends_and_what_was_held_passes_before(
    place: Place, wfpd: Wfpd, tmp_path: pathlib.Path
) -> None:
    end = "ip_local_port" if place.name == "input" else "ip_remote_port"
    filters = f"  - {{name: ask, layer: stream, action: {{callout: act}}, when: {{{end}: {PORT}}}}}"
    place.start(wfpd, tmp_path, LINES, '{name: act, use: "acts:Lines"}', filters)
    with serving(place) as server, place.connect() as sock:
        for piece in (b"a good ", b"line\n", b"an ev"):
            assert server.data == b""
            sock.sendall(piece)
            time.sleep(0.05)
            if piece.endswith(b"\n"):
                assert wait_until(lambda: server.data == b"a good line\n", 5.0)
                server.data = b""
        sock.sendall(b"il line\n")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert (server.data, server.ended) == (b"", "")
        server.send(b"hello?\n")
        assert server.wait() == "reset" and server.data == b""
    assert wfpd.metric("wfpd_stream_events_total", event="cut") == 1
