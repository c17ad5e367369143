import contextlib
import grp
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator

import pytest

from tests.control_schema import check_error, check_notification, check_params, check_result
from wfpd.client import Client, DaemonFault, NotAllowed, Refused
from wfpd.control import admin, limits, protocol
from wfpd.control.admin import AdminServer, Method, Peer, Roles
from wfpd.control.limits import CALLS_OF_USER, Places
from wfpd.control.protocol import INVALID_PARAMS, MAX_LINE, Role
from wfpd.errors import ControlError, PolicyError, Problem
from wfpd.observe.record import EventRecord
from wfpd.observe.sinks import Hub


def _refuse(params: object, peer: Peer) -> object:
    raise PolicyError([Problem("wrong")])


def _fail(params: object, peer: Peer) -> object:
    raise ZeroDivisionError


HELLO = b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"version":1}}\n'
METHODS = {
    "status": Method(Role.READ, lambda params, peer: {"enforcing": True, "uid": peer.uid}),
    "reload": Method(Role.OPERATE, _refuse, changes=True),
    "fail": Method(Role.READ, _fail),
}


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def server(tmp_path, hub: Hub) -> Iterator[AdminServer]:
    server = AdminServer(str(tmp_path / "c.sock"), METHODS, Roles(), hub=hub, places=Places(3, 0, 3), hello_timeout=0.5)
    server.start()
    yield server
    server.close()


def raw(server: AdminServer) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(server._path)
    return connection


def test_a_call_is_answered_and_knows_its_peer(server: AdminServer) -> None:
    with Client(server._path) as client:
        assert client.hello["role"] == "administer"
        assert client.call("status") == {"enforcing": True, "uid": os.geteuid()}
        assert client.call("version")["protocol"] == 1


@pytest.mark.parametrize("params", [{"confirn": 60}, [60], "x"])
def test_parameters_a_method_does_not_have_are_refused_under_the_calls_own_id(server: AdminServer, params) -> None:
    call = {"jsonrpc": "2.0", "method": "status", "params": params}
    with raw(server) as connection:
        file = connection.makefile("rb")
        connection.sendall(HELLO)
        file.readline()
        for document in (call, call | {"id": 7}):  # The first is a notification: no answer, not even a refusal.
            connection.sendall(json.dumps(document).encode() + b"\n")
        answer = json.loads(file.readline())
    assert answer["id"] == 7 and answer["error"]["code"] == INVALID_PARAMS


def test_the_socket_is_for_its_owner_and_group_only(server: AdminServer) -> None:
    assert stat.S_IMODE(os.stat(server._path).st_mode) == 0o660


def test_hello_comes_first(server: AdminServer) -> None:
    with raw(server) as connection:
        connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"status"}\n')
        assert json.loads(connection.makefile().readline())["error"]["code"] == -32002


def test_who_says_nothing_is_disconnected(server: AdminServer) -> None:
    with raw(server) as connection:
        assert connection.recv(1) == b""


def test_a_line_over_the_limit_ends_the_connection(server: AdminServer) -> None:
    with raw(server) as connection:
        connection.sendall(HELLO)
        file = connection.makefile("rb")
        file.readline()
        try:
            connection.sendall(b"x" * (4 * MAX_LINE))
            rest = file.read()
        except (BrokenPipeError, ConnectionResetError):
            rest = b""
        assert rest == b"" or b"longer than" in rest


def test_connections_over_the_limit_are_closed(server: AdminServer) -> None:
    held = [Client(server._path) for _ in range(3)]
    with pytest.raises(ControlError):
        Client(server._path)
    for client in held:
        client.close()


def test_a_refused_policy_carries_its_errors_and_is_logged(server: AdminServer, caplog) -> None:
    with caplog.at_level("INFO"), Client(server._path) as client, pytest.raises(Refused) as raised:
        client.call("reload")
    assert raised.value.data == {"problems": ["wrong"]}
    assert f"reload by uid {os.geteuid()} pid {os.getpid()}" in caplog.text


def test_a_fault_of_ours_tells_the_peer_no_internals(server: AdminServer) -> None:
    with Client(server._path) as client:
        with pytest.raises(DaemonFault, match="fault of wfpd"):
            client.call("fail")
        assert client.call("status")


def test_subscribers_get_events_until_they_leave(server: AdminServer, hub: Hub) -> None:
    with Client(server._path) as client:
        events = client.events()
        timer = threading.Timer(0.2, hub.write, (EventRecord(0, "block"), b'{"event_type":"drop"}\n'))
        timer.start()
        assert next(events) == {"event_type": "drop"}
        timer.join()


def test_a_role_below_the_methods_is_refused(server: AdminServer, monkeypatch) -> None:
    monkeypatch.setattr(server._roles, "of", lambda uid, gid: Role.READ)
    with Client(server._path) as client:
        assert client.call("status")
        with pytest.raises(NotAllowed):
            client.call("reload")


def test_no_role_no_hello(server: AdminServer, monkeypatch) -> None:
    monkeypatch.setattr(server._roles, "of", lambda uid, gid: Role.NONE)
    with pytest.raises(ControlError, match="no role"):
        Client(server._path)


def test_root_administers_and_strangers_have_no_role() -> None:
    assert Roles().of(0, 0) is Role.ADMINISTER
    assert Roles(read=["no-such-group"]).of(65533, 65533) is Role.NONE
    assert Roles(read=["root"], operate=["daemon"]).of(65533, 1) is Role.OPERATE


def test_a_path_left_behind_is_taken_over_and_a_living_one_is_not(server: AdminServer, tmp_path) -> None:
    path = str(tmp_path / "old.sock")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    second = AdminServer(path, METHODS, Roles())
    second.start()
    second.close()
    assert not os.path.exists(path)
    with pytest.raises(ControlError, match="another wfpd"):
        AdminServer(server._path, METHODS, Roles()).start()


def test_a_socket_that_has_its_group_already_is_not_given_away(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The shipped unit may not chown at all, and does not have to.
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    own = grp.getgrgid(os.getegid()).gr_name
    server = AdminServer(str(tmp_path / "c.sock"), METHODS, Roles(), group=own)
    server.start()
    server.close()
    assert caplog.text == ""
    other = next(entry.gr_name for entry in grp.getgrall() if entry.gr_gid != os.getegid())
    server = AdminServer(str(tmp_path / "c.sock"), METHODS, Roles(), group=other)
    server.start()
    server.close()
    assert f"cannot be given to the group {other}" in caplog.text


def test_a_group_that_the_policy_names_and_nobody_made_is_said(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    for group, said in (("wfpd-nobody-made-this", True), ("wfpd", False)):
        caplog.clear()
        server = AdminServer(str(tmp_path / "c.sock"), METHODS, Roles(), group=group)
        server.start()
        server.close()
        assert ("there is no group" in caplog.text) is said


def test_one_connections_calls_know_the_same_peer_and_its_end_is_told_once_in_the_pool(tmp_path) -> None:
    peers: list[Peer] = []
    ended: list[str] = []
    told = threading.Event()

    def register(params: object, peer: Peer) -> object:
        if not peers:
            peer.at_end(lambda: (ended.append(threading.current_thread().name), told.set()))
        peers.append(peer)
        return {"notified": peer.notify("change", {"n": len(peers)})}

    server = AdminServer(str(tmp_path / "c.sock"), {"register": Method(Role.READ, register)}, Roles())
    server.start()
    try:
        with Client(server._path) as client:
            assert [client.call("register"), client.call("register")] == [{"notified": True}] * 2
            assert len(set(peers)) == 1 and not ended
        assert told.wait(5)
        assert len(ended) == 1 and ended[0].startswith("wfpd-control-end")
    finally:
        server.close()
    assert len(ended) == 1


@pytest.mark.parametrize("how", ["client", "server"])
def test_a_peer_that_goes_while_its_call_runs_is_told_to_it_after_the_call(tmp_path, how: str) -> None:
    said: list[str] = []
    running, go_on, told = threading.Event(), threading.Event(), threading.Event()

    def slow(params: object, peer: Peer) -> object:
        peer.at_end(lambda: (said.append("end"), told.set()))
        running.set()
        go_on.wait(10)
        said.append("call")
        return {}

    server = AdminServer(str(tmp_path / "c.sock"), {"slow": Method(Role.OPERATE, slow)}, Roles())
    server.start()
    connection = raw(server)
    connection.sendall(HELLO)
    connection.sendall(b'{"jsonrpc":"2.0","id":2,"method":"slow"}\n' * 2)
    assert running.wait(5)
    closing = threading.Thread(target=server.close, daemon=True)
    connection.close() if how == "client" else closing.start()
    assert not told.wait(0.3)
    go_on.set()
    assert told.wait(5)
    if how == "client":
        closing.start()
    closing.join(10)
    assert said[:2] == ["call", "end"] or said == ["call", "call", "end", "end"]
    assert said.count("end") == said.count("call")


def test_connections_end_when_the_server_closes_and_it_is_told(tmp_path) -> None:
    told: list[int] = []
    methods = {"register": Method(Role.READ, lambda params, peer: peer.at_end(lambda: told.append(1)))}
    server = AdminServer(str(tmp_path / "c.sock"), methods, Roles())
    server.start()
    clients = [Client(server._path) for _ in range(5)]
    for client in clients:
        client.call("register")
    server.close()
    assert told == [1] * 5
    for client in clients:
        with pytest.raises(ControlError):
            client.call("register")
        client.close()


def test_what_the_server_answers_by_itself_is_of_the_schema(server: AdminServer, hub: Hub) -> None:
    with raw(server) as connection:
        file = connection.makefile("rb")
        for method, params in (("hello", {"version": 1}), ("version", {}), ("schema", {}), ("events.subscribe", {})):
            document = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            connection.sendall(json.dumps(document).encode() + b"\n")
            check_params(method, params)
            check_result(method, json.loads(file.readline())["result"])
        hub.write(EventRecord(0, "block"), b'{"event_type":"drop"}\n')
        check_notification("event", json.loads(file.readline())["params"])
        calls = [{"method": "none"}, {"method": "fail"}, {"method": "reload"}, {"method": "hello"}]
        for line in (b"garbage", *(json.dumps({"jsonrpc": "2.0", "id": 1, **one}).encode() for one in calls)):
            connection.sendall(line + b"\n")
            check_error(json.loads(file.readline())["error"])


def test_an_answer_that_is_too_long_or_no_json_is_an_error_and_the_connection_goes_on(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol, "MAX_ANSWER", 1000)
    methods = {"long": Method(Role.READ, lambda params, peer: "x" * 1000), "odd": Method(Role.READ, lambda *_: {1, 2})}
    server = AdminServer(str(tmp_path / "c.sock"), methods, Roles())
    server.start()
    try:
        with Client(server._path) as client:
            with pytest.raises(Refused, match="longer than 1000"):
                client.call("long")
            with pytest.raises(DaemonFault):
                client.call("odd")
            assert client.call("version")
    finally:
        server.close()
    assert "the answer of odd cannot be written" in caplog.text


def test_a_silent_connection_gives_its_place_to_one_that_comes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "SILENCE", 0.1)
    server = AdminServer(str(tmp_path / "c.sock"), METHODS, Roles(), places=Places(2, 0, 2), hello_timeout=10)
    server.start()
    try:
        with Client(server._path) as client, raw(server) as silent:
            with pytest.raises(ControlError):
                Client(server._path)
            time.sleep(0.15)
            with Client(server._path) as other:
                assert other.call("status") and client.call("status")
                assert silent.recv(1) == b""
    finally:
        server.close()


def test_few_descriptors_are_fewer_connections_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(admin.resource, "getrlimit", lambda _: (64, 300))
    monkeypatch.setattr(admin.resource, "setrlimit", lambda _, pair: limits.append(pair))
    n_open = len(os.listdir("/proc/self/fd")) - 1
    assert admin._affordable(100) == 100 and limits[-1][0] <= 300  # Raised as far as is needed.
    monkeypatch.setattr(admin.resource, "getrlimit", lambda _: (64, n_open + admin.SPARE_DESCRIPTORS + 60))
    assert 55 <= admin._affordable(100) <= 60
    assert "connections at most" in caplog.text
    monkeypatch.setattr(admin.resource, "getrlimit", lambda _: (64, 64))
    assert admin._affordable(100) == admin.MIN_CONNECTIONS


def test_calls_that_all_wait_leave_a_thread_for_one_more(tmp_path) -> None:
    go_on, lock = threading.Event(), threading.Lock()
    running: list[int] = []

    def wait(params: object, peer: Peer) -> object:
        with lock:
            running.append(peer.pid)
        go_on.wait(10)
        return {}

    methods = METHODS | {"wait": Method(Role.READ, wait)}
    server = AdminServer(str(tmp_path / "c.sock"), methods, Roles(), places=Places(31, 0, 31))
    server.start()
    try:
        with contextlib.ExitStack() as held, Client(server._path, timeout=5) as client:
            for _ in range(30):
                held.enter_context(raw(server)).sendall(HELLO + HELLO.replace(b'"hello"', b'"wait"').replace(
                    b',"params":{"version":1}', b""))  # fmt: skip
            until = time.monotonic() + 5
            while len(running) < 30 and time.monotonic() < until:
                assert client.call("status")["enforcing"]
            assert len(running) == 30 and client.call("status")["enforcing"]
            go_on.set()
    finally:
        go_on.set()
        server.close()


def test_users_who_do_not_administer_run_few_calls_at_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def slow(params: object, peer: Peer) -> object:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return {}

    server = AdminServer(str(tmp_path / "c.sock"), {"slow": Method(Role.READ, slow)}, Roles())
    monkeypatch.setattr(server._roles, "of", lambda uid, gid: Role.READ)
    server.start()
    try:
        with contextlib.ExitStack() as held:
            clients = [held.enter_context(Client(server._path)) for _ in range(8)]
            threads = [threading.Thread(target=client.call, args=("slow",), daemon=True) for client in clients]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
    finally:
        server.close()
    assert most[0] == CALLS_OF_USER


def test_connections_without_end_wait_in_the_kernel_and_those_of_administrators_are_not_counted(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ARRIVALS", 0.01)
    monkeypatch.setattr(limits, "ARRIVALS_AT_ONCE", 4)
    server = AdminServer(str(tmp_path / "c.sock"), METHODS, Roles())
    role = [Role.ADMINISTER]
    monkeypatch.setattr(server, "_role", lambda uid, gid: role[0])
    server.start()
    try:
        for _ in range(8):
            with Client(server._path) as client:
                assert client.call("status")
        role[0] = Role.READ
        with contextlib.ExitStack() as held:
            for _ in range(5):
                held.enter_context(Client(server._path))
            waiting = held.enter_context(raw(server))
            waiting.sendall(HELLO)
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
    finally:
        server.close()
