"""Sessions, transactions and ends by the clock, on real packets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.netns import Network, wait_until
from tests.integration.running import Wfpd
from wfpd.client import Client, Refused

pytestmark = pytest.mark.usefixtures("needs_root")
MOST_GROWTH = 48
"""MiB of the daemon, by the largest transaction (docs/engine.md)."""
BASE = "  - {name: all, layer: ipforward, action: permit}"
HOLDER = """
import sys
from wfpd.client import Client

client = Client(sys.argv[1])
client.session.open(dynamic=True, name="agent")
client.filters.add({"name": "agent", "layer": "ipforward_v4", "action": "block", "weight": {"range": 15}})
client.call("transaction.begin")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def wfpd(net: Network, tmp_path: Path) -> Wfpd:
    made = Wfpd(net, tmp_path)
    made.write(BASE)
    made.start()
    return made


@pytest.fixture
def client(wfpd: Wfpd) -> Iterator[Client]:
    with Client(str(wfpd.socket), timeout=30) as made:
        yield made


@pytest.fixture
def passes(net: Network) -> Iterator[Callable[[], bool]]:
    """Whether five datagrams come through: all of them or none."""
    with net.udp_receiver(net.server, 5000) as received:

        def passing() -> bool:
            before = received.count
            net.send_udp(net.client, 5, 16, 5000)
            if wait_until(lambda: received.count > before, 0.5, 0.01):
                received.wait_for(before + 5)
            assert received.count - before in (0, 5)
            return received.count > before

        yield passing


def blocking(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "layer": "ipforward_v4", "action": "block", "weight": {"range": 15}, **more}


@contextmanager
def holder(wfpd: Wfpd) -> Iterator[subprocess.Popen[str]]:
    """A process with a dynamic session that has a filter and an open transaction."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(wfpd.socket)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def test_a_transaction_is_in_force_from_its_commit_on(client: Client, passes: Callable[[], bool]) -> None:
    assert passes()
    with client.transaction():
        client.filters.add(blocking("a"))
        client.filters.add(blocking("b"))
        assert passes()
    assert not passes()
    with client.transaction():
        client.filters.delete(*[one["key"] for name in "ab" for one in client.filters.list(name=name)])
        assert not passes()
    assert passes()


def test_a_dynamic_sessions_filters_go_with_its_process(
    wfpd: Wfpd, client: Client, passes: Callable[[], bool]
) -> None:  # fmt: skip
    with holder(wfpd) as process:
        assert not passes()
        (agent,) = [one for one in client.sessions.list() if one["name"] == "agent"]
        assert (agent["pid"], agent["dynamic"], agent["transaction"]) == (process.pid, True, "write")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not list(client.filters.list(name="agent")), 5)
    assert passes()
    client.filters.add(blocking("b"))  # The dead one's turn to write has ended.
    assert not passes()


def test_a_holder_that_does_nothing_keeps_writers_out_and_nobody_else(
    wfpd: Wfpd, passes: Callable[[], bool]
) -> None:  # fmt: skip
    with holder(wfpd) as process, Client(str(wfpd.socket), timeout=30) as other:
        os.kill(process.pid, signal.SIGSTOP)
        other.session.open(txn_wait_timeout=0.2)
        with pytest.raises(Refused) as caught:
            other.filters.add(blocking("b"))
        assert caught.value.error == "FWP_E_TIMEOUT"
        assert f"pid {process.pid}" in caught.value.hint
        with other.transaction(read_only=True):
            assert {one["name"] for one in other.filters.list(layer="ipforward_v4")} == {"agent", "all"}
        assert other.status()["enforcing"]
        wfpd.write(BASE + "\n  - {name: more, layer: ipforward, action: permit}")
        assert other.reload()["successful"]
        assert not passes()
        os.kill(process.pid, signal.SIGCONT)
        process.kill()
        process.wait()
        assert wait_until(lambda: not list(other.filters.list(name="agent")), 10)
        assert passes()


def test_a_filter_ends_by_the_clock(wfpd: Wfpd, client: Client, passes: Callable[[], bool]) -> None:
    options = "--name short --layer ipforward_v4 --action block --weight range:15 --for 2s ip_protocol=udp".split()
    command = [sys.executable, "-m", "wfpd", "filters", "add", "--socket", str(wfpd.socket), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    began = time.monotonic()
    (added,) = json.loads(done.stdout)["filters"]
    assert 0 < client.filters.get(added["key"])["expires"] - time.time() < 3
    assert not passes()
    assert wait_until(lambda: not list(client.filters.list(name="short")), 10)
    assert time.monotonic() - began > 1
    assert passes()


def test_a_reload_leaves_what_sessions_added(wfpd: Wfpd, client: Client, passes: Callable[[], bool]) -> None:
    client.providers.add({"name": "acme"})
    client.sublayers.add({"name": "acme", "weight": 0x9100, "provider": "acme"})
    client.filters.add(blocking("a", sublayer="acme", provider="acme"))
    wfpd.write("  - {name: other, layer: ipforward, action: permit}")
    assert client.reload()["successful"]
    assert not passes()
    found = {one["name"]: one["lifetime"] for one in client.filters.list(layer="ipforward_v4")}
    assert found == {"a": "static", "other": "file"}
    with pytest.raises(Refused, match="FWP_E_IN_USE"):
        client.sublayers.delete(next(one["key"] for one in client.sublayers.list(name="acme")))


def test_others_changes_are_told(wfpd: Wfpd, client: Client) -> None:
    with Client(str(wfpd.socket), timeout=30) as subscriber:
        changes = subscriber.changes(types=["filters"])
        client.filters.add(blocking("a"))
        told = next(iter(changes))
        assert (told["change"], told["type"], told["name"]) == ("add", "filters", "a")
        wfpd.write("  - {name: other, layer: ipforward_v4, action: permit}")
        assert client.reload()["successful"]
        told = [next(iter(changes)) for _ in range(3)]
        assert {(one["change"], one["name"]) for one in told} == {("delete", "all"), ("add", "other")}


def test_hits_and_the_time_of_the_last_one_are_shown(client: Client, net: Network, passes: Callable[[], bool]) -> None:
    assert passes()
    key = next(one["key"] for one in client.filters.list(name="all", layer="ipforward_v4"))
    assert wait_until(lambda: client.filters.get(key)["last_hit"] is not None, 5)
    shown = client.filters.get(key)
    assert shown["hits"] == 5
    assert abs(shown["last_hit"] - time.time()) < 10
    (hottest,) = client.counters()["filters"]
    assert (hottest["name"], hottest["hits"]) == ("all", 5)
    assert hottest["last_hit"] == shown["last_hit"]


def test_every_listing_answers_as_the_schema_says(wfpd: Wfpd, client: Client, passes: Callable[[], bool]) -> None:
    client.filters.add(blocking("a", key="11111111-2222-4333-8444-555555555555", layer="ipforward_v6"))
    assert passes()
    for name in ("providers", "sublayers", "provider_contexts", "callouts", "filters", "layers", "sets", "flows"):
        assert isinstance(wfpd.call(f"{name}.list")["objects"], list)
    assert wfpd.call("sessions.list")["sessions"]


def _memory(wfpd: Wfpd) -> int:
    """Of the daemon, in MiB."""
    assert wfpd.process is not None
    text = Path(f"/proc/{wfpd.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) // 1024


def test_a_huge_transaction_is_bounded_and_nobody_waits_for_it(
    wfpd: Wfpd, client: Client, passes: Callable[[], bool]
) -> None:  # fmt: skip
    """docs/engine.md states the bound of its filters, docs/control.md that of what it holds."""
    before, answered, n_added, refused = _memory(wfpd), [], 0, ""
    with Client(str(wfpd.socket), timeout=60) as hostile:
        hostile.call("transaction.begin")
        while not refused:
            entries = [blocking(f"f{n_added + number}", when={"ip_destination_port": number}) for number in range(256)]
            try:
                hostile.filters.add(policy=json.dumps({"version": 1, "filters": entries}))
                n_added += len(entries)
            except Refused as error:
                refused = error.error
            began = time.monotonic()
            assert client.status()["enforcing"]
            answered.append(time.monotonic() - began)
        grown = _memory(wfpd) - before
    assert (refused, n_added) == ("FWP_E_OUT_OF_BOUNDS", 16_384)
    assert sorted(answered)[len(answered) // 2] < 0.1
    assert grown < MOST_GROWTH, grown
    assert passes()
    assert not list(client.filters.list(name="f0"))
