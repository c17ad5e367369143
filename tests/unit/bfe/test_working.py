"""References, lifetimes, and what makes a change whole."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bfe.engines import Engine, blocking, key_of, refused, said
from wfpd.bfe import Kind, working
from wfpd.errors import FwpError
from wfpd.model.policy import default_key


@pytest.fixture
def engine() -> Engine:
    return Engine()


PROVIDER = {"providers": [{"name": "acme"}]}


def test_an_object_that_is_referred_to_cannot_be_deleted(engine: Engine) -> None:
    """13.17."""
    session = engine.open()
    session.add_text(said(**PROVIDER, sublayers=[{"name": "mine", "provider": "acme"}],
                          provider_contexts=[{"name": "data", "data": [1]}],
                          filters=[blocking("a", sublayer="mine", provider_context="data")]))  # fmt: skip
    keys = {
        kind: key_of(session, kind, name)
        for kind, name in ((Kind.PROVIDER, "acme"), (Kind.SUBLAYER, "mine"), (Kind.PROVIDER_CONTEXT, "data"))
    }
    for kind, key in keys.items():
        with refused("FWP_E_IN_USE"):
            session.delete(kind, [key])
    session.begin()
    session.delete(Kind.FILTER, [key_of(session, Kind.FILTER, "a")])
    session.delete(Kind.PROVIDER_CONTEXT, [keys[Kind.PROVIDER_CONTEXT]])
    with refused("FWP_E_IN_USE"):
        session.delete(Kind.PROVIDER, [keys[Kind.PROVIDER]])
    session.delete(Kind.SUBLAYER, [keys[Kind.SUBLAYER]])
    session.delete(Kind.PROVIDER, [keys[Kind.PROVIDER]])
    session.commit()
    assert not engine.ground.filters


def test_who_refers_to_an_object_is_said_with_the_commands_that_list_them(engine: Engine) -> None:
    session = engine.open()
    session.add_text(said(**PROVIDER, sublayers=[{"name": "mine", "provider": "acme"}],
                          provider_contexts=[{"name": "a", "provider": "acme"}, {"name": "b", "provider": "acme"}],
                          filters=[blocking("a", sublayer="mine", provider_context="b")]))  # fmt: skip
    for kind, name, message, hint in (
        (Kind.PROVIDER, "acme", "1 sublayer, 2 provider contexts refer to provider 'acme' (FWP_E_IN_USE)",
         "see `wfpd sublayers list --provider acme`, `wfpd provider-contexts list --provider acme`"),
        (Kind.PROVIDER_CONTEXT, "b", "1 filter refers to provider context 'b' (FWP_E_IN_USE)",
         "see `wfpd filters list --provider-context b`"),
    ):  # fmt: skip
        with pytest.raises(FwpError) as caught:
            session.delete(kind, [key_of(session, kind, name)])
        assert (caught.value.message, caught.value.hint) == (message, hint)


def test_what_a_transaction_adds_counts_as_a_reference(engine: Engine) -> None:
    session = engine.open()
    session.add_text(said(sublayers=[{"name": "mine"}]))
    session.begin()
    session.add_text(said(filters=[blocking("a", sublayer="mine")]))
    with refused("FWP_E_IN_USE"):
        session.delete(Kind.SUBLAYER, [key_of(session, Kind.SUBLAYER, "mine")])


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_not_there_is_not_found(engine: Engine, kind: Kind) -> None:
    session = engine.open()
    with refused(f"FWP_E_{kind.name}_NOT_FOUND"):
        session.delete(kind, [uuid.uuid4()])
    with refused(f"FWP_E_{kind.name}_NOT_FOUND"):
        session.get(kind, uuid.uuid4())


def test_built_in_objects_stay(engine: Engine) -> None:
    session = engine.open()
    for kind, name in ((Kind.SUBLAYER, "universal"), (Kind.SUBLAYER, "inspection"), (Kind.PROVIDER, "file")):
        with refused("FWP_E_BUILTIN_OBJECT"):
            session.delete(kind, [key_of(session, kind, name)])


def test_nothing_refers_to_what_may_die_earlier(engine: Engine) -> None:
    """13.17: static to dynamic, and dynamic to dynamic of another session."""
    first, second, static = engine.open(dynamic=True), engine.open(dynamic=True), engine.open()
    first.add_text(said(**PROVIDER, sublayers=[{"name": "theirs"}]))
    for other in (second, static):
        with refused("FWP_E_LIFETIME_MISMATCH"):
            other.add_text(said(filters=[blocking("a", sublayer="theirs")]))
        with refused("FWP_E_LIFETIME_MISMATCH"):
            other.add_text(said(filters=[blocking("a", provider="acme")]))
        with refused("FWP_E_LIFETIME_MISMATCH"):
            other.add_text(said(sublayers=[{"name": "mine", "provider": "acme"}]))
    first.add_text(said(filters=[blocking("a", sublayer="theirs", provider="acme")]))
    static.add_text(said(sublayers=[{"name": "static"}]))
    second.add_text(said(filters=[blocking("b", sublayer="static")]))


def test_a_key_is_unique_within_its_kind_only(engine: Engine) -> None:
    session, key = engine.open(), str(uuid.uuid4())
    session.add_text(said(sublayers=[{"name": "s", "key": key}], providers=[{"name": "p", "key": key}],
                          filters=[blocking("f", key=key)]))  # fmt: skip
    with refused("FWP_E_ALREADY_EXISTS"):
        session.add_text(said(filters=[blocking("g", key=key)]))


def test_a_change_is_a_deletion_and_an_addition_in_one_transaction(engine: Engine) -> None:
    session = engine.open()
    key = uuid.UUID(session.add_text(said(filters=[blocking("a")])).objects[0]["key"])
    session.begin()
    session.delete(Kind.FILTER, [key])
    assert session.list(Kind.FILTER, {}, 9).total == 0
    session.add_text(said(filters=[blocking("a", action="permit")]))
    session.commit()
    assert engine.ground.calls == [(1, 0), (1, 1)]
    assert session.get(Kind.FILTER, key)["name"] == "a"


def test_all_keys_of_a_deletion_or_none(engine: Engine) -> None:
    session = engine.open()
    key = uuid.UUID(session.add_text(said(filters=[blocking("a")])).objects[0]["key"])
    session.begin()
    with refused("FWP_E_FILTER_NOT_FOUND"):
        session.delete(Kind.FILTER, [key, uuid.uuid4()])
    session.commit()
    assert engine.names() == {"a"}


def test_objects_are_named_by_name_or_by_key(engine: Engine) -> None:
    session = engine.open()
    session.add_text(said(sublayers=[{"name": "mine"}]))
    key = str(key_of(session, Kind.SUBLAYER, "mine"))
    done = session.add_text(said(filters=[blocking("a", sublayer=key)]))
    assert done.objects[0]["sublayer"] == "mine"
    with pytest.raises(Exception, match="there is no sublayer"):
        session.add_text(said(filters=[blocking("b", sublayer=str(uuid.uuid4()))]))


def test_the_inspection_sublayer_takes_inspection_callouts_only_by_whatever_name(engine: Engine) -> None:
    session = engine.open()
    key = str(key_of(session, Kind.SUBLAYER, "inspection"))
    for name in ("inspection", key):
        with pytest.raises(Exception, match="FWP_E_ACTION_INCOMPATIBLE_WITH_SUBLAYER"):
            session.add_text(said(filters=[blocking("a", sublayer=name)]))


def test_objects_of_the_file_are_the_files(engine: Engine) -> None:
    with refused("FWP_E_INVALID_PARAMETER"):
        engine.open().add_text(said(filters=[blocking("a", provider="file")]))


def test_a_new_sublayer_gets_a_weight_that_none_has(engine: Engine) -> None:
    session = engine.open()
    session.add_text(said(sublayers=[{"name": "a", "weight": 100}]))
    session.add_text(said(sublayers=[{"name": "b", "weight": 100}]))
    session.add_text(said(sublayers=[{"name": "c"}]))
    found = {one["name"]: (one["requested_weight"], one["weight"])
             for one in session.list(Kind.SUBLAYER, {}, 9).objects}  # fmt: skip
    assert (found["a"], found["b"], found["c"]) == ((100, 100), (100, 99), (None, 1))


def test_without_a_provider_the_key_comes_from_the_name_alone(engine: Engine) -> None:
    done = engine.open().add_text(said(filters=[blocking("a")]))
    assert done.objects[0]["key"] == str(default_key("", "filter", "a"))
    assert done.objects[0]["provider"] is None


def test_bounds_of_objects_and_filters(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = engine.open()
    monkeypatch.setattr(working, "MOST_OBJECTS", 3)
    session.add_text(said(sublayers=[{"name": "a"}]))
    with refused("FWP_E_TOO_MANY_SUBLAYERS"):
        session.add_text(said(sublayers=[{"name": "b"}]))
    monkeypatch.setattr(working, "MOST_STAGED", 2)
    session.begin()
    session.add_text(said(filters=[blocking("a"), blocking("b")]))
    with refused("FWP_E_OUT_OF_BOUNDS"):
        session.add_text(said(filters=[blocking("c")]))
    session.commit()
    monkeypatch.setattr(working, "MOST_FILTERS", 2)
    with refused("FWP_E_OUT_OF_BOUNDS"):
        session.add_text(said(filters=[blocking("c")]))


def test_what_comes_and_goes_in_one_transaction_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "MOST_CHANGES", 3)
    session = engine.open()
    session.begin()
    session.add_text(said(sublayers=[{"name": "s"}], filters=[blocking("a"), blocking("b")]))
    with refused("FWP_E_OUT_OF_BOUNDS"):
        session.add_text(said(filters=[blocking("c")]))
    session.commit()
    assert engine.names() == {"a", "b"}


def test_equal_sets_of_one_transaction_are_one_and_others_are_refused(engine: Engine) -> None:
    def with_set(name: str, value: str) -> str:
        when: dict[str, Any] = {"ip_source_address": "$s"}
        return said(sets={"s": {"type": "address", "values": [value]}}, filters=[blocking(name, when=when)])

    session = engine.open()
    session.begin()
    session.add_text(with_set("a", "192.0.2.1"))
    session.add_text(with_set("b", "192.0.2.1"))
    with refused("FWP_E_ALREADY_EXISTS"):
        session.add_text(with_set("c", "192.0.2.2"))
    session.commit()
    assert engine.names() == {"a", "b"}
    session.add_text(with_set("c", "192.0.2.2"))


def test_a_callout_is_made_when_it_is_added_and_known_to_the_tables_with_its_first_filter(engine: Engine) -> None:
    session = engine.open()
    callout = {"name": "c", "use": "wfpd.callouts.fixed:Fixed", "options": {"answer": "permit"}}
    session.add_text(said(callouts=[callout]), callouts=True)
    assert engine.ground.loaded == ["wfpd.callouts.fixed:Fixed"]
    session.add_text(said(filters=[blocking("a", action={"callout": "c"})]))
    assert callable(engine.ground.registered["c"])
    with pytest.raises(Exception, match="callouts"):
        session.add_text(said(callouts=[callout | {"name": "d"}]))
    with refused("FWP_E_IN_USE"):
        session.delete(Kind.CALLOUT, [key_of(session, Kind.CALLOUT, "c")])


def test_objects_of_the_file_may_be_named(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, "sublayers: [{name: perimeter, weight: 9}]\ncallouts: [{name: c}]\n")
    session = engine.open()
    session.add_text(said(filters=[blocking("a", sublayer="perimeter", action={"callout": "c"})]))
    assert session.list(Kind.SUBLAYER, {"name": "perimeter"}, 9).objects[0]["lifetime"] == "file"
