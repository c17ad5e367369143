import socket
import threading
from collections.abc import Iterator

import pytest

from tests.unit.client.fake import Fake, faked, line_of, refusal
from wfpd.client import Client, ControlError, DaemonFault, InvalidCall, NotAllowed, Refused
from wfpd.control.admin import AdminServer, Method, Roles
from wfpd.control.protocol import Role
from wfpd.errors import UsageError
from wfpd.observe.record import EventRecord
from wfpd.observe.sinks import Hub


@pytest.fixture
def fake(tmp_path) -> Iterator[Fake]:
    with faked(tmp_path / "c.sock") as fake:
        yield fake


@pytest.fixture
def client(fake: Fake) -> Iterator[Client]:
    with Client(fake.path, timeout=5) as client:
        yield client


def test_without_a_daemon_the_error_says_where_it_looked(tmp_path) -> None:
    with pytest.raises(ControlError, match="cannot reach wfpd at") as raised:
        Client(str(tmp_path / "none.sock"))
    assert raised.value.exit_status == 3
    assert raised.value.hint


def test_connecting_to_who_accepts_nobody_ends_in_time(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "full.sock"))
        listening.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(listening.getsockname())
            with pytest.raises(ControlError, match="takes no connection in time"):
                Client(listening.getsockname(), timeout=0.2)


def test_hello_comes_first_and_a_refused_one_is_a_control_error(fake: Fake) -> None:
    with Client(fake.path) as client:
        assert client.hello["role"] == "administer"
    fake.on("hello", refusal(-32001, "no role"))
    with pytest.raises(ControlError, match="no role"):
        Client(fake.path)
    assert fake.asked == [("hello", {"version": 1})] * 2


@pytest.mark.parametrize(("code", "kind"), [(-32010, Refused), (-32001, NotAllowed), (-32602, InvalidCall),
                                            (-32603, DaemonFault)])  # fmt: skip
def test_each_refusal_is_its_own_exception_and_the_connection_goes_on(
    fake: Fake, client: Client, code: int, kind: type[Exception]
) -> None:
    fake.on("status", refusal(code, "no", hint="do this"), {"enforcing": True})
    with pytest.raises(kind) as raised:
        client.status()
    assert raised.value.hint == "do this"
    assert client.status()["enforcing"]


@pytest.mark.parametrize("answer", [b"garbage\n", b'{"jsonrpc":"2.0","id":2}\n', b"\x00\xff\n"])
def test_garbage_is_a_clear_error(fake: Fake, client: Client, answer: bytes) -> None:
    fake.on("status", answer)
    with pytest.raises(ControlError, match="not wfpd"):
        client.status()


@pytest.mark.parametrize("result", [None, [], {}, {"objects": 3}, {"objects": [], "cursor": 1}, "x",
                                    {"subscription": [1]}])  # fmt: skip
def test_a_result_of_another_shape_is_a_clear_error(fake: Fake, client: Client, result: object) -> None:
    calls = {"filters.list": lambda: list(client.filters.list()), "filters.get": lambda: client.filters.get("k"),
             "sessions.list": client.sessions.list, "changes.subscribe": client.changes}  # fmt: skip
    for method, call in calls.items():
        fake.on(method, lambda _: line_of({"id": len(fake.asked), "result": result}))
        with pytest.raises(ControlError, match="not wfpd"):
            call()


def test_a_daemon_that_ends_or_says_nothing_is_a_control_error(fake: Fake) -> None:
    with Client(fake.path, timeout=0.2) as client:
        fake.on("status", b"", lambda _: fake.peer.shutdown(socket.SHUT_RDWR) or b"")
        with pytest.raises(ControlError, match="does not answer"):
            client.status()
        with pytest.raises(ControlError, match="closed the connection"):
            client.status()


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(fake: Fake) -> None:
    with Client(fake.path, timeout=0.2) as client:
        fake.on("version", b"")
        with pytest.raises(ControlError):
            client.version()
        fake.on("status", line_of({"id": 2, "result": {"late": 1}}) + line_of({"id": 3, "result": {"enforcing": True}}))
        assert client.status() == {"enforcing": True}


def test_a_call_that_cannot_be_sent_leaves_the_connection_as_it_was(fake: Fake, client: Client) -> None:
    fake.on("status", {"enforcing": True})
    with pytest.raises(UsageError):
        client.call("filters.add", policy="x" * 70_000)
    assert client.status() == {"enforcing": True} and fake.methods() == ["status"]


@pytest.mark.parametrize(
    ("call", "method", "params"),
    [
        (lambda c: c.reload(), "reload", {}),
        (lambda c: c.reload(60), "reload", {"confirm": 60}),
        (lambda c: c.confirm(), "confirm", {}),
        (lambda c: c.version(), "version", {}),
        (lambda c: c.schema(), "schema", {}),
        (lambda c: c.counters(), "counters", {}),
        (lambda c: c.explain("input", "tcp", "192.0.2.1", "192.0.2.2:80", mark=0), "explain",
         {"hook": "input", "protocol": "tcp", "source": "192.0.2.1", "destination": "192.0.2.2:80", "mark": 0}),
        (lambda c: c.explain_data("input", b"\x45\x00", length=9), "explain",
         {"hook": "input", "data": "4500", "length": 9}),
        (lambda c: c.why(port=80, since=5.0), "why", {"port": 80, "since": 5.0}),
        (lambda c: c.events.last(), "events.last", {}),
        (lambda c: c.events.reopen(), "events.reopen", {}),
        (lambda c: c.session.open(name="s", dynamic=True), "session.open", {"name": "s", "dynamic": True}),
        (lambda c: c.session.close(), "session.close", {}),
        (lambda c: c.providers.add({"name": "p"}), "providers.add", {"provider": {"name": "p"}}),
        (lambda c: c.sublayers.add({"name": "s", "weight": 1}), "sublayers.add",
         {"sublayer": {"name": "s", "weight": 1}}),
        (lambda c: c.provider_contexts.add({"name": "x"}), "provider_contexts.add",
         {"provider_context": {"name": "x"}}),
        (lambda c: c.callouts.add({"name": "c", "use": "m:f"}), "callouts.add",
         {"callout": {"name": "c", "use": "m:f"}}),
        (lambda c: c.callouts.delete("k"), "callouts.delete", {"keys": ["k"]}),
        (lambda c: c.filters.add({"name": "f"}, for_=5), "filters.add", {"filter": {"name": "f"}, "for": 5}),
        (lambda c: c.filters.add(policy="version: 1"), "filters.add", {"policy": "version: 1"}),
        (lambda c: c.filters.delete("k", "l"), "filters.delete", {"keys": ["k", "l"]}),
        (lambda c: c.sets.get("s", size=3), "sets.get", {"name": "s", "size": 3}),
        (lambda c: c.stage.start("/etc/p.yaml"), "stage.start", {"path": "/etc/p.yaml"}),
        (lambda c: c.stage.start("/p", sample=4, answers={"c": "block"}, seconds=60), "stage.start",
         {"path": "/p", "sample": 4, "answers": {"c": "block"}, "for": 60}),
        (lambda c: c.stage.status(), "stage.status", {}),
        (lambda c: c.stage.stop(), "stage.stop", {}),
    ],
)  # fmt: skip
def test_each_method_sends_what_it_says(fake: Fake, client: Client, call, method: str, params: dict) -> None:
    fake.on(method, {"x": 1})
    call(client)
    assert fake.asked[1:] == [(method, params)]


def test_what_is_one_object_or_one_list_comes_without_its_wrapping(fake: Fake, client: Client) -> None:
    for plural in ("providers", "sublayers", "provider_contexts", "callouts", "filters"):
        fake.on(f"{plural}.get", {"object": {"key": "k", "name": plural}})
        assert getattr(client, plural).get("k") == {"key": "k", "name": plural}
    fake.on("layers.list", {"objects": [{"name": "l"}]})
    fake.on("sets.list", {"objects": [{"name": "s"}]})
    fake.on("sessions.list", {"sessions": [{"key": "k"}]})
    assert [client.layers.list(), client.sets.list(), client.sessions.list()] == [
        [{"name": "l"}], [{"name": "s"}], [{"key": "k"}]]  # fmt: skip


def test_a_list_is_all_pages_of_one_snapshot(fake: Fake, client: Client) -> None:
    fake.on("filters.list", {"objects": [1, 2], "cursor": "c1", "total": 5},
            {"objects": [3, 4], "cursor": "c2", "total": 5}, {"objects": [5], "cursor": None, "total": 5})  # fmt: skip
    assert list(client.filters.list(page=2, layer="ipforward_v4")) == [1, 2, 3, 4, 5]
    assert [params for _, params in fake.asked[1:]] == [
        {"size": 2, "template": {"layer": "ipforward_v4"}}, {"size": 2, "cursor": "c1"},
        {"size": 2, "cursor": "c2"}]  # fmt: skip


def test_a_list_that_is_left_early_lets_its_snapshot_go(fake: Fake, client: Client) -> None:
    fake.on("flows.list", {"objects": [1, 2], "cursor": "c1", "total": 5})
    fake.on("flows.close", {})
    pages = client.flows.list()
    assert next(pages) == 1
    pages.close()
    assert fake.asked[-1] == ("flows.close", {"cursor": "c1"})


def test_a_transaction_commits_and_knows_its_generation(fake: Fake, client: Client) -> None:
    fake.on("transaction.begin", {})
    fake.on("transaction.commit", {"generation": 7})
    with client.transaction() as transaction:
        assert transaction.generation is None
    with client.transaction(read_only=True):
        pass
    assert transaction.generation == 7
    assert [call for call in fake.asked if call[1]][1:] == [("transaction.begin", {"read_only": True})]
    assert fake.methods() == ["transaction.begin", "transaction.commit"] * 2


@pytest.mark.parametrize("fails", ["body", "commit", "abort"])
def test_an_exception_aborts_the_transaction_and_is_the_one_that_comes_out(
    fake: Fake, client: Client, fails: str
) -> None:
    fake.on("transaction.begin", {})
    fake.on("transaction.commit", refusal(-32010, "the commit failed") if fails == "commit" else {"generation": 1})
    fake.on("transaction.abort", refusal(-32010, "the abort failed") if fails == "abort" else {})

    def change() -> None:
        with client.transaction():
            if fails != "commit":
                raise KeyError

    with pytest.raises(Refused if fails == "commit" else KeyError):
        change()
    assert fake.methods()[-1] == "transaction.abort"


def test_changes_come_to_their_subscription_even_before_its_answer(fake: Fake, client: Client) -> None:
    fake.on("changes.subscribe", lambda params: fake.say("change", subscription=4, key="early")
            or {"subscription": 4})  # fmt: skip
    fake.on("changes.unsubscribe", {})
    fake.on("status", lambda params: fake.say("change", subscription=4, key="later") or {"enforcing": True})
    with client.changes(["filters"], on_delete=False) as changes:
        assert client.status()["enforcing"]
        assert [next(changes)["key"], next(changes)["key"]] == ["early", "later"] and changes.lost == 0
    assert fake.asked[1][1] == {"types": ["filters"], "on_add": True, "on_delete": False}
    assert fake.asked[-1] == ("changes.unsubscribe", {"subscription": 4})


def test_events_come_until_the_connection_ends(fake: Fake, client: Client) -> None:
    fake.on("events.subscribe", lambda params: fake.say("event", event_type="drop") or {"subscribed": True})
    events = client.events()
    fake.close()
    assert list(events) == [{"event_type": "drop"}]


def test_with_the_real_server(tmp_path) -> None:
    hub = Hub()
    methods = {"status": Method(Role.READ, lambda params, peer: {"enforcing": True, "text": "x" * 5_000_000}),
               "confirm": Method(Role.OPERATE, lambda params, peer: 1 / 0)}  # fmt: skip
    server = AdminServer(str(tmp_path / "real.sock"), methods, Roles(), hub=hub)
    server.start()
    try:
        with Client(server._path, timeout=10) as client:
            assert len(client.status()["text"]) == 5_000_000
            with pytest.raises(DaemonFault):
                client.confirm()
            with pytest.raises(InvalidCall, match="no method"):
                client.counters()
            events = client.events()
            timer = threading.Timer(0.1, hub.write, (EventRecord(0, "block"), b'{"event_type":"drop"}\n'))
            timer.start()
            assert next(events) == {"event_type": "drop"}
            assert client.status()["enforcing"]
            timer.join()
    finally:
        server.close()
