"""Templates of enumerations (what they admit is tested with the tables, in test_ground.py)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bfe.engines import Engine, refused, said
from wfpd.control import template
from wfpd.control.template import Template
from wfpd.errors import PolicyError


def made(**given: Any) -> Template:
    return Template(given, Engine().bfe.store)


def test_an_empty_template_is_of_everything() -> None:
    assert made()._slots is None
    assert made(layer="ipforward")._slots == {24, 25}


def test_conditions_are_read_as_those_of_a_filter_with_all_their_errors() -> None:
    with pytest.raises(PolicyError) as caught:
        made(layer="ipforward", when={"ip_protocol": "nothing", "ip_source_port": 70000})
    assert len(caught.value.problems) == 2
    with pytest.raises(PolicyError, match="FWP_E_DUPLICATE_CONDITION"):
        made(layer="inbound_transport", when={"icmp_type": 8, "ip_local_port": 8})


def test_an_error_speaks_of_the_template_and_of_no_file() -> None:
    with pytest.raises(PolicyError) as caught:
        made(layer="ipforward", when={"ip_port": 1})
    assert str(caught.value.problems[0]).startswith('template: there is no field "ip_port" (FWP_E_CONDITION_NOT_FOUND)')


def test_filters_are_asked_for_by_any_object_that_they_refer_to() -> None:
    engine = Engine()
    engine.open().add_text(said(provider_contexts=[{"name": "limits"}]))
    assert Template({"provider_context": "limits"}, engine.bfe.store)._wanted == {"provider_context": ("limits",)}
    with refused("FWP_E_PROVIDER_CONTEXT_NOT_FOUND"):
        made(provider_context="limits")


def test_a_template_that_can_match_in_one_family_is_one() -> None:
    assert made(layer="ipforward", when={"ip_source_address": "192.0.2.1"})
    with refused("FWP_E_NEVER_MATCH"):
        made(layer="ipforward_v6", when={"ip_source_address": "192.0.2.1"})


def test_the_best_terminating_match_is_of_what_terminates() -> None:
    assert made(flags=["best_terminating_match"])._wanted["action"] == template.TERMINATING
    assert made(flags=["best_terminating_match"], action="block")._wanted["action"] == {"block"}
    assert made(flags=["best_terminating_match"], action="callout_inspection")._wanted["action"] == set()


def test_no_provider_is_asked_for_by_null() -> None:
    assert made(provider=None)._wanted == {"provider": ("",)}
    assert made(provider="file")._wanted == {"provider": ("file",)}
