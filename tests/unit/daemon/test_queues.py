"""Binding a queue, and waiting until what it holds is decided."""

from __future__ import annotations

import pathlib
import time
from types import SimpleNamespace
from typing import Any

import pytest

from wfpd.daemon import queues
from wfpd.daemon.queues import BoundQueue
from wfpd.dataplane import Engine
from wfpd.errors import KernelError
from wfpd.netfilter import proc
from wfpd.netfilter.proc import QueueStatus


def test_a_length_of_zero_is_refused_because_it_drops_everything() -> None:
    with pytest.raises(KernelError, match="length of 0"):
        BoundQueue(9, fail_open=True, error_permits=True, copy_bytes=2048, length=0)


@pytest.mark.parametrize(
    ("table", "message"),
    [(None, "no NFQUEUE"), ("    7  1234 0 2 65535 0 0 1  1\n", "taken by another program"), ("", "cannot be bound")],
)
def test_a_refused_bind_says_what_it_means(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, table: str | None, message: str
) -> None:
    path = tmp_path / "nfnetlink_queue"
    if table is not None:
        path.write_text(table)
    monkeypatch.setattr(queues, "NFNETLINK_QUEUE", path)
    assert message in queues._bind_error(7, OSError("Failed to create queue 7")).message


def settled_with(monkeypatch: pytest.MonkeyPatch, *, decided_through: int, mark: int, waiting: int | None) -> bool:
    status = {} if waiting is None else {3: QueueStatus(3, 1, waiting, "packet", 65535, 0, 0, mark)}
    monkeypatch.setattr(proc, "queues", lambda: status)
    return queues.settled(lambda number: decided_through, 3, mark, time.monotonic())


def test_ids_are_compared_signed_over_their_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled_with(monkeypatch, decided_through=5, mark=0xFFFFFFF0, waiting=9)
    assert not settled_with(monkeypatch, decided_through=0xFFFFFFF0, mark=5, waiting=9)


def test_a_queue_whose_last_ids_were_lost_is_settled_once_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled_with(monkeypatch, decided_through=90, mark=100, waiting=0)
    assert settled_with(monkeypatch, decided_through=90, mark=100, waiting=None)
    assert not settled_with(monkeypatch, decided_through=90, mark=100, waiting=1)


@pytest.mark.parametrize(("numbers", "others", "number"), [
    ((3, 4), (5, 0), 6), ((65535,), (0, 1), 2), ((0, 65534), (65535,), 1)
])  # fmt: skip
def test_the_parking_queue_is_the_first_free_one_above_the_others_or_of_all(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], others: tuple[int, ...], number: int
) -> None:
    copied: list[int] = []

    def bound(number: int, *, copy_bytes: int, **_: object) -> Any:
        copied.append(copy_bytes)
        return SimpleNamespace(number=number, fd=0)

    monkeypatch.setattr(queues, "BoundQueue", bound)
    monkeypatch.setattr(proc, "queues", lambda: dict.fromkeys(others))
    made = queues.QueueSet(Engine(1), numbers)
    settings = SimpleNamespace(pended_max=4, pended_memory=1000)
    faults: Any = SimpleNamespace(on_full=None, on_error=None)
    made.bind(faults, whole=False)
    made.open_parking(faults, settings)  # type: ignore[arg-type]
    assert made.parks and made.all_numbers == (*numbers, number)
    assert copied[-1] >= 1500  # What is alike in as much is one packet to whoever looks for it.


def test_a_parking_queue_that_the_engine_has_no_memory_for_is_let_go_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[int] = []
    monkeypatch.setattr(queues, "BoundQueue", lambda number, **words: SimpleNamespace(
        number=number, fd=0, close=lambda: closed.append(number)))  # fmt: skip
    monkeypatch.setattr(proc, "queues", dict)
    engine = Engine(1)
    made, faults = queues.QueueSet(engine, (3,)), SimpleNamespace(on_full=None, on_error=None)
    made.bind(faults, whole=False)  # type: ignore[arg-type]
    add, fails = engine.add_parking, [MemoryError()]

    class Failing:
        def add_parking(self, *args: int, **words: int) -> None:
            if fails:
                raise fails.pop()
            add(*args, **words)

    made._engine = Failing()  # type: ignore[assignment]
    settings: Any = SimpleNamespace(pended_max=4, pended_memory=1000)
    with pytest.raises(MemoryError):
        made.open_parking(faults, settings)  # type: ignore[arg-type]
    assert (closed, made.parks, made.all_numbers) == ([4], False, (3,))
    made.open_parking(faults, settings)  # type: ignore[arg-type]
    assert (closed, made.all_numbers) == ([4], (3, 4))
