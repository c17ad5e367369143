"""A live engine on queues of the router, with iptables rules in front: what tests of the loop share."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netfilterqueue import NetfilterQueue

from tests.integration.netns import Namespace, wait_until
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._socket import configure_queue
from wfpd.dataplane._table import Snapshot
from wfpd.model.policy import Word

ACCEPT, DROP = 1, 0
CallBack = Callable[[Any], None]


def snapshot_of(
    directory: Path,
    filters: str,
    *,
    callouts: dict[str, Callable[[Any], None] | None] | dict[str, Callable[[Any], None]] | None = None,
    faults: str = "{}",
    generation: int = 1,
    previous: Snapshot | None = None,
    audit: bool = False,
) -> Snapshot:
    """A compiled policy of the given filters; `callouts` are functions by name."""
    callouts = callouts or {}
    lines = [
        "version: 1",
        f"faults: {faults}",
        "sublayers: [{name: first, weight: 0x9000}, {name: last, weight: 0x100}]",
    ]
    if callouts:
        lines.append("callouts: [" + ", ".join(f"{{name: {name}}}" for name in callouts) + "]")
    path = directory / "policy.yaml"
    path.write_text("\n".join(lines) + f"\nfilters:\n{filters}\n")
    policy = load_policy(path)
    words = {name: getattr(policy.faults, name) for name in ("on_error", "on_malformed", "on_late")}
    return Snapshot(
        pack(policy),
        [callouts[one.name] for one in policy.callouts],
        generation=generation,
        previous=previous,
        flows_full=Word.PERMIT,
        audit=audit,
        **words,
    )


def bind(space: Namespace, number: int, callback: CallBack | None = None, length: int = 1024) -> NetfilterQueue:
    """A bound queue; the library's own callback accepts by default."""
    queue: NetfilterQueue = space.call(NetfilterQueue)  # Opens its socket: it belongs to the namespace.
    space.call(queue.bind, number, callback or (lambda packet: packet.accept()), max_len=length)
    return queue


def queue_rule(space: Namespace, number: int, *match: str, chain: str = "FORWARD", options: Sequence[str] = ()) -> None:
    """Append an NFQUEUE rule in mangle."""
    space.run(["iptables", "-t", "mangle", "-A", chain, *match, "-j", "NFQUEUE", "--queue-num", str(number), *options])


@dataclass
class Live:
    """An engine with its threads and queues."""

    engine: Engine
    queues: list[NetfilterQueue] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def add(
        self,
        space: Namespace,
        number: int,
        worker: int = 0,
        *,
        hook: str = "forward",
        length: int = 1024,
        copy_bytes: int = 65531,
        fail_open: bool = False,
        error_verdict: int = DROP,
        callback: CallBack | None = None,
    ) -> dict[str, Any]:
        """Bind, configure and hand over one queue."""
        queue = bind(space, number, callback, length)
        self.queues.append(queue)
        set_up = configure_queue(
            queue.get_fd(),
            number,
            length=length,
            copy_bytes=copy_bytes,
            fail_open=fail_open,
            error_verdict=error_verdict,
        )
        self.engine.add_queue(number, worker, queue.get_fd(), hook)
        return set_up

    def add_parking(self, space: Namespace, number: int, capacity: int = 64, memory: int = 32 << 20) -> None:
        """Bind the parking queue and start its thread."""
        queue = bind(space, number, length=capacity)
        self.queues.append(queue)
        configure_queue(
            queue.get_fd(), number, length=capacity, copy_bytes=128, fail_open=False, error_verdict=DROP
        )  # fmt: skip
        self.engine.add_parking(number, queue.get_fd(), capacity=capacity, memory=memory)
        self._thread(self.engine.run_parking)

    def start(self) -> None:
        """One thread a worker."""
        for index in range(self.engine.n_workers):
            self._thread(self.engine.run_worker, index)

    def _thread(self, serve: Callable[..., None], *arguments: int) -> None:
        thread = threading.Thread(target=self._work, args=(serve, *arguments), daemon=True)
        thread.start()
        self.threads.append(thread)

    def _work(self, serve: Callable[..., None], *arguments: int) -> None:
        try:
            serve(*arguments)
        except BaseException as error:  # looked at by the test
            self.failures.append(error)

    def stop(self, drain: float = 2.0) -> None:
        """End the workers; raises what they raised."""
        self.engine.stop(drain=drain)
        for thread in self.threads:
            thread.join(drain + 5)
            assert not thread.is_alive()
        for queue in self.queues:
            queue.unbind()
        self.queues.clear()
        if self.failures:
            raise self.failures[0]

    def count(self, queue: int, verdict: str) -> int:
        """Packets of a queue that got this verdict."""
        packets: int = self.engine.counters()["queues"][queue]["packets"][verdict]
        return packets

    def wait_for(self, queue: int, total: int, timeout: float = 3.0) -> bool:
        """True once `total` packets of the queue are decided."""
        return wait_until(lambda: self.count(queue, "permit") + self.count(queue, "block") >= total, timeout)


@contextlib.contextmanager
def live(engine: Engine, snapshot: Snapshot) -> Iterator[Live]:
    """The engine with this policy; ends its workers and unbinds its queues."""
    engine.swap(snapshot)
    running = Live(engine)
    try:
        yield running
    finally:
        running.stop()


def proc_queue(space: Namespace, number: int) -> dict[str, int]:
    """The kernel's line about a queue."""
    names = ("number", "port", "waiting", "mode", "range", "queue_dropped", "user_dropped", "id_sequence", "use")
    text = space.call(Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text)
    for line in text.splitlines():
        values = dict(zip(names, map(int, line.split()), strict=True))
        if values["number"] == number:
            return values
    raise LookupError(number)


def wait_queue(space: Namespace, number: int, name: str, value: int) -> bool:
    """True once the kernel's line shows this value: what was sent is dealt with in its own time."""
    return wait_until(lambda: proc_queue(space, number)[name] == value)


@contextlib.contextmanager
def monitor(engine: Engine, seconds: float = 0.01) -> Iterator[None]:
    """A thread that enforces on_late."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            engine.enforce_late()
            time.sleep(seconds)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def blocked_port(port: int, **more: str) -> str:
    """A filter that blocks one destination port at ipforward."""
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        "  - {name: blocked, layer: ipforward_v4, action: block, "
        f"when: {{ip_destination_port: {port}, ip_protocol: udp}}{extra}}}"
    )


def all_to_callout(name: str = "watch", kind: str = "terminating", **more: str) -> str:
    """A filter that asks a callout about every forwarded UDP packet."""
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        f"  - {{name: asked, layer: ipforward_v4, action: {{callout: {name}, kind: {kind}}}, "
        f"when: {{ip_protocol: udp}}{extra}}}"
    )
