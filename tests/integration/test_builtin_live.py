"""The callouts that come with wfpd, each on real traffic of both families."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import time
from collections.abc import Callable

import pytest

from tests.integration.netns import Network
from tests.integration.places import PORT, Place, serving
from tests.integration.running import Wfpd
from tests.unit.callouts.hellos import hello

PACKETS = pytest.mark.parametrize("at", ["input", "output", "forward"])
STREAMS = pytest.mark.parametrize("at", ["input", "output"])


@pytest.fixture
def place(at: str, net: Network, family: int) -> Place:
    return Place(net, at, family)


def start(place: Place, wfpd: Wfpd, folder: pathlib.Path, use: str, options: str, when: str, layer: str = "") -> None:
    """A daemon with one callout that comes with wfpd."""
    callouts = f'{{name: act, use: "wfpd.callouts.builtin.{use}", options: {{{options}}}}}'
    filters = f"  - {{name: ask, layer: {layer or '{layer}'}, action: {{callout: act}}, when: {{{when}}}}}"
    place.start(wfpd, folder, "", callouts, filters)


def send_datagram(sock: socket.socket, data: bytes) -> None:
    """Send it, although the socket may have to tell first what became of those before."""
    for _ in range(9):
        with contextlib.suppress(ConnectionRefusedError):
            sock.send(data)
            return
    raise AssertionError("nothing can be sent")


def arrive(place: Place, datagrams: list[bytes], expected: int) -> list[bytes]:
    """What of these datagrams arrives at the receiver."""
    with place.net.udp_receiver(place.receiver, PORT, place.family) as receiver, place.datagrams() as sock:
        for data in datagrams:
            send_datagram(sock, data)
        assert receiver.wait_for(expected)
        time.sleep(0.1)
        return list(receiver.payloads)


def send(sock: socket.socket, pieces: tuple[bytes, ...]) -> None:
    """Each as a segment of its own."""
    for piece in pieces:
        sock.sendall(piece)
        time.sleep(0.05)


def arrives(place: Place, *pieces: bytes) -> bytes:
    """What the receiver has got of a connection that its sender closes after these pieces."""
    with serving(place) as server, place.connect() as sock:
        send(sock, pieces)
        sock.shutdown(socket.SHUT_WR)
        assert server.wait() == "closed"
        return server.data


def arrives_before_the_reset(place: Place, *pieces: bytes) -> bytes:
    """What the receiver has got when the sender of these pieces is reset."""
    with serving(place) as server, place.connect() as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            send(sock, pieces)
            sock.recv(1)
            pytest.fail("the connection was not reset")
        return server.data


@PACKETS
def test_packets_beyond_the_rate_do_not_pass(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    start(place, wfpd, tmp_path, "rate_limit:RateLimit", "rate: 1, period: hour, burst: 5", "ip_protocol: udp")
    sent = [b"%d" % number for number in range(12)]
    assert arrive(place, sent, 5) == sent[:5]


@PACKETS
def test_what_is_dropped_silently_tells_nobody(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    start(place, wfpd, tmp_path, "silent_drop:SilentDrop", "", "ip_protocol: tcp")
    with serving(place), pytest.raises(TimeoutError):
        place.net.tcp_connect(place.sender, PORT, to=place.address, timeout=0.5)
    assert arrive(place, [b"still"], 1) == [b"still"]


@PACKETS
def test_what_is_refused_is_refused_at_once(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    start(place, wfpd, tmp_path, "reset:Reset", "reply: reset", "ip_protocol: tcp")
    with serving(place), pytest.raises(ConnectionRefusedError):
        place.connect()


@pytest.mark.parametrize("at", ["input", "output"])
def test_one_connection_too_many_is_refused(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    layer = "ale_auth_recv_accept" if place.name == "input" else "ale_auth_connect"
    end = "ip_local_port" if place.name == "input" else "ip_remote_port"
    direction = "inbound" if place.name == "input" else "outbound"
    callouts = (
        '{name: few, use: "wfpd.callouts.builtin.connection_limit:ConnectionLimit", '
        "options: {most: 2, per: all, beyond: tcp_reset}}"
    )
    filters = (
        f"  - {{name: refuse, layer: {layer}, action: {{callout: few}}, when: {{ip_protocol: tcp, {end}: {PORT}}}}}\n"
        f"  - {{name: count, layer: ale_flow_established, action: {{callout: few}}, "
        f"when: {{ip_protocol: tcp, {end}: {PORT}, direction: {direction}}}}}"
    )
    place.start(wfpd, tmp_path, "", callouts, filters)
    with place.net.tcp_echo(place.receiver, PORT, place.family), contextlib.ExitStack() as stack:
        for _ in range(2):
            sock = stack.enter_context(place.connect())
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
        with pytest.raises(ConnectionRefusedError):
            place.connect()


def question(name: str) -> bytes:
    """A DNS query for addresses."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"


@PACKETS
def test_questions_for_listed_names_do_not_pass(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    start(place, wfpd, tmp_path, "dns_names:DnsNames", "names: [.ads.example]", "ip_protocol: udp",
          "ipforward" if place.name == "forward" else "datagram_data")  # fmt: skip
    good = [question("example.org"), question("notads.example")]
    assert arrive(place, [good[0], question("x.ads.example"), question("ADS.example"), good[1]], 2) == good


@PACKETS
def test_datagrams_with_a_pattern_do_not_pass(place: Place, wfpd: Wfpd, tmp_path: pathlib.Path) -> None:
    start(place, wfpd, tmp_path, "byte_patterns:BytePatterns", 'patterns: ["${jndi:"], any_case: true',
          "ip_protocol: udp", "ipforward" if place.name == "forward" else "datagram_data")  # fmt: skip
    assert arrive(place, [b"fine", b"x ${JNDI:y", b"${jndi"], 2) == [b"fine", b"${jndi"]


def client_hello(name: str) -> bytes:
    """A TLS record with a ClientHello."""
    return hello(name.encode())


def halves(data: bytes) -> tuple[bytes, ...]:
    return data[: len(data) // 2], data[len(data) // 2 :]


def request(name: str) -> bytes:
    """An HTTP request."""
    return f"GET / HTTP/1.1\r\nHost: {name}\r\nContent-Length: 0\r\n\r\n".encode()


def question_over_tcp(name: str) -> bytes:
    """The query with its length before it."""
    return len(question(name)).to_bytes(2, "big") + question(name)


LISTED, OTHER = "x.ads.example", "example.org"
CASES: dict[str, tuple[str, str, Callable[[str], bytes]]] = {
    "TLS": ("tls_names:TlsNames", "names: [.ads.example]", client_hello),
    "HTTP": ("http_hosts:HttpHosts", "names: [.ads.example]", request),
    "DNS over TCP": ("dns_names:DnsNames", "names: [.ads.example]", question_over_tcp),
    "patterns": ("byte_patterns:BytePatterns", "patterns: [x.ads.example]", lambda name: name.encode() * 3),
}


@STREAMS
@pytest.mark.parametrize("case", list(CASES))
def test_a_stream_that_names_what_is_listed_is_ended_also_over_two_segments(
    place: Place, wfpd: Wfpd, tmp_path: pathlib.Path, case: str
) -> None:
    use, options, message = CASES[case]
    end = "ip_local_port" if place.name == "input" else "ip_remote_port"
    start(place, wfpd, tmp_path, use, options, f"{end}: {PORT}", "stream")
    assert arrives(place, *halves(message(OTHER))) == message(OTHER)
    got = arrives_before_the_reset(place, *halves(message(LISTED)))
    if case == "patterns":  # What came before the pattern's last segment has passed.
        assert LISTED.encode() * 2 not in got
    else:
        assert got == b""
    assert wfpd.metric("wfpd_stream_events_total", event="cut") == 1
    assert wfpd.metric("wfpd_callout_errors_total") == 0


@pytest.mark.parametrize("at", ["forward"])
def test_a_server_name_over_two_segments_is_found_in_forwarded_packets(
    place: Place, wfpd: Wfpd, tmp_path: pathlib.Path
) -> None:
    start(place, wfpd, tmp_path, "tls_names:TlsNames", "names: [.ads.example]", "ip_protocol: tcp")
    good, bad = client_hello(OTHER), client_hello(LISTED)
    assert arrives(place, *halves(good)) == good
    assert arrives_before_the_reset(place, *halves(bad)) == halves(bad)[0]
