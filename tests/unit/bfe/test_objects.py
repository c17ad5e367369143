"""Who may refer to whom, and what objects are called."""

from __future__ import annotations

import uuid

import pytest

from wfpd.bfe.objects import BUILTIN, OF_FILE, Kind, Lifetime, Owner, filter_id
from wfpd.errors import FWP_E

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
STATIC, DYNAMIC = Owner(Lifetime.STATIC, ONE), Owner(Lifetime.DYNAMIC, ONE)


@pytest.mark.parametrize(
    ("owner", "to", "may"),
    [
        (STATIC, BUILTIN, True),
        (STATIC, OF_FILE, True),
        (STATIC, Owner(Lifetime.STATIC, OTHER), True),
        (STATIC, DYNAMIC, False),
        (DYNAMIC, DYNAMIC, True),
        (DYNAMIC, STATIC, True),
        (DYNAMIC, OF_FILE, True),
        (DYNAMIC, Owner(Lifetime.DYNAMIC, OTHER), False),
    ],
)
def test_an_object_refers_to_what_lives_as_long(owner: Owner, to: Owner, may: bool) -> None:
    assert owner.may_refer_to(to) is may


def test_every_kind_has_a_code_of_wfp_for_not_being_there() -> None:
    assert {kind.not_found for kind in Kind} <= FWP_E.keys()
    assert FWP_E[Kind.PROVIDER_CONTEXT.not_found] == 0x80320006


def test_the_number_of_a_filter_comes_from_its_key_alone() -> None:
    key = uuid.UUID("01020304-0506-0708-090a-0b0c0d0e0f10")
    assert filter_id(key.bytes) == 0x0102030405060708
