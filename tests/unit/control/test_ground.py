"""The engine over the running tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.bfe.engines import blocking, key_of, refused, said
from wfpd.bfe import Bfe, Ground, Kind, Session
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.control.ground import TablesGround
from wfpd.control.tables import Tables
from wfpd.daemon.listed import Listings
from wfpd.dataplane import Engine, Flows, Root, Snapshot
from wfpd.model.policy import Policy, Word

WORDS = dict.fromkeys(("on_error", "on_malformed", "on_late", "flows_full"), int(Word.PERMIT))


class Running:
    """Tables that an engine runs, and the objects over them."""

    def __init__(self, directory: Path) -> None:
        self.engine = Engine(1)
        self.tables = Tables(self._publish, background=False)
        ground = TablesGround(
            self.tables,
            lambda packed, callouts, remove, contexts: (
                self.tables.change(packed, [call for _, call in callouts], remove).generation
            ),
            lambda slots: [(7, 5.0) for _ in slots],
            lambda: (),
            lambda: {"c": 2},
            lambda: {"c": 5},
            lambda number: 3,
        )
        self.bfe = Bfe(ground)
        self.path = directory / "policy.yaml"

    def _publish(self, snapshot: Snapshot) -> None:
        self.engine.swap(snapshot, timeout=0)

    def load(self, text: str) -> None:
        self.path.write_text("version: 1\n" + text)
        policy = load_policy(self.path, trust="warn")
        self.bfe.publish(lambda: self._replace(policy), policy)

    @property
    def root(self) -> Root:
        """Of the running tables."""
        assert self.tables.snapshot is not None
        return self.tables.snapshot.root

    def _replace(self, policy: Policy) -> int:
        return self.tables.replace(pack(policy), [None] * len(policy.callouts), **WORDS).generation


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    made.load("""
sublayers: [{name: perimeter, weight: 0x9000}]
callouts: [{name: watch}]
filters:
  - {name: web, layer: ipforward, action: block, when: {ip_protocol: tcp, ip_destination_port: [80, 443, 8000-8080]}}
  - {name: hosts, layer: ipforward_v4, sublayer: perimeter, action: permit, when: {ip_source_address: 192.0.2.0/24}}
  - {name: seen, layer: ipforward_v4, action: {callout: watch, kind: inspection}}
""")
    yield made
    made.tables.close()


@pytest.fixture
def session(running: Running) -> Session:
    return running.bfe.open()


def names(session: Session, **template: Any) -> list[str]:
    found = session.list(Kind.FILTER, template, 100)
    return [f"{one['name']}/{one['layer'][-2:]}" for one in found.objects]


def test_the_ground_has_every_door_of_the_protocol() -> None:
    doors = {name for name in vars(Ground) if not name.startswith("_")}
    assert not doors - set(dir(TablesGround))


def test_filters_of_the_file_are_listed_in_the_order_of_arbitration(session: Session) -> None:
    assert names(session) == ["hosts/v4", "web/v4", "seen/v4", "web/v6"]
    (one,) = session.list(Kind.FILTER, {"name": "hosts"}, 9).objects
    assert one["when"] == {"ip_source_address": "192.0.2.0/24"}
    assert (one["lifetime"], one["provider"], one["sublayer"], one["hits"], one["last_hit"]) == (
        "file", "file", "perimeter", 7, 5.0,
    )  # fmt: skip


def test_a_template_chooses_by_what_filters_are_and_by_their_conditions(session: Session) -> None:
    v4 = {"layer": "ipforward_v4"}
    assert names(session, sublayer="perimeter") == ["hosts/v4"]
    assert names(session, callout="watch") == ["seen/v4"]
    assert names(session, action="block") == ["web/v4", "web/v6"]
    assert names(session, action=["permit", "callout"]) == ["hosts/v4", "seen/v4"]
    assert names(session, **v4, when={"ip_destination_port": "1-1000"}) == []
    assert names(session, **v4, when={"ip_destination_port": "1-9000"}) == ["web/v4"]
    port = {"when": {"ip_destination_port": 443}, "type": "overlapping"}
    assert names(session, **v4, **port) == ["hosts/v4", "web/v4", "seen/v4"]
    assert names(session, layer="ipforward_v6", **port) == ["web/v6"]
    assert names(session, layer="ipforward", **port, flags=["best_terminating_match"]) == ["hosts/v4", "web/v6"]
    udp = {"when": {"ip_protocol": "udp"}, "type": "overlapping"}
    assert names(session, **v4, **udp) == ["hosts/v4", "seen/v4"]
    assert names(session, flags=["boottime_only"]) == []


def test_what_a_template_cannot_mean_is_refused(session: Session) -> None:
    for template, code in (
        ({"layer": "nowhere"}, "FWP_E_LAYER_NOT_FOUND"), ({"sublayer": "none"}, "FWP_E_SUBLAYER_NOT_FOUND"),
        ({"callout": 1}, "FWP_E_CALLOUT_NOT_FOUND"), ({"provider": "none"}, "FWP_E_PROVIDER_NOT_FOUND"),
        ({"when": {"ip_protocol": 6}}, "FWP_E_CONDITION_NOT_FOUND"), ({"type": "some"}, "FWP_E_INVALID_ENUMERATOR"),
        ({"flags": ["loud"]}, "FWP_E_INVALID_FLAGS"), ({"action": "maybe"}, "FWP_E_INVALID_ACTION_TYPE"),
        ({"action": [[]]}, "FWP_E_INVALID_ACTION_TYPE"), ({"colour": 1}, "FWP_E_INVALID_PARAMETER"),
        ({"layer": "ipforward_v4", "when": {"ip_source_address": "2001:db8::/32"}}, "FWP_E_NEVER_MATCH"),
    ):  # fmt: skip
        with refused(code):
            session.list(Kind.FILTER, template, 9)
    with pytest.raises(Exception, match="ip_nothing"):
        session.list(Kind.FILTER, {"layer": "ipforward", "when": {"ip_nothing": 1}}, 9)


def test_a_session_s_set_is_not_taken_for_the_file_s_of_the_same_name(running: Running, session: Session) -> None:
    running.load("""
sets: {offices: {type: address, values: [192.0.2.0/24, "2001:db8::/32"]}}
filters: [{name: a, layer: ipforward, action: block, when: {ip_source_address: $offices}}]
""")
    for name, values in (("b", ["10.0.0.0/8"]), ("c", ["192.0.2.0/24"])):  # The last equals the file's.
        session.add_text(said(sets=[{"name": "offices", "type": "address", "values": values}],
                              filters=[blocking(name, when={"ip_source_address": "$offices"})]))  # fmt: skip
    shown = Listings(SimpleNamespace(snapshot=None, flows=Flows(16)), lambda *_: None)  # type: ignore[arg-type]
    for step in (lambda: None, running.tables.fold, running.tables.rebuild):
        step()
        shown._running = SimpleNamespace(snapshot=running.tables.snapshot)  # type: ignore[assignment]
        assert shown.sets({})["objects"] == [
            {"name": "offices", "type": "address", "n_values": 3, "n_different": 2}
        ]  # fmt: skip
        found = shown.set_values({"name": "offices", "size": 1})["object"]
        assert sorted(found["values"]) == ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
        assert (found["n_values"], found["n_different"]) == (3, 2)


def test_references_are_counted_in_the_tables_and_beside_them(running: Running, session: Session) -> None:
    ground = running.bfe.ground
    universal = key_of(session, Kind.SUBLAYER, "universal")
    assert ground.references(Kind.SUBLAYER, universal, "universal") == 3
    assert ground.references(Kind.PROVIDER, uuid.UUID(int=0), "file") == 4
    assert ground.references(Kind.PROVIDER_CONTEXT, uuid.UUID(int=0), "file") == 0
    session.add_text(said(provider_contexts=[{"name": "data"}], filters=[blocking("a", provider_context="data")]))
    assert ground.references(Kind.SUBLAYER, universal, "universal") == 4
    assert ground.references(Kind.PROVIDER_CONTEXT, uuid.UUID(int=0), "data") == 1
    session.delete(Kind.FILTER, [key_of(session, Kind.FILTER, "seen")])
    assert ground.references(Kind.SUBLAYER, universal, "universal") == 3
    assert ground.references(Kind.CALLOUT, key_of(session, Kind.CALLOUT, "watch"), "watch") == 0


def test_the_same_is_listed_after_folds_and_rebuilds(running: Running, session: Session) -> None:
    for number in range(6):
        when = {"ip_source_address": "$s"}
        session.add_text(said(sets={"s": {"type": "address", "values": [f"203.0.113.{number}"]}},
                              filters=[blocking(f"f{number}", when=when)]))  # fmt: skip
    web = session.list(Kind.FILTER, {"name": "web"}, 9).objects[0]
    session.delete(Kind.FILTER, [uuid.UUID(web["key"])])
    template = {"layer": "ipforward_v4", "when": {"ip_source_address": "203.0.113.3"}, "type": "overlapping"}

    def seen() -> tuple[list[str], list[str], list[Any]]:
        return names(session), names(session, **template), [
            {name: value for name, value in one.items() if name != "hits"}
            for one in session.list(Kind.FILTER, {}, 100).objects
        ]  # fmt: skip

    before = seen()
    assert before[1] == ["f3/v4", "seen/v4"]
    running.tables.fold()
    assert seen() == before
    running.tables.rebuild()
    assert seen() == before


def test_a_session_deletes_a_filter_of_the_file_until_the_next_reload(running: Running, session: Session) -> None:
    session.delete(Kind.FILTER, [key_of(session, Kind.FILTER, "hosts")])
    assert names(session, name="hosts") == []
    running.load("filters: [{name: hosts, layer: ipforward_v4, action: permit}]")
    assert names(session) == ["hosts/v4"]


def test_a_filter_that_the_file_takes_over_is_no_sessions_any_more(running: Running, session: Session) -> None:
    key = str(uuid.uuid4())
    session.add_text(said(filters=[blocking("a", key=key), blocking("b")]))
    for _ in range(2):
        running.load(f"filters: [{{name: a, key: {key}, layer: ipforward_v4, action: permit}}]")
        assert {one["name"]: one["lifetime"] for one in session.list(Kind.FILTER, {}, 9).objects} == {
            "a": "file", "b": "static",
        }  # fmt: skip
        running.tables.rebuild()


def test_a_callout_registered_anew_is_called_by_the_filters_added_from_then_on(
    running: Running, session: Session
) -> None:
    callout = {"name": "c", "use": "wfpd.callouts.fixed:Fixed", "options": {"answer": "permit"}}
    kind = {"callout": "c", "kind": "terminating"}
    session.add_text(said(callouts=[callout], filters=[blocking("a", action=kind)]), callouts=True)
    root = running.root
    key = key_of(session, Kind.CALLOUT, "c")
    first = root.callable_of(key.bytes)
    session.begin()
    session.delete(Kind.FILTER, [key_of(session, Kind.FILTER, "a")])
    session.delete(Kind.CALLOUT, [key])
    session.add_text(said(callouts=[callout | {"options": {"answer": "block"}}], filters=[blocking("a", action=kind)]),
                     callouts=True)  # fmt: skip
    session.commit()
    assert root.callable_of(key.bytes) is not first
    running.tables.rebuild()
    assert running.root.callable_of(key.bytes) is not first


def test_more_sublayers_than_fit_beside_a_base_become_part_of_a_new_one(running: Running, session: Session) -> None:
    many = 300
    filters = [blocking(f"f{number}", sublayer=f"s{number}") for number in range(many)]
    session.add_text(said(sublayers=[{"name": f"s{number}"} for number in range(many)], filters=filters))
    assert session.list(Kind.FILTER, {"sublayer": f"s{many - 1}"}, 9).total == 1
    assert session.list(Kind.FILTER, {}, 9).total == many + 4


def test_a_callout_is_shown_with_its_class_its_calls_and_its_contexts(running: Running, session: Session) -> None:
    running.load("filters: []")
    callout = {"name": "c", "use": "wfpd.callouts.fixed:Fixed", "options": {"answer": "block"}}
    session.add_text(said(callouts=[callout, {"name": "bare"}]), callouts=True)
    found = {one["name"]: one for one in session.list(Kind.CALLOUT, {}, 9).objects}
    assert (found["c"]["calls"], found["c"]["errors"], "class" in found["c"]) == (5, 2, False), "nothing calls it yet"
    session.add_text(said(filters=[blocking("a", action={"callout": "c", "kind": "unknown"})]))
    found = {one["name"]: one for one in session.list(Kind.CALLOUT, {}, 9).objects}
    assert [found["c"][name] for name in ("class", "layers", "contexts")] == ["wfpd.callouts.fixed:Fixed", [], 3]
    assert "class" not in found["bare"]
