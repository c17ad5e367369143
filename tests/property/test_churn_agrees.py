"""Whatever is added, removed and added again, in one change or many, folded or built anew: the tables and the slow
twin say the same, and each filter counts in a place of its own."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import application_rules, workloads
from tests.builders import a_filter, a_policy, field_values, policies, slot, when, within
from tests.oracle.matching import needed_filters
from wfpd.compiler.pack import pack
from wfpd.control.tables import Tables
from wfpd.dataplane import Snapshot
from wfpd.errors import ControlError
from wfpd.model.policy import Action, Filter, Policy

WORDS: dict[str, Any] = {"on_error": 1, "on_malformed": 1, "on_late": 1, "flows_full": 1}
STEPS = ("add", "add", "add", "remove", "remove", "several", "fold", "rebuild", "again")


class Churn:
    """A policy that changes, as tables and as the model's values."""

    def __init__(self, policy: Policy, background: bool = False) -> None:
        self.policy = policy
        self.order = itertools.count(len(policy.filters))
        self.published: list[Snapshot] = []
        self.tables = Tables(self.published.append, background=background)
        self.live = {item.key.bytes: item for item in policy.filters}
        self.gone: list[Filter] = []
        self.tables.replace(pack(policy), self._callouts(), **WORDS)

    def _callouts(self) -> list[Any]:
        return [(lambda context: None) if item.use else None for item in self.policy.callouts]

    def change(self, add: Iterable[Filter], remove: Iterable[Filter]) -> None:
        removed = list(remove)
        added = [dataclasses.replace(item, order=next(self.order)) for item in add]
        part = pack(dataclasses.replace(self.policy, filters=tuple(added)))
        self.tables.change(part, self._callouts(), [item.key.bytes for item in removed])
        for item in removed:
            del self.live[item.key.bytes]
        for item in added:
            self.live[item.key.bytes] = item
        self.gone += removed

    def reload(self, filters: Iterable[Filter], beside: Iterable[Filter]) -> None:
        """Another file; `beside` are the filters that `change` added and that stay."""
        of_file = [dataclasses.replace(item, order=next(self.order)) for item in filters]
        stays = [dataclasses.replace(item, order=next(self.order)) for item in beside]
        packed = pack(dataclasses.replace(self.policy, filters=tuple(of_file)))
        self.tables.replace(packed, self._callouts(), **WORDS)
        self.live = {item.key.bytes: item for item in (*of_file, *stays)}

    @property
    def snapshot(self) -> Snapshot:
        found = self.tables.snapshot
        assert found is not None
        return found

    def check(self, at: int, values: dict[str, Any]) -> None:
        model = dataclasses.replace(self.policy, filters=tuple(self.live.values()))
        found = self.snapshot.match(at, values)
        assert [self.snapshot.filter_name(i) for i in found] == [
            item.name for item in needed_filters(model, at, values)
        ]  # fmt: skip

    def check_all_else(self) -> None:
        ids = self.snapshot.filter_ids()
        assert self.snapshot.n_filters == len(ids) == len(self.live)
        assert sorted(self.snapshot.filter_info(i)["key"] for i in ids) == sorted(self.live)
        assert len(set(self.snapshot.counter_slots())) == len(ids)
        assert sum(self.snapshot.layer_count(at) for at in (slot(), slot(family=6))) <= len(ids)


@settings(max_examples=150, deadline=None)
@given(policies(most=16), st.randoms(use_true_random=False), st.data())
def test_drawn_policies_agree_after_every_change(policy: Policy, rng: random.Random, data: st.DataObject) -> None:
    filters = list(policy.filters)
    churn = Churn(dataclasses.replace(policy, filters=tuple(filters[: len(filters) // 2])))
    churn.gone = filters[len(filters) // 2 :]
    packets = [(family, data.draw(field_values(family))) for family in (4, 6, 4)]
    for _ in range(data.draw(st.integers(1, 14))):
        step = rng.choice(STEPS)
        if step in ("add", "again") and churn.gone:
            churn.change([churn.gone.pop(rng.randrange(len(churn.gone)))], ())
        elif step == "remove" and churn.live:
            churn.change((), [rng.choice(list(churn.live.values()))])
        elif step == "several":
            removed = [item for item in churn.live.values() if rng.random() < 0.4]
            added = [item for item in churn.gone if rng.random() < 0.6]
            churn.gone = [item for item in churn.gone if item not in added]
            churn.change(added, removed)
        elif step == "fold":
            churn.tables.fold()
        elif step == "rebuild":
            churn.tables.rebuild()
        for family, values in packets:
            churn.check(slot(family=family), values)
        churn.check_all_else()


@settings(max_examples=60, deadline=None)
@given(policies(most=12), policies(most=12), st.randoms(use_true_random=False), st.data())
def test_what_was_added_stays_over_another_file(
    one: Policy, two: Policy, rng: random.Random, data: st.DataObject
) -> None:
    churn = Churn(one)
    added = [dataclasses.replace(item, name=f"more-{item.name}", key=a_filter(f"more-{item.name}", Action.PERMIT).key)
             for item in two.filters]  # fmt: skip
    churn.change(added, ())
    for step in (churn.tables.fold, churn.tables.rebuild):
        if rng.random() < 0.4:
            step()
    churn.change((), [item for item in churn.live.values() if item in one.filters and rng.random() < 0.3])
    stays = [item for item in churn.live.values() if item.name.startswith("more-")]
    churn.reload(two.filters, stays)
    for family in (4, 6):
        churn.check(slot(family=family), data.draw(field_values(family)))
    churn.check_all_else()
    churn.tables.rebuild()
    for family in (4, 6):
        churn.check(slot(family=family), data.draw(field_values(family)))


def churned(policy: Policy, rng: random.Random, count: int, packets: list[dict[str, Any]], at: int) -> None:
    """Many changes of a large set, checked against a new snapshot of the model's filters."""
    filters = list(policy.filters)
    churn = Churn(dataclasses.replace(policy, filters=tuple(filters[::2])))
    churn.gone = filters[1::2]
    for number in range(count):
        rng.shuffle(churn.gone)
        n = rng.randint(0, 5)
        added, churn.gone = churn.gone[:n], churn.gone[n:]
        removed = rng.sample(list(churn.live.values()), min(len(churn.live), rng.randint(0, 5)))
        churn.change(added, removed)
        if number % 7 == 3:
            churn.tables.fold()
        if number % 17 == 11:
            churn.tables.rebuild()
    model = Churn(dataclasses.replace(policy, filters=tuple(churn.live.values()))).snapshot
    for values in packets:
        wanted = [model.filter_name(i) for i in model.match(at, values)]
        assert [churn.snapshot.filter_name(i) for i in churn.snapshot.match(at, values)] == wanted
    churn.check_all_else()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", workloads.SHAPES)
def test_generated_sets_agree_after_churn(shape: str, seed: int) -> None:
    rng = random.Random(f"{shape} {seed}")
    family, sublayers = rng.choice((4, 6)), rng.choice((1, 4, 20))
    rules = workloads.rules(shape, 400, seed=seed, bits=32 if family == 4 else 128)
    packets = [dict(zip(workloads.FIELDS, packet, strict=True)) for packet in workloads.packets(rules, 200, seed=seed)]
    churned(workloads.policy(rules, family, sublayers), rng, 40, packets, slot(family=family))


@pytest.mark.parametrize("seed", range(6))
def test_application_sets_agree_after_churn(seed: int) -> None:
    rng = random.Random(seed)
    rules = application_rules.rules(400, seed, 32)
    known = application_rules.texts(400)
    packets: list[dict[str, Any]] = []
    for packet in application_rules.packets(rules, 150, 400, seed, 32):
        values: dict[str, Any] = dict(zip(application_rules.FIELDS, packet, strict=True))
        for name in application_rules.TEXT_FIELDS:
            values[name] = known[int(values[name])] if rng.random() < 0.9 else b"nobody knows this"
        packets.append(values)
    policy = application_rules.policy(rules, 400, 4, rng.choice((1, 4)))
    churned(policy, rng, 40, packets, slot(application_rules.LAYER_NAME, 4))


def test_a_deleted_filter_brings_back_what_it_had_hidden() -> None:
    """A filter without conditions in front of a thousand others, folded, built anew and beside the base."""
    hider = a_filter("hider", Action.BLOCK, weight=2)
    hidden = [a_filter(f"p{port}", Action.PERMIT, when("ip_source_port", within(port, port)), weight=1)
              for port in range(1000)]  # fmt: skip
    for first in ([hider, *hidden], hidden, [hider]):
        churn = Churn(a_policy(first))
        churn.change([item for item in (hider, *hidden) if item not in first], ())
        churn.check(slot(), {"ip_source_port": 77})
        churn.change((), [hider])
        for port in (0, 77, 999, 1000):
            churn.check(slot(), {"ip_source_port": port})
        churn.change([hider], ())
        churn.tables.rebuild()
        churn.check(slot(), {"ip_source_port": 77})
        churn.change((), [hider])
        churn.check(slot(), {"ip_source_port": 77})


@pytest.mark.parametrize("seed", range(4))
def test_the_background_keeps_what_is_changed_meanwhile(seed: int) -> None:
    rng = random.Random(seed)
    rules = workloads.rules("access", 3000, seed=seed)
    policy = workloads.policy(rules, sublayers=3)
    filters = list(policy.filters)
    churn = Churn(dataclasses.replace(policy, filters=tuple(filters[:2000])), background=True)
    churn.gone = filters[2000:]
    packets = [dict(zip(workloads.FIELDS, packet, strict=True)) for packet in workloads.packets(rules, 60, seed=seed)]
    try:
        for number in range(600):
            rng.shuffle(churn.gone)
            removed = rng.sample(list(churn.live.values()), rng.randint(0, 3))
            added, churn.gone = churn.gone[:2], churn.gone[2:]
            churn.change(added, removed)
            if number % 100 == 50:
                big, churn.gone = churn.gone[:200], churn.gone[200:]
                churn.change(big, ())
            if number % 50 == 0:
                churn.check(slot(), rng.choice(packets))
    finally:
        churn.tables.close()
    churn.check_all_else()
    for values in packets:
        churn.check(slot(), values)
    assert len({snapshot.root.part for snapshot in churn.published}) > 1


def test_a_change_that_is_refused_changes_nothing() -> None:
    a, b = a_filter("a", Action.PERMIT), a_filter("b", Action.BLOCK)
    churn = Churn(a_policy([a]))
    before = churn.snapshot
    with pytest.raises(ControlError, match="FWP_E_ALREADY_EXISTS"):
        churn.change([b, a], ())
    with pytest.raises(ControlError, match="FWP_E_ALREADY_EXISTS"):
        churn.change([b, b], ())
    with pytest.raises(ControlError, match="FWP_E_FILTER_NOT_FOUND"):
        churn.change([], [b])
    assert churn.snapshot is before
    churn.live = {a.key.bytes: a}
    churn.check(slot(), {})
