"""notify(n): which filters a callout is told of, when, and what its refusal means."""

from __future__ import annotations

import pathlib
import uuid
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from tests.registering import Decided
from wfpd.callouts.notifications import Notifications
from wfpd.callouts.registered import Registered
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Snapshot
from wfpd.errors import FwpError
from wfpd.model.policy import Callout, Word

PACKET = IP(src="192.0.2.9", dst="192.0.2.1") / UDP(sport=9, dport=53)


class Told:
    """Keeps what it is told."""

    def __init__(self, refuses: str = "") -> None:
        self.notes: list[Any] = []
        self.refuses = refuses
        self.seen: list[Any] = []

    def notify(self, n: Any) -> None:
        self.notes.append((n.kind, n.filter, n.layer, n.provider_context, n.context))
        if n.kind == "add":
            n.context = {"two": 2**40}.get(n.filter, f"of {n.filter}")
            if n.filter == self.refuses:
                raise ValueError("no such thing")
        elif self.refuses == "delete":
            raise ValueError("not now")

    def classify(self, c: Any) -> None:
        self.seen.append((c.filter, c.filter_context, c.provider_context))


class Publisher:
    """Policies that follow one another, published as the daemon does."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "policy.yaml"
        self.errors: list[str] = []
        self.notifications = Notifications(lambda name, error: self.errors.append(f"{name}: {error}"))
        self.running: Snapshot | None = None
        self.generation = 0

    def publish(self, item: object, *filters: str, fails: bool = False) -> Snapshot:
        self.path.write_text("\n".join([
            "version: 1", "provider_contexts: [{name: limits, data: {rate: 5}}]", "callouts: [{name: c}]", "filters:",
            *(f"  - {{layer: ipforward_v4, action: {{callout: c}}, {one}}}" for one in filters)]) + "\n")  # fmt: skip
        policy = load_policy(str(self.path), trust="warn")
        self.generation += 1
        words = dict.fromkeys(("on_error", "on_malformed", "on_late", "flows_full"), Word.PERMIT)
        snapshot = Snapshot(pack(policy), [item], generation=self.generation, previous=self.running, **words)
        snapshot.root.provider_contexts = {one.name: one.data for one in policy.provider_contexts}
        step = self.notifications.prepare(snapshot, self.running)
        if fails:
            step.undo()
        else:
            step.settle()
            self.running = snapshot
        return snapshot


def registered(instance: object) -> Registered:
    return Registered(Callout("c", uuid.uuid4(), "m:C"), instance)


def notes(told: Told) -> list[tuple[str, str]]:
    found = [(note[0], note[1]) for note in told.notes]
    told.notes.clear()
    return found


def test_a_filter_is_told_of_when_it_comes_and_when_it_goes_and_not_while_it_stays(tmp_path: pathlib.Path) -> None:
    publisher, told = Publisher(tmp_path), Told()
    item = registered(told)
    publisher.publish(item, "name: one, provider_context: limits", "name: two")
    assert sorted(told.notes) == [
        ("add", "one", "ipforward_v4", {"rate": 5}, None), ("add", "two", "ipforward_v4", None, None),
    ]  # fmt: skip
    told.notes.clear()
    publisher.publish(item, "name: two", "name: three")
    assert told.notes == [
        ("add", "three", "ipforward_v4", None, None), ("delete", "one", "ipforward_v4", {"rate": 5}, "of one"),
    ]  # fmt: skip
    told.notes.clear()
    publisher.publish(item, "name: two", "name: three")
    assert told.notes == []
    publisher.publish(item, "name: two, when: {ip_ttl: 3}", "name: three")
    assert notes(told) == [("add", "two"), ("delete", "two")]
    publisher.publish(item)
    assert sorted(notes(told)) == [("delete", "three"), ("delete", "two")]


def test_a_filter_context_comes_back_at_classify_and_as_a_number_where_it_is_one(tmp_path: pathlib.Path) -> None:
    told = Told()
    policy = """version: 1
provider_contexts: [{name: limits, data: [1, two]}]
callouts: [{name: c, use: "m:C"}]
filters:
  - {name: one, layer: inbound_transport_v4, action: {callout: c}, provider_context: limits, weight: {range: 2}}
  - {name: two, layer: inbound_transport_v4, action: {callout: c}, weight: {range: 1}}
"""
    decided = Decided(tmp_path, policy, {"c": told})
    decided.send(PACKET)
    limits = told.seen[0][2]
    assert [str(value) for value in limits] == ["1", "two"]
    assert told.seen == [("one", "of one", limits), ("two", 2**40, None)]
    numbers = {decided.snapshot.filter_info(i)["name"]: decided.snapshot.filter_context_number(i) for i in (0, 1)}
    assert numbers == {"one": 0, "two": 2**40}


def test_a_refusal_refuses_the_policy_and_takes_back_what_was_told(tmp_path: pathlib.Path) -> None:
    publisher, told = Publisher(tmp_path), Told(refuses="bad")
    item = registered(told)
    publisher.publish(item, "name: one")
    told.notes.clear()
    with pytest.raises(FwpError, match=r'"c" refuses filter "bad": ValueError: no such thing') as caught:
        publisher.publish(item, "name: one", "name: two, weight: {range: 9}", "name: bad, weight: {range: 8}")
    assert caught.value.code == "FWP_E_CALLOUT_NOTIFICATION_FAILED"
    assert notes(told) == [("add", "two"), ("add", "bad"), ("delete", "two")]
    publisher.publish(item, "name: one")
    assert notes(told) == []


def test_a_publication_that_fails_for_another_reason_is_taken_back_too(tmp_path: pathlib.Path) -> None:
    publisher, told = Publisher(tmp_path), Told()
    publisher.publish(registered(told), "name: one", fails=True)
    assert notes(told) == [("add", "one"), ("delete", "one")]


def test_a_refusal_of_a_deletion_changes_nothing(tmp_path: pathlib.Path) -> None:
    publisher, told = Publisher(tmp_path), Told(refuses="delete")
    item = registered(told)
    publisher.publish(item, "name: one")
    publisher.publish(item)
    assert (notes(told), publisher.errors) == ([("add", "one"), ("delete", "one")], ["c: not now"])


def test_a_filter_that_ran_before_its_callout_was_registered_is_told_of_when_it_goes_only(
    tmp_path: pathlib.Path,
) -> None:
    publisher, told = Publisher(tmp_path), Told()
    item = registered(told)
    publisher.publish(None, "name: one")
    publisher.publish(item, "name: one", "name: new")
    assert notes(told) == [("add", "new")]
    publisher.publish(item, "name: new")
    assert notes(told) == [("delete", "one")]


def test_an_instance_made_anew_is_told_of_all_its_filters_and_the_old_one_of_their_end(tmp_path: pathlib.Path) -> None:
    publisher, old, new = Publisher(tmp_path), Told(), Told()
    publisher.publish(registered(old), "name: one")
    publisher.publish(registered(new), "name: one")
    assert (notes(old), notes(new)) == ([("add", "one"), ("delete", "one")], [("add", "one")])


def test_a_callout_whose_class_does_not_apply_to_the_layer_is_refused(tmp_path: pathlib.Path) -> None:
    class Picky:
        layers = ("inbound_transport",)

        def classify(self, c: Any) -> None: ...

    with pytest.raises(FwpError, match="does not apply to ipforward_v4") as caught:
        Publisher(tmp_path).publish(registered(Picky()), "name: one")
    assert caught.value.code == "FWP_E_INCOMPATIBLE_LAYER"
