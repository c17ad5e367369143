"""Tables: when the base is built anew, what a failure leaves, and what does not fit beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import a_filter, a_policy, callout, slot, sublayer, when, within
from wfpd.compiler.pack import pack
from wfpd.control import tables as module
from wfpd.control.tables import FRESH, Tables
from wfpd.dataplane import Snapshot
from wfpd.errors import ControlError
from wfpd.model.policy import Action, Filter

WORDS: dict[str, Any] = {"on_error": 1, "on_malformed": 1, "on_late": 1, "flows_full": 1}


class Publisher:
    """Takes snapshots, or fails."""

    def __init__(self) -> None:
        self.published: list[Snapshot] = []
        self.fails = False

    def __call__(self, snapshot: Snapshot) -> None:
        if self.fails:
            raise MemoryError("no memory for the publication")
        self.published.append(snapshot)


def port(number: int, name: str = "") -> Filter:
    return a_filter(name or f"p{number}", Action.PERMIT, when("ip_source_port", within(number, number)))


def packed(*filters: Filter) -> bytes:
    return pack(a_policy(filters))


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def tables(publisher: Publisher) -> Iterator[Tables]:
    found = Tables(publisher, background=False)
    found.replace(packed(port(1), port(2)), [], **WORDS)
    yield found
    found.close()


def matches(tables: Tables, number: int) -> list[str]:
    assert tables.snapshot is not None
    taken = tables.snapshot
    return [taken.filter_name(index) for index in taken.match(slot(), {"ip_source_port": number})]


def parts_beside(tables: Tables) -> int:
    assert tables.snapshot is not None
    return len(tables.snapshot.added)


def test_a_change_needs_a_policy() -> None:
    with pytest.raises(ControlError, match="no policy"):
        Tables(lambda snapshot: None, background=False).change(packed(port(1)))


def test_added_and_removed_filters_are_seen_at_once(tables: Tables, publisher: Publisher) -> None:
    tables.change(packed(port(3)), remove=[port(1).key.bytes])
    assert (matches(tables, 1), matches(tables, 2), matches(tables, 3)) == ([], ["p2"], ["p3"])
    assert tables.pending == 2 and tables.has(port(3).key.bytes) and not tables.has(port(1).key.bytes)
    assert [snapshot.generation for snapshot in publisher.published] == [1, 2]


def test_a_change_of_nothing_is_a_snapshot_like_the_one_before(tables: Tables) -> None:
    tables.change(packed())
    assert tables.pending == 0 and parts_beside(tables) == 0 and matches(tables, 2) == ["p2"]


def test_a_key_can_be_replaced_in_one_change(tables: Tables) -> None:
    other = a_filter("p1", Action.BLOCK, when("ip_source_port", within(9, 9)))
    tables.change(packed(other), remove=[other.key.bytes])
    assert (matches(tables, 1), matches(tables, 9)) == ([], ["p1"])


def test_after_a_failed_publication_everything_is_as_before(tables: Tables, publisher: Publisher) -> None:
    tables.change(packed(port(3)))
    before = tables.snapshot
    publisher.fails = True
    with pytest.raises(MemoryError):
        tables.change(packed(port(4)), remove=[port(1).key.bytes, port(3).key.bytes])
    with pytest.raises(MemoryError):
        tables.replace(packed(port(7)), [], **WORDS)
    for step in (tables.fold, tables.rebuild):
        with pytest.raises(MemoryError):
            step()
    assert tables.snapshot is before
    publisher.fails = False
    tables.change(packed(port(5)))
    assert [matches(tables, number) for number in (1, 3, 4, 5)] == [["p1"], ["p3"], [], ["p5"]]
    assert tables.rebuild() and not tables.rebuild()
    assert [matches(tables, number) for number in (1, 3, 4, 5)] == [["p1"], ["p3"], [], ["p5"]]
    assert parts_beside(tables) == 0


def test_a_transaction_of_ten_thousand_is_one_switch(tables: Tables, publisher: Publisher) -> None:
    tables.change(packed(*(port(number) for number in range(10, 10_010))), remove=[port(1).key.bytes])
    assert len(publisher.published) == 2 and parts_beside(tables) == 1
    assert (matches(tables, 1), matches(tables, 5000)) == ([], ["p5000"])


def test_more_than_fits_beside_the_base_becomes_part_of_it(tables: Tables) -> None:
    tables.change(packed(port(3)))
    tables.change(packed(*(port(number) for number in range(10, 20_010))), remove=[port(1).key.bytes])
    assert parts_beside(tables) == 0 and tables.pending == 0
    assert [matches(tables, number) for number in (1, 2, 3, 20_009)] == [[], ["p2"], ["p3"], ["p20009"]]
    tables.change(remove=[port(20_009).key.bytes])
    assert matches(tables, 20_009) == []


def test_what_does_not_fit_and_fails_leaves_everything_as_before(tables: Tables, publisher: Publisher) -> None:
    publisher.fails = True
    with pytest.raises(MemoryError):
        tables.change(packed(*(port(number) for number in range(10, 20_010))), remove=[port(1).key.bytes])
    assert (matches(tables, 1), matches(tables, 5000)) == (["p1"], [])
    assert tables.has(port(1).key.bytes)


def test_more_than_fits_stays_over_another_file(tables: Tables) -> None:
    tables.change(packed(*(port(number) for number in range(10, 20_010))))
    tables.change(packed(port(5)))
    tables.replace(packed(port(3)), [], **WORDS)
    assert [matches(tables, number) for number in (1, 3, 5, 20_009)] == [[], ["p3"], ["p5"], ["p20009"]]
    tables.replace(packed(), [], **WORDS)
    assert [matches(tables, number) for number in (3, 5, 20_009)] == [[], ["p5"], ["p20009"]]


def test_filters_go_on_counting_in_their_places_through_every_step(tables: Tables) -> None:
    def counted() -> dict[str, int]:
        assert tables.snapshot is not None
        taken = tables.snapshot
        return {taken.filter_name(i): taken.filter_info(i)["counter_slot"] for i in taken.filter_ids()}

    tables.change(packed(port(3)))
    tables.change(packed(port(4)))
    before = counted()
    assert len(set(before.values())) == 4
    tables.fold()
    assert counted() == before
    tables.change(packed(port(5)))
    tables.rebuild()
    assert {name: at for name, at in counted().items() if name != "p5"} == before
    tables.replace(packed(port(1)), [], **WORDS)
    assert counted()["p1"] == before["p1"]


def test_callouts_that_a_change_brings_stay_registered(tables: Tables) -> None:
    def asked(context: object) -> None: ...

    policy = a_policy([a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c", sublayer="new")],
                      [sublayer("new", 0x9100)], [callout("c")])  # fmt: skip
    tables.change(pack(policy), [asked])
    for step in (tables.fold, tables.rebuild):
        step()
        assert tables.snapshot is not None
        taken = tables.snapshot
        index = taken.match(slot(), {})[0]
        info = taken.filter_info(index)
        assert (info["callout"], info["sublayer"]) == ("c", "new")
        assert taken.callouts == [asked]
    tables.replace(packed(port(1)), [], **WORDS)
    assert taken.callouts == [asked] and matches(tables, 7) == ["asks"]


def test_folding_does_not_change_the_generation_and_building_anew_does(tables: Tables) -> None:
    tables.change(packed(port(3)))
    assert tables.snapshot is not None
    before = tables.snapshot
    assert tables.fold()
    folded = tables.snapshot
    assert folded is not before and folded.generation == before.generation
    assert folded.filter_ids() == before.filter_ids()
    assert not tables.fold()
    tables.rebuild()
    assert tables.snapshot.generation == before.generation + 1


def test_no_two_snapshots_have_one_generation(tables: Tables, publisher: Publisher) -> None:
    before = tables.state
    assert before is not None
    tables.replace(packed(port(7)), [], **WORDS)
    tables.restore(before)
    tables.replace(packed(port(8)), [], **WORDS)
    assert [snapshot.generation for snapshot in publisher.published] == [1, 2, 1, 3]


@pytest.mark.parametrize("changes", [3, 4 * FRESH])
def test_the_background_builds_the_base_anew_by_itself(changes: int) -> None:
    tables = Tables(lambda snapshot: None)
    try:
        tables.replace(packed(port(1)), [], **WORDS)
        for number in range(changes):
            tables.change(packed(port(100 + number)))
        end = time.monotonic() + 30
        while tables.pending and time.monotonic() < end:
            time.sleep(0.01)
        assert tables.pending == 0 and parts_beside(tables) == 0
        assert all(matches(tables, 100 + number) for number in range(changes))
    finally:
        tables.close()


def test_a_step_in_the_background_that_fails_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.05)
    failures = [MemoryError("first"), MemoryError("second")]

    def publish(snapshot: Snapshot) -> None:
        if snapshot.root.n_filters == 2 and failures:
            raise failures.pop()

    tables = Tables(publish)
    try:
        tables.replace(packed(port(1)), [], **WORDS)
        tables.change(packed(port(3)))
        end = time.monotonic() + 30
        while tables.pending and time.monotonic() < end:
            time.sleep(0.01)
        assert tables.pending == 0 and not failures and matches(tables, 3) == ["p3"]
    finally:
        tables.close()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_replacement_can_be_taken_back_with_what_lay_beside(tables: Tables) -> None:
    tables.change(packed(port(3)))
    before = tables.state
    assert before is not None
    tables.replace(packed(port(7)), [], **WORDS)
    assert (matches(tables, 1), matches(tables, 3), matches(tables, 7)) == ([], ["p3"], ["p7"])
    tables.restore(before)
    assert (matches(tables, 1), matches(tables, 3), matches(tables, 7)) == (["p1"], ["p3"], [])
    tables.change(remove=[port(3).key.bytes])
    assert matches(tables, 3) == []


def test_a_file_that_has_a_filter_which_was_added_has_it_for_good(tables: Tables) -> None:
    tables.change(packed(port(3), port(4)))
    of_file = a_filter("p3", Action.BLOCK, when("ip_source_port", within(30, 30)))
    tables.replace(packed(of_file), [], **WORDS)
    assert (matches(tables, 3), matches(tables, 4), matches(tables, 30)) == ([], ["p4"], ["p3"])
    tables.replace(packed(), [], **WORDS)
    assert (matches(tables, 30), matches(tables, 4)) == ([], ["p4"])


def test_a_base_that_was_begun_before_a_replacement_was_taken_back_is_void(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.change(packed(port(3)))
    before, merged = tables.state, module._merged
    assert before is not None

    def meanwhile(*arguments: Any) -> Any:
        tables.replace(packed(port(7)), [], **WORDS)
        tables.restore(before)
        return merged(*arguments)

    monkeypatch.setattr(module, "_merged", meanwhile)
    assert not tables.rebuild()
    assert tables.snapshot is not None
    assert [matches(tables, number) for number in (1, 3, 7)] == [["p1"], ["p3"], []]
    assert tables.snapshot.n_filters == 3
