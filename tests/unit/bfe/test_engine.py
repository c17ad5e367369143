"""The policy file as one party among others, and filters that end by the clock."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bfe.engines import Engine, blocking, key_of, refused, said
from wfpd.bfe import Kind
from wfpd.bfe.engine import boottime
from wfpd.errors import KernelError


@pytest.fixture
def engine() -> Engine:
    return Engine()


FILE = "sublayers: [{name: perimeter, weight: 9}]\nfilters: [{name: f, layer: ipforward_v4, action: block}]\n"


def test_a_reload_replaces_the_files_objects_as_a_whole_and_touches_no_others(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, FILE + "providers: [{name: old}]\n")
    session = engine.open()
    session.add_text(said(providers=[{"name": "acme"}], filters=[blocking("a", provider="acme")]))
    before = {one["name"]: one["id"] for one in session.list(Kind.SUBLAYER, {}, 9).objects}
    engine.load(tmp_path, "sublayers: [{name: perimeter, weight: 10}]\nfilters: []\n")
    assert engine.names() == {"a"}
    assert {one["name"] for one in session.list(Kind.PROVIDER, {}, 9).objects} == {"file", "acme"}
    found = {one["name"]: one for one in session.list(Kind.SUBLAYER, {}, 9).objects}
    assert found["perimeter"]["weight"] == 10
    assert found["perimeter"]["id"] == before["perimeter"]


def test_an_object_of_the_file_stays_while_others_refer_to_it(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, FILE)
    session = engine.open()
    key = uuid.UUID(session.add_text(said(filters=[blocking("a", sublayer="perimeter")])).objects[0]["key"])
    engine.load(tmp_path, "filters: []\n")
    assert session.list(Kind.SUBLAYER, {"name": "perimeter"}, 9).total == 1
    session.delete(Kind.FILTER, [key])
    engine.load(tmp_path, "filters: []\n")
    assert session.list(Kind.SUBLAYER, {"name": "perimeter"}, 9).total == 0


def test_a_filter_whose_key_the_file_has_now_is_the_files(engine: Engine, tmp_path: Path) -> None:
    session, key = engine.open(dynamic=True), str(uuid.uuid4())
    session.add_text(said(filters=[blocking("a", key=key)]))
    del engine.ground.filters[uuid.UUID(key).bytes]  # The tables take the file's, as docs/semantics.md says.
    engine.load(tmp_path, f"filters: [{{name: a, key: {key}, layer: ipforward_v4, action: block}}]\n")
    assert session.get(Kind.FILTER, uuid.UUID(key))["lifetime"] == "file"
    session.end()
    assert engine.names() == {"a"}


def test_a_reload_does_not_wait_for_a_transaction_which_still_commits(engine: Engine, tmp_path: Path) -> None:
    writer = engine.open()
    writer.begin()
    writer.add_text(said(filters=[blocking("a")]))
    engine.load(tmp_path, FILE)
    assert engine.names() == {"f"}
    writer.commit()
    assert engine.names() == {"a", "f"}


def test_a_transaction_that_names_what_a_reload_took_away_fails_at_its_commit(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, FILE)
    writer = engine.open()
    writer.begin()
    writer.add_text(said(filters=[blocking("a", sublayer="perimeter")]))
    engine.load(tmp_path, "filters: []\n")
    with refused("FWP_E_SUBLAYER_NOT_FOUND"):
        writer.commit()
    assert not engine.names()


def test_subscribers_are_told_what_a_reload_changed(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, FILE)
    told: list[Any] = []
    engine.open().subscribe(lambda notice: told.append(notice) or True)
    engine.load(tmp_path, FILE)
    assert not told
    engine.load(
        tmp_path, "sublayers: [{name: other, weight: 3}]\nfilters: [{name: g, layer: ipforward_v4, action: block}]\n"
    )
    assert {(one["change"], one["type"], one["name"]) for one in told} == {
        ("delete", "sublayers", "perimeter"), ("add", "sublayers", "other"), ("delete", "filters", "f"),
        ("add", "filters", "g"),
    }  # fmt: skip


def test_a_reload_that_fails_leaves_the_objects(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, FILE)
    from wfpd.config import load_policy

    policy = load_policy(tmp_path / "policy.yaml", trust="warn")

    def fail() -> int:
        raise KernelError("no rules")

    with pytest.raises(KernelError):
        engine.bfe.publish(fail, policy)
    assert engine.open().list(Kind.SUBLAYER, {"name": "perimeter"}, 9).total == 1


def test_a_filter_goes_when_its_time_is_over(engine: Engine) -> None:
    session = engine.open()
    session.add_text(said(filters=[blocking("short")]), expires_in=60)
    session.add_text(said(filters=[blocking("long")]), expires_in=120)
    session.add_text(said(filters=[blocking("stays")]))
    shown = session.get(Kind.FILTER, key_of(session, Kind.FILTER, "short"))
    assert abs(shown["expires"] - time.time() - 60) < 5
    engine.clock.now += 59
    engine.bfe.tick()
    assert len(engine.names()) == 3
    engine.clock.now += 1
    engine.bfe.tick()
    assert engine.names() == {"long", "stays"}
    engine.clock.now += 100
    engine.bfe.tick()
    assert engine.names() == {"stays"}


def test_a_filter_that_was_deleted_and_added_again_has_its_own_time(engine: Engine) -> None:
    session = engine.open()
    key = uuid.UUID(session.add_text(said(filters=[blocking("a")]), expires_in=10).objects[0]["key"])
    session.delete(Kind.FILTER, [key])
    session.add_text(said(filters=[blocking("a")]), expires_in=100)
    engine.clock.now += 50
    engine.bfe.tick()
    assert engine.names() == {"a"}
    engine.clock.now += 60
    engine.bfe.tick()
    assert not engine.names()


def test_filters_end_while_a_transaction_is_open_and_their_own_transaction_is_none(engine: Engine) -> None:
    session, writer = engine.open(), engine.open()
    session.add_text(said(filters=[blocking("a")]), expires_in=10)
    writer.begin()
    engine.clock.now += 11
    engine.bfe.tick()
    assert not engine.names()
    writer.commit()


def test_the_clock_waits_for_no_change_that_is_under_way(engine: Engine) -> None:
    engine.open().add_text(said(filters=[blocking("a")]), expires_in=10)
    engine.clock.now += 11
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with engine.bfe.changing():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert held.wait(10)
    engine.bfe.tick()
    assert engine.names() == {"a"}
    done.set()
    thread.join(10)
    engine.bfe.tick()
    assert not engine.names()


def test_filters_whose_end_fails_end_later(engine: Engine) -> None:
    session = engine.open()
    session.add_text(said(filters=[blocking("a")]), expires_in=10)
    engine.clock.now += 11
    engine.ground.fails = True
    engine.bfe.tick()
    assert engine.names() == {"a"}
    engine.ground.fails = False
    engine.bfe.tick()
    assert not engine.names()


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    assert abs(boottime() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5


def test_a_transaction_of_ten_thousand_changes_is_one_switch(engine: Engine) -> None:
    session = engine.open()
    session.begin()
    for first in range(0, 10_000, 500):
        session.add_text(said(filters=[blocking(f"f{number}") for number in range(first, first + 500)]))
    session.commit()
    assert engine.ground.calls == [(10_000, 0)]
