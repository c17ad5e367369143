"""Sessions and transactions, as "Object Management" has them."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

from tests.unit.bfe.engines import Engine, blocking, key_of, refused, said
from wfpd.bfe import Event, Kind
from wfpd.bfe.session import DEFAULT_WAIT
from wfpd.errors import KernelError, PolicyError


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_a_call_outside_a_transaction_is_one_of_its_own(engine: Engine) -> None:
    done = engine.open().add_text(said(filters=[blocking("a"), blocking("b")]))
    assert engine.ground.calls == [(2, 0)]
    assert done.generation == 1
    assert [one["name"] for one in done.objects] == ["a", "b"]
    assert engine.bfe.turn.holder is None


def test_all_of_a_transaction_is_one_switch_and_nobody_sees_it_before(engine: Engine) -> None:
    session, other = engine.open(), engine.open()
    session.begin()
    session.add_text(said(sublayers=[{"name": "mine", "weight": 7}]))
    for number in range(20):
        session.add_text(said(filters=[blocking(f"f{number}", sublayer="mine")]))
    assert session.get(Kind.FILTER, key_of(session, Kind.FILTER, "f3"))["sublayer"] == "mine"
    assert not engine.ground.calls
    assert other.list(Kind.FILTER, {}, 100).total == 0
    assert other.list(Kind.SUBLAYER, {"name": "mine"}, 9).total == 0
    assert session.commit() == 1
    assert engine.ground.calls == [(20, 0)]
    assert other.list(Kind.FILTER, {}, 100).total == 20


def test_a_failed_call_does_not_doom_the_transaction(engine: Engine) -> None:
    """13.16: the caller may go on and commit what succeeded."""
    session = engine.open()
    session.begin()
    session.add_text(said(filters=[blocking("a")]))
    with refused("FWP_E_ALREADY_EXISTS"):
        session.add_text(said(filters=[blocking("b"), blocking("a")]))
    with pytest.raises(PolicyError):
        session.add_text(said(filters=[blocking("c", layer="nowhere")]))
    session.add_text(said(filters=[blocking("d")]))
    session.commit()
    assert engine.names() == {"a", "d"}


def test_an_aborted_transaction_leaves_nothing(engine: Engine) -> None:
    session = engine.open()
    session.begin()
    session.add_text(said(filters=[blocking("a")], providers=[{"name": "acme"}]))
    session.abort()
    assert not engine.ground.calls
    assert session.list(Kind.PROVIDER, {"name": "acme"}, 9).total == 0
    session.begin()
    session.abort()


def test_a_session_has_one_transaction(engine: Engine) -> None:
    session = engine.open()
    session.begin()
    with refused("FWP_E_TXN_IN_PROGRESS"):
        session.begin()
    session.commit()
    with refused("FWP_E_NO_TXN_IN_PROGRESS"):
        session.commit()
    with refused("FWP_E_NO_TXN_IN_PROGRESS"):
        session.abort()


def test_a_read_only_transaction_sees_one_moment_and_writes_nothing(engine: Engine) -> None:
    session, other = engine.open(), engine.open()
    session.begin(read_only=True)
    other.add_text(said(providers=[{"name": "later"}]))
    assert session.list(Kind.PROVIDER, {"name": "later"}, 9).total == 0
    with refused("FWP_E_INCOMPATIBLE_TXN"):
        session.add_text(said(filters=[blocking("a")]))
    with refused("FWP_E_INCOMPATIBLE_TXN"):
        session.delete(Kind.FILTER, [uuid.uuid4()])
    session.commit()
    assert session.list(Kind.PROVIDER, {"name": "later"}, 9).total == 1


def test_readers_never_wait_for_a_writer(engine: Engine) -> None:
    holder, reader = engine.open(), engine.open(wait=60)
    holder.begin()
    reader.begin(read_only=True)
    assert reader.list(Kind.SUBLAYER, {}, 9).total == 2
    reader.commit()


def test_a_writer_waits_for_the_turn_and_is_told_who_has_it(engine: Engine) -> None:
    holder, waiting = engine.open(name="holder"), engine.open(wait=0.001)
    holder.begin()
    for write in (waiting.begin, lambda: waiting.add_text(said(filters=[blocking("a")]))):
        engine.clock.now += 1  # The turn's clock is the engine's: the time of the wait is over at once.
        threading.Timer(0.01, lambda: setattr(engine.clock, "now", engine.clock.now + 1)).start()
        with refused("FWP_E_TIMEOUT") as caught:
            write()
        assert "session holder" in caught.value.hint
    holder.abort()
    waiting.begin()


def test_the_wait_of_a_session_that_says_0_is_fifteen_seconds(engine: Engine) -> None:
    assert engine.open(wait=0)._wait == DEFAULT_WAIT == 15.0


def test_a_transaction_that_holds_too_long_is_aborted_and_the_next_call_says_so(engine: Engine) -> None:
    """13.16: a forced abort reports on the next call."""
    engine = Engine(hold=100.0)
    holder, other = engine.open(), engine.open()
    holder.begin()
    holder.add_text(said(filters=[blocking("a")]))
    engine.clock.now += 99
    engine.bfe.tick()
    assert engine.bfe.turn.holder is holder
    engine.clock.now += 2
    engine.bfe.tick()
    other.add_text(said(filters=[blocking("b")]))
    with refused("FWP_E_TXN_ABORTED"):
        holder.commit()
    with refused("FWP_E_NO_TXN_IN_PROGRESS"):
        holder.commit()
    assert engine.names() == {"b"}


def test_a_dynamic_sessions_objects_go_with_it(engine: Engine) -> None:
    dynamic, static = engine.open(dynamic=True), engine.open()
    dynamic.add_text(said(providers=[{"name": "acme"}], sublayers=[{"name": "mine", "provider": "acme"}],
                          filters=[blocking("a", sublayer="mine", provider="acme")]))  # fmt: skip
    static.add_text(said(providers=[{"name": "stays"}], filters=[blocking("b")]))
    dynamic.end()
    static.end()
    reader = engine.open()
    assert engine.names() == {"b"}
    assert {one["name"] for one in reader.list(Kind.PROVIDER, {}, 9).objects} == {"file", "stays"}
    assert {one["name"] for one in reader.list(Kind.SUBLAYER, {}, 9).objects} == {"universal", "inspection"}


def test_the_end_of_a_session_aborts_its_transaction(engine: Engine) -> None:
    session = engine.open()
    session.begin()
    session.add_text(said(filters=[blocking("a")]))
    session.end()
    session.end()
    engine.open(wait=1).begin()
    assert not engine.ground.filters
    for call in (session.begin, session.commit, session.abort, lambda: session.next("x", 1),
                 lambda: session.add_text(said(filters=[])), lambda: session.unsubscribe(1)):  # fmt: skip
        with refused("FWP_E_SESSION_ABORTED"):
            call()


def test_dynamic_objects_that_cannot_be_removed_go_as_soon_as_they_can(engine: Engine) -> None:
    dynamic = engine.open(dynamic=True)
    dynamic.add_text(said(providers=[{"name": "acme"}], filters=[blocking("a", provider="acme")]))
    engine.ground.fails = True
    dynamic.end()
    engine.bfe.tick()
    assert engine.names() == {"a"}
    engine.ground.fails = False
    engine.bfe.tick()
    assert engine.names() == set()
    assert engine.open().list(Kind.PROVIDER, {"name": "acme"}, 9).total == 0


def test_dynamic_objects_go_though_another_session_writes(engine: Engine) -> None:
    """A writer that never ends must not keep them, and its transaction still commits."""
    dynamic, writer = engine.open(dynamic=True), engine.open()
    dynamic.add_text(said(filters=[blocking("a")]))
    writer.begin()
    writer.add_text(said(filters=[blocking("b")]))
    dynamic.end()
    assert engine.names() == set()
    writer.commit()
    assert engine.names() == {"b"}


def test_what_happened_under_a_transaction_is_checked_again_at_its_commit(engine: Engine) -> None:
    dynamic, writer = engine.open(dynamic=True), engine.open()
    done = dynamic.add_text(said(filters=[blocking("a")]))
    writer.begin()
    writer.add_text(said(filters=[blocking("b")]))
    writer.delete(Kind.FILTER, [uuid.UUID(done.objects[0]["key"])])
    dynamic.end()
    with refused("FWP_E_FILTER_NOT_FOUND"):
        writer.commit()
    assert engine.names() == set()
    with refused("FWP_E_NO_TXN_IN_PROGRESS"):
        writer.commit()
    writer.begin()


def test_a_commit_that_the_tables_refuse_changes_nothing(engine: Engine) -> None:
    session = engine.open()
    session.begin()
    session.add_text(said(filters=[blocking("a")], providers=[{"name": "acme"}]))
    engine.ground.fails = True
    with pytest.raises(KernelError):
        session.commit()
    engine.ground.fails = False
    assert session.list(Kind.PROVIDER, {"name": "acme"}, 9).total == 0
    session.add_text(said(filters=[blocking("a")], providers=[{"name": "acme"}]))
    assert engine.names() == {"a"}


def test_a_session_that_ends_while_its_commit_waits_adds_nothing(engine: Engine) -> None:
    dynamic = engine.open(dynamic=True)
    dynamic.begin()
    dynamic.add_text(said(filters=[blocking("a")]))
    engine.ground.while_applying = dynamic.end
    other = engine.open(dynamic=True)
    with engine.bfe.changing():
        dynamic.end()
    with refused("FWP_E_SESSION_ABORTED"):
        dynamic.commit()
    assert not engine.names()
    other.end()


def test_two_sessions_have_two_keys(engine: Engine) -> None:
    key = uuid.uuid4()
    session = engine.open(key=key)
    with refused("FWP_E_ALREADY_EXISTS"):
        engine.open(key=key)
    session.end()
    assert engine.open(key=key).key == key


def test_a_subscriber_is_told_of_others_changes_after_their_commit_and_not_of_its_own(engine: Engine) -> None:
    """13.18."""
    told: list[Any] = []
    subscriber, other = engine.open(), engine.open()

    def notify(notice: object) -> bool:
        told.append(notice)
        return True

    subscriber.subscribe(notify, kinds=[Kind.FILTER])
    subscriber.add_text(said(filters=[blocking("own")]))
    other.begin()
    other.add_text(said(filters=[blocking("a")], providers=[{"name": "acme"}]))
    assert not told
    other.commit()
    other.delete(Kind.FILTER, [key_of(other, Kind.FILTER, "own")])
    assert [(one["change"], one["name"], one["generation"]) for one in told] == [
        ("add", "a", 2), ("delete", "own", 3),
    ]  # fmt: skip


def test_subscriptions_are_not_made_within_a_transaction(engine: Engine) -> None:
    session = engine.open()
    session.begin(read_only=True)
    with refused("FWP_E_TXN_IN_PROGRESS"):
        session.subscribe(lambda notice: True)
    session.commit()
    with refused("FWP_E_NEVER_MATCH"):
        session.subscribe(lambda notice: True, events=[])
    number = session.subscribe(lambda notice: True, events=[Event.ADD])
    session.unsubscribe(number)
    with refused("FWP_E_NOT_FOUND"):
        session.unsubscribe(number)


def test_enumerations_are_snapshots_that_are_read_in_pages(engine: Engine) -> None:
    session = engine.open()
    session.add_text(said(providers=[{"name": f"p{number}"} for number in range(9)]))
    page = session.list(Kind.PROVIDER, {}, 4)
    session.add_text(said(providers=[{"name": "late"}]))
    names = [one["name"] for one in page.objects]
    while page.cursor:
        page = session.next(page.cursor, 4)
        names += [one["name"] for one in page.objects]
    assert names == ["file", *(f"p{number}" for number in range(9))]
    name = session.list(Kind.PROVIDER, {}, 4).cursor
    assert name is not None
    session.close_cursor(name)
    with refused("FWP_E_NOT_FOUND"):
        session.close_cursor(name)
