"""What is seen at one moment, and within a transaction."""

from __future__ import annotations

import uuid

import pytest

from tests.unit.bfe.engines import Engine, blocking, key_of, refused, said
from wfpd.bfe import Kind, Session


@pytest.fixture
def session() -> Session:
    return Engine().open(name="s", uid=7)


def test_an_object_is_shown_with_everything_that_is_known_of_it(session: Session) -> None:
    session.add_text(said(providers=[{"name": "acme", "description": "of Acme"}],
                          sublayers=[{"name": "mine", "weight": 5, "provider": "acme"}],
                          filters=[blocking("a", sublayer="mine")]))  # fmt: skip
    (found,) = session.list(Kind.SUBLAYER, {"name": "mine"}, 9).objects
    assert {name: found[name] for name in found if name not in ("key", "id")} == {
        "name": "mine", "description": "", "lifetime": "static", "session": str(session.key), "n_filters": 1,
        "weight": 5, "requested_weight": 5, "provider": "acme", "operate": False,
    }  # fmt: skip
    (filter_,) = session.list(Kind.FILTER, {}, 9).objects
    assert (filter_["lifetime"], filter_["session"], filter_["uid"], filter_["expires"], filter_["provider"]) == (
        "static", str(session.key), 7, None, None,
    )  # fmt: skip


def test_sublayers_come_in_the_order_of_evaluation(session: Session) -> None:
    session.add_text(said(sublayers=[{"name": "low", "weight": 2}, {"name": "high", "weight": 0x9000}]))
    names = [one["name"] for one in session.list(Kind.SUBLAYER, {}, 9).objects]
    assert names == ["high", "universal", "low", "inspection"]


def test_a_transaction_sees_what_it_adds_and_not_what_it_deletes(session: Session) -> None:
    session.add_text(said(filters=[blocking("a"), blocking("b")]))
    key = key_of(session, Kind.FILTER, "a")
    session.begin()
    session.delete(Kind.FILTER, [key])
    session.add_text(said(filters=[blocking("c")]))
    assert {one["name"] for one in session.list(Kind.FILTER, {}, 9).objects} == {"b", "c"}
    with refused("FWP_E_FILTER_NOT_FOUND"):
        session.get(Kind.FILTER, key)
    session.abort()
    assert session.get(Kind.FILTER, key)["name"] == "a"


def test_a_template_asks_for_what_objects_have(session: Session) -> None:
    session.add_text(said(callouts=[{"name": "c"}]), callouts=True)
    assert session.list(Kind.CALLOUT, {"name": "c", "provider": "x"}, 9).total == 0
    (found,) = session.list(Kind.CALLOUT, {"name": "c"}, 9).objects
    assert (found["registered"], found["errors"], found["suspended"]) == (False, 3, True)
    with refused("FWP_E_INVALID_PARAMETER"):
        session.list(Kind.CALLOUT, {"colour": "red"}, 9)


def test_a_key_of_another_kind_is_not_found(session: Session) -> None:
    key = key_of(session, Kind.SUBLAYER, "universal")
    assert session.get(Kind.SUBLAYER, key)["lifetime"] == "builtin"
    with refused("FWP_E_PROVIDER_NOT_FOUND"):
        session.get(Kind.PROVIDER, key)
    with refused("FWP_E_FILTER_NOT_FOUND"):
        session.get(Kind.FILTER, uuid.UUID(int=0))
