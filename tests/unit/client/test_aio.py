import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.unit.client.fake import Fake, faked, line_of, refusal
from wfpd.client import AsyncClient, Client, ControlError, Refused, _aio, _sync
from wfpd.control.admin import AdminServer, Method, Roles
from wfpd.control.protocol import Role
from wfpd.errors import UsageError


@pytest.fixture
def fake(tmp_path) -> Iterator[Fake]:
    with faked(tmp_path / "c.sock") as fake:
        yield fake


def run(path: str, talk: Callable[[AsyncClient], Awaitable[object]], timeout: float = 5.0) -> None:
    """`talk` with a connected client."""

    async def main() -> None:
        async with AsyncClient(path, timeout) as client:
            await asyncio.wait_for(talk(client), 20)

    asyncio.run(main())


PARTS = [name for name, part in vars(_sync).items() if inspect.isclass(part) and part.__module__ == _sync.__name__]


@pytest.mark.parametrize("name", [name for name in PARTS if name not in ("Client", "Transaction")])
def test_both_clients_have_the_same_methods_with_the_same_parameters(name: str) -> None:
    both = [getattr(module, name) for module in (_sync, _aio)]
    _same(*both)


def test_both_clients_are_the_same_at_the_top() -> None:
    _same(Client, AsyncClient, also={"connect"})


def _same(one: type, other: type, also: frozenset[str] | set[str] = frozenset()) -> None:
    names = [{name for name in vars(kind) if not name.startswith("_")} for kind in (one, other)]
    assert names[0] == names[1] - also
    for name in names[0]:
        mine, theirs = (vars(kind)[name] for kind in (one, other))
        if callable(mine):
            assert inspect.signature(mine).parameters == inspect.signature(theirs).parameters, name


def test_without_a_daemon_the_error_says_where_it_looked_and_before_connecting_what_to_do(tmp_path) -> None:
    with pytest.raises(ControlError, match="cannot reach wfpd at"):
        asyncio.run(AsyncClient(str(tmp_path / "none")).connect())
    with pytest.raises(ControlError, match="not connected"):
        asyncio.run(AsyncClient(str(tmp_path / "none")).status())


def test_a_refused_hello_is_a_control_error(fake: Fake) -> None:
    fake.on("hello", refusal(-32001, "no role"))
    with pytest.raises(ControlError, match="no role"):
        run(fake.path, lambda client: client.status())


def test_calls_at_once_get_their_own_answers_whatever_the_order(tmp_path) -> None:
    async def talk(client: AsyncClient) -> None:
        numbers = await asyncio.gather(*(client.call("echo", n=n) for n in range(200)))
        assert [one["n"] for one in numbers] == list(range(200))

    methods = {"echo": Method(Role.READ, lambda params, peer: dict(params), parameters=frozenset({"n"}))}
    server = AdminServer(str(tmp_path / "real.sock"), methods, Roles())
    server.start()
    try:
        run(server._path, talk)
    finally:
        server.close()


def test_answers_out_of_order_are_told_apart(fake: Fake) -> None:
    late: list[bytes] = []

    def hold(params: dict) -> bytes:
        late.append(line_of({"id": 1 + len(late) + 1, "result": params["n"]}))
        return b"" if len(late) < 3 else b"".join(reversed(late))

    async def talk(client: AsyncClient) -> None:
        assert await asyncio.gather(*(client.call("x", n=n) for n in "abc")) == ["a", "b", "c"]

    fake.on("x", hold)
    run(fake.path, talk)


def test_a_cancelled_call_leaves_the_connection_as_it_was(tmp_path) -> None:
    def slow(params: object, peer: object) -> object:
        time.sleep(0.2)
        return {"slow": True}

    async def talk(client: AsyncClient) -> None:
        for _ in range(3):
            task = asyncio.create_task(client.call("slow"))
            other = asyncio.create_task(client.version())
            await asyncio.sleep(0.05)
            task.cancel()
            assert (await other)["protocol"] == 1
            assert (await client.version())["protocol"] == 1
            assert task.cancelled()
        assert not client._pending

    server = AdminServer(str(tmp_path / "real.sock"), {"slow": Method(Role.READ, slow)}, Roles())
    server.start()
    try:
        run(server._path, talk)
    finally:
        server.close()


def test_a_call_that_takes_too_long_is_a_control_error_and_others_go_on(fake: Fake) -> None:
    async def talk(client: AsyncClient) -> None:
        with pytest.raises(ControlError, match="does not answer: version"):
            await client.version()
        assert await client.status() == {"enforcing": True}

    fake.on("version", b"")
    fake.on("status", {"enforcing": True})
    run(fake.path, talk, timeout=0.2)


@pytest.mark.parametrize("answer", [b"garbage\n", b'{"jsonrpc":"2.0","id":null,"result":1}\n'])
def test_garbage_fails_every_call_that_waits_and_all_later_ones(fake: Fake, answer: bytes) -> None:
    async def talk(client: AsyncClient) -> None:
        found = await asyncio.gather(client.version(), client.status(), return_exceptions=True)
        assert all(isinstance(one, ControlError) for one in found), found
        with pytest.raises(ControlError):
            await client.status()

    fake.on("version", b"")
    fake.on("status", answer)
    run(fake.path, talk)


def test_a_refusal_and_what_cannot_be_sent_leave_the_connection(fake: Fake) -> None:
    async def talk(client: AsyncClient) -> None:
        with pytest.raises(Refused, match="in use") as raised:
            await client.sublayers.delete("k")
        assert raised.value.error == "FWP_E_IN_USE"
        with pytest.raises(UsageError):
            await client.filters.add(policy="x" * 70_000)
        assert await client.status() == {"enforcing": True}

    fake.on("sublayers.delete", refusal(-32010, "in use", error="FWP_E_IN_USE", code=2150760458))
    fake.on("status", {"enforcing": True})
    run(fake.path, talk)


def test_a_list_is_all_pages_and_left_early_lets_its_snapshot_go(fake: Fake) -> None:
    async def talk(client: AsyncClient) -> None:
        assert [one async for one in client.filters.list(page=1, layer="ipforward_v4")] == [1, 2]
        pages = client.filters.list()
        assert await anext(pages) == 3
        await pages.aclose()

    fake.on("filters.list", {"objects": [1], "cursor": "a"}, {"objects": [2], "cursor": None},
            {"objects": [3], "cursor": "b"})  # fmt: skip
    fake.on("filters.close", {})
    run(fake.path, talk)
    assert fake.asked[1:] == [
        ("filters.list", {"size": 1, "template": {"layer": "ipforward_v4"}}),
        ("filters.list", {"size": 1, "cursor": "a"}), ("filters.list", {"size": 500}),
        ("filters.close", {"cursor": "b"})]  # fmt: skip


async def _commit(client: AsyncClient) -> None:
    async with client.transaction() as transaction:
        await client.filters.delete("k")
    assert transaction.generation == 7


async def _fail(client: AsyncClient) -> None:
    async with client.transaction():
        raise KeyError


def test_a_transaction_commits_and_an_exception_or_a_cancelled_task_aborts_it(fake: Fake) -> None:
    async def talk(client: AsyncClient) -> None:
        await _commit(client)
        with pytest.raises(KeyError):
            await _fail(client)
        fake.on("filters.delete", b"")
        fake.on("transaction.begin", {}, b"")
        for last in ("filters.delete", "transaction.begin"):
            task = asyncio.create_task(_commit(client))
            while fake.methods()[-1] != last:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.status()
            assert fake.methods()[-2:] == ["transaction.abort", "status"]

    fake.on("transaction.begin", {})
    fake.on("transaction.commit", {"generation": 7})
    fake.on("transaction.abort", {})
    fake.on("filters.delete", {})
    fake.on("status", {"enforcing": True})
    run(fake.path, talk)
    begun, deleted, aborted = "transaction.begin", "filters.delete", "transaction.abort"
    assert fake.methods() == [begun, deleted, "transaction.commit", begun, aborted,
                              begun, deleted, aborted, "status", begun, aborted, "status"]  # fmt: skip


def test_changes_and_events_come_to_who_asked_until_the_connection_ends(fake: Fake) -> None:
    async def talk(client: AsyncClient) -> None:
        events = await client.events()
        async with await client.changes(["filters"]) as changes:
            assert [(await anext(changes))["key"], (await anext(changes))["key"]] == ["early", "later"]
        fake.say("event", n=2)
        fake.close()
        assert [one async for one in events] == [{"n": 1}, {"n": 2}]

    def subscribed(params: dict) -> bytes:
        fake.say("change", subscription=4, key="early")
        fake.say("event", n=1)
        later = {"method": "change", "params": {"subscription": 4, "key": "later"}}
        return line_of({"id": len(fake.asked), "result": {"subscription": 4}}) + line_of(later)

    fake.on("events.subscribe", {"subscribed": True})
    fake.on("changes.subscribe", subscribed)
    fake.on("changes.unsubscribe", {})
    run(fake.path, talk)
