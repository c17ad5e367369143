"""Changes as text."""

from __future__ import annotations

import pytest

from tests.unit.bfe.engines import Engine, blocking, refused, said
from wfpd.bfe import fragment
from wfpd.bfe.objects import Lifetime, Owner
from wfpd.bfe.working import Working
from wfpd.errors import PolicyError

STATIC = Owner(Lifetime.STATIC)


@pytest.fixture
def working() -> Working:
    engine = Engine()
    return Working(engine.bfe.store, engine.ground)


def read(text: str, working: Working, *, callouts: bool = True) -> fragment.Fragment:
    return fragment.read(text, working, working._ground, callouts=callouts)


def test_only_what_the_text_declares_is_new(working: Working) -> None:
    found = read(said(sublayers=[{"name": "mine"}], filters=[blocking("a", sublayer="mine")]), working)
    assert [item.name for item, _ in found.items] == ["mine"]
    assert [item.name for item in found.filters] == ["a"]
    assert not found.sets


def test_the_same_fragment_can_be_added_to_another_store(working: Working) -> None:
    found = read(said(providers=[{"name": "p"}], filters=[blocking("a", provider="p")]), working)
    for _ in range(2):
        added = found.add_to(Working(working.base, working._ground), STATIC, None)
        assert [one.item.name for one in added] == ["a"]


def test_a_fragment_that_fails_leaves_nothing_of_itself(working: Working) -> None:
    found = read(said(providers=[{"name": "p"}], sets={"s": {"type": "port", "values": [1]}},
                      filters=[blocking("a"), blocking("b")]), working)  # fmt: skip
    found.add_to(working, STATIC, None)
    working.delete_filter(found.filters[0].key.bytes)
    before = len(working.changes)
    with refused("FWP_E_ALREADY_EXISTS"):
        found.add_to(working, STATIC, None)
    assert len(working.changes) == before
    assert set(working.added) == {found.filters[1].key.bytes}


def test_every_error_of_a_text_is_said_at_once(working: Working) -> None:
    with pytest.raises(PolicyError) as caught:
        read(said(filters=[blocking("a", layer="nowhere"), blocking("b", sublayer="none")]), working)
    assert [problem.code for problem in caught.value.problems] == ["FWP_E_LAYER_NOT_FOUND", "FWP_E_SUBLAYER_NOT_FOUND"]


def test_code_is_named_only_by_those_who_may(working: Working) -> None:
    text = said(callouts=[{"name": "c", "use": "wfpd.callouts.fixed:Fixed"}])
    with pytest.raises(PolicyError):
        read(text, working, callouts=False)
    ((item, call),) = read(text, working).items
    assert item.name == "c"
    assert callable(call)
