import socket
from collections.abc import Iterator

import pytest

from wfpd.errors import KernelError
from wfpd.observe.exporter import MAX_HEADER_BYTES, MetricsServer, answer, parse_address


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1:0", lambda: b"up 1\n", max_connections=2)
    server.start()
    yield server
    server.close()


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        data = b""
        try:
            while chunk := connection.recv(65536):
                data += chunk
        except ConnectionResetError:
            pass
        return data


def test_get_metrics_returns_what_is_rendered(server: MetricsServer) -> None:
    reply = ask(server.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n") and reply.endswith(b"\r\n\r\nup 1\n")


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"PUT", b"DELETE"])
def test_other_methods_than_get_are_refused(method: bytes) -> None:
    assert answer(method + b" /metrics HTTP/1.1", lambda: b"").startswith(b"HTTP/1.1 405 ")


def test_the_refusal_of_head_has_no_body() -> None:
    assert answer(b"HEAD /metrics HTTP/1.1", bytes).endswith(b"\r\n\r\n")


def test_a_failing_source_is_an_error_of_one_scrape_only() -> None:
    def broken() -> bytes:
        raise RuntimeError

    assert answer(b"GET /metrics HTTP/1.1", broken).startswith(b"HTTP/1.1 500 ")


def test_headers_over_the_limit_are_refused(server: MetricsServer) -> None:
    reply = ask(server.port, b"GET /metrics HTTP/1.1\r\nX: " + b"a" * (MAX_HEADER_BYTES + 4096))
    assert reply.startswith(b"HTTP/1.1 431 ") or reply == b""


def test_more_connections_than_the_limit_are_turned_away(server: MetricsServer) -> None:
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(2)]
    try:
        assert ask(server.port, b"GET /metrics HTTP/1.1\r\n\r\n")[:12] in (b"HTTP/1.1 503", b"")
    finally:
        for connection in held:
            connection.close()


def test_a_taken_port_is_the_kernels_no(server: MetricsServer) -> None:
    with pytest.raises(KernelError, match="cannot listen"):
        MetricsServer(f"127.0.0.1:{server.port}", lambda: b"")


def test_an_address_is_host_and_port_with_loopback_as_default() -> None:
    assert parse_address(":9477") == ("127.0.0.1", 9477)
    assert parse_address("[::1]:0") == ("::1", 0)
    with pytest.raises(ValueError, match="ADDRESS:PORT"):
        parse_address("9477")
