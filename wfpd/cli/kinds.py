"""The types of objects that commands speak of, and the columns that a list of them has."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from wfpd.cli import tables
from wfpd.cli.objects import Kind
from wfpd.cli.tables import Column, of

_RANGE_SHIFT = 60
"""A filter's effective weight begins with the four bits of its range."""


def _range(item: Mapping[str, Any]) -> str:
    known = tables.number(item.get("weight"))
    return tables.NOTHING if known is None else str(known >> _RANGE_SHIFT)


def _filter_weight(item: Mapping[str, Any]) -> str:
    return tables.weight(item.get("weight"), 64)


def _last_hit(item: Mapping[str, Any]) -> str:
    return tables.ago(item.get("last_hit"), time.time())


def _action(item: Mapping[str, Any]) -> str:
    action = item.get("action")
    if isinstance(action, Mapping):
        return f"callout {action.get('callout')} ({action.get('kind')})"
    return tables.value(action)


def _sublayer_weight(item: Mapping[str, Any]) -> str:
    return tables.weight(item.get("weight"), 16)


def _requested(item: Mapping[str, Any]) -> str:
    return tables.weight(item.get("requested_weight"), 16)


_NAME, _KEY = Column("name", of("name")), Column("key", of("key"))
_PROVIDER = Column("provider", of("provider"))
_N_FILTERS = Column("filters", of("n_filters"), right=True)

FILTERS = Kind("filters", "filter", "filter", (
    _NAME,
    Column("layer", of("layer")),
    Column("sublayer", of("sublayer")),
    Column("weight", _filter_weight),
    Column("range", _range, right=True),
    Column("action", _action),
    Column("hits", of("hits"), right=True),
    Column("last hit", _last_hit),
    _KEY,
    Column("when", lambda item: tables.conditions(item.get("when"))),
), has_layers=True)  # fmt: skip
SUBLAYERS = Kind("sublayers", "sublayer", "sublayer", (
    _NAME,
    Column("weight", _sublayer_weight),
    Column("requested", _requested),
    _N_FILTERS,
    _PROVIDER,
    Column("lifetime", of("lifetime")),
    _KEY,
), 16)  # fmt: skip
PROVIDERS = Kind("providers", "provider", "provider", (_NAME, Column("lifetime", of("lifetime")), _KEY))
PROVIDER_CONTEXTS = Kind("provider_contexts", "provider_context", "provider context", (
    _NAME,
    _PROVIDER,
    Column("lifetime", of("lifetime")),
    _KEY,
))  # fmt: skip
CALLOUTS = Kind("callouts", "callout", "callout", (
    _NAME,
    Column("layers", of("layers")),
    Column("registered", of("registered")),
    _N_FILTERS,
    Column("use", of("use")),
    Column("calls", of("calls"), right=True),
    Column("errors", of("errors"), right=True),
    Column("contexts", of("contexts"), right=True),
    Column("suspended", of("suspended")),
    _PROVIDER,
    _KEY,
))  # fmt: skip
