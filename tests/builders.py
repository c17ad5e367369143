"""Small policies by hand, and hypothesis strategies that draw from tiny sets so that overlaps and ties abound."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from wfpd.compiler.pack import pack
from wfpd.dataplane import Snapshot
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Callout, Filter, FilterFlag, Policy, Sublayer, ValueSet, Word, default_key

CALLOUT_ACTIONS = (Action.CALLOUT_TERMINATING, Action.CALLOUT_INSPECTION, Action.CALLOUT_UNKNOWN)


def slot(layer: str = "ipforward", family: int = 4) -> int:
    """The packet path's number of a layer."""
    return LAYER[layer].slot(family)


def equal(value: int) -> Atom:
    return Atom(Op.RANGE, value, value)


def within(low: int, high: int) -> Atom:
    return Atom(Op.RANGE, low, high)


def when(field: str, *atoms: Atom, negate: bool = False) -> Condition:
    """A condition of one term."""
    return Condition(FIELD[field].id, (Term(tuple(atoms), negate),))


def sublayer(name: str, weight: int) -> Sublayer:
    return Sublayer(name, default_key("file", "sublayer", name), weight)


def callout(name: str, use: str = "module:Class", **options: object) -> Callout:
    return Callout(name, default_key("file", "callout", name), use, options)


def a_filter(name: str, action: Action, *conditions: Condition, at: int | None = None, **members: Any) -> Filter:
    """A filter at ipforward_v4 in `universal`, unless said otherwise; `order` and `weight` default to 0."""
    given = {"sublayer": "universal", "order": 0, "weight": 0, **members}
    key = given.pop("key", default_key("file", "filter", name))
    return Filter(name, key, slot() if at is None else at, action=action, conditions=conditions, **given)


def a_policy(
    filters: Iterable[Filter],
    sublayers: Sequence[Sublayer] = (),
    callouts: Sequence[Callout] = (),
    sets: Sequence[ValueSet] = (),
) -> Policy:
    """A policy whose filters' `order` is their position, with `universal` among its sublayers."""
    ordered = tuple(dataclasses.replace(item, order=index) for index, item in enumerate(filters))
    ranks = sorted((*sublayers, sublayer("universal", 0x8000)), key=lambda item: -item.weight)
    return Policy(filters=ordered, sublayers=tuple(ranks), callouts=tuple(callouts), sets=tuple(sets))


def snapshot(policy: Policy, callouts: list[Callable[..., object] | None] | None = None, **options: Any) -> Snapshot:
    """The policy as the packet path sees it; callouts with `use` are registered unless `callouts` says otherwise."""
    if callouts is None:
        callouts = [(lambda context: None) if item.use else None for item in policy.callouts]
    words = {"on_error": Word.PERMIT, "on_malformed": Word.PERMIT, "on_late": Word.PERMIT, "flows_full": Word.PERMIT}
    return Snapshot(pack(policy), callouts, **{"generation": 1, **words, **options})


# --- strategies ---------------------------------------------------------------------------------

NUMBERS = {
    "ip_protocol": (0, 6, 17, 255),
    "ip_source_port": (0, 22, 80, 443, 65535),
    "ip_destination_port": (0, 22, 80, 443, 65535),
    "flags": (0, 1, 2, 5, 0x10, 0xFFFFFFFF),
    "tcp_flags": (0, 2, 16, 18, 255),
    "ip_local_interface": (0, 1, 2**63, 2**64 - 1),
}
ADDRESSES_V4 = (0, 0x0A000001, 0x0A000002, 0x0A0000FF, 0xC0000201, 0xFFFFFFFF)
ADDRESSES_V6 = (0, 1, 2**64 - 1, 2**64, (0x20010DB8 << 96) + 1, 2**128 - 1)
TEXTS = (b"", b"e", b"eth", b"eth0", b"eth1", b"ETH0", b"veth0", b"lo")
GLOBS = (b"*", b"eth*", b"*eth?", b"[ev]*0", b"eth[!0]", b"?*h*", b"[", b"[]a]", b"e[a-t]h[0-9]", b"**0")
FIELDS_DRAWN = (*NUMBERS, "ip_source_address", "ip_destination_address", "interface_name")
SET_NAMES = ("small", "empty", "wide")


def pool(field: str, family: int) -> tuple[int, ...] | tuple[bytes, ...]:
    """The few values that a field takes here."""
    if FIELD[field].is_address:
        return ADDRESSES_V6 if family == 6 else ADDRESSES_V4
    return NUMBERS.get(field, TEXTS)


@st.composite
def atoms(draw: st.DrawFn, field: str, family: int) -> Atom:
    values = st.sampled_from(pool(field, family))
    if draw(st.integers(0, 9)) == 0:
        return Atom(Op.EMPTY)
    if draw(st.integers(0, 4)) == 0:
        return Atom(Op.IN_SET, set=f"{_set_type(field)}-{draw(st.sampled_from(SET_NAMES))}")
    if field == "interface_name":
        op = draw(st.sampled_from([op for op in Op if op >= Op.TEXT_EQUAL]))
        text = draw(st.sampled_from(GLOBS)) if op is Op.TEXT_GLOB else draw(values)
        high = draw(st.none() | values) if op is Op.TEXT_RANGE else None
        return Atom(op, text=text, text_high=high)
    op = draw(st.sampled_from([Op.RANGE, Op.RANGE, Op.RANGE, Op.ALL_SET, Op.ANY_SET, Op.NONE_SET]))
    low, high = sorted((draw(values), draw(values)))
    return Atom(op, low, low if op is not Op.RANGE or draw(st.booleans()) else high)


def _set_type(field: str) -> str:
    if FIELD[field].is_address:
        return "address"
    return "text" if field == "interface_name" else "number"


def value_sets() -> tuple[ValueSet, ...]:
    """The sets that drawn conditions name."""
    return (
        ValueSet("number-small", "uint64", ((6, 6), (22, 80))),
        ValueSet("number-empty", "uint64"),
        ValueSet("number-wide", "uint64", ((0, 0), (2, 5), (443, 2**32 - 1))),
        ValueSet("address-small", "address", ((0x0A000001, 0x0A000002),), ((1, 1), (2**64, 2**65))),
        ValueSet("address-empty", "address"),
        ValueSet("address-wide", "address", ((0, 1), (0xC0000000, 2**32 - 1)), ((2**64 - 1, 2**128 - 1),)),
        ValueSet("text-small", "text", texts=(b"eth0", b"lo")),
        ValueSet("text-empty", "text"),
        ValueSet("text-wide", "text", texts=(b"", b"ETH0", b"e", b"eth1", b"veth0")),
    )


@st.composite
def conditions(draw: st.DrawFn, field: str, family: int) -> Condition:
    tests = st.lists(atoms(field, family), max_size=3).map(tuple)
    term = st.builds(Term, tests, negate=st.sampled_from([False, False, True]))
    return Condition(FIELD[field].id, tuple(draw(st.lists(term, max_size=3))))


@st.composite
def filters(draw: st.DrawFn, name: str, at: int, sublayers: Sequence[str], callouts: Sequence[str]) -> Filter:
    action = draw(st.sampled_from([Action.PERMIT, Action.BLOCK, *(CALLOUT_ACTIONS if callouts else ())]))
    fields = draw(st.lists(st.sampled_from(FIELDS_DRAWN), max_size=3, unique=True))
    flag = st.sampled_from([FilterFlag(0), FilterFlag(0), FilterFlag.CLEAR_ACTION_RIGHT])
    flags = draw(flag) | draw(st.sampled_from([FilterFlag(0)] * 5 + [FilterFlag.AUDIT]))
    named = ""
    if action in CALLOUT_ACTIONS:
        named = draw(st.sampled_from(list(callouts)))
        if action is not Action.CALLOUT_INSPECTION and draw(st.booleans()):
            flags |= FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED
    return Filter(
        name, uuid.uuid5(uuid.NAMESPACE_OID, name), at, draw(st.sampled_from(list(sublayers))), action, order=0,
        weight=draw(st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])), callout=named, flags=flags,
        conditions=tuple(draw(conditions(field, 6 if at & 1 else 4)) for field in fields),
    )  # fmt: skip


@st.composite
def policies(draw: st.DrawFn, at: int | None = None, most: int = 12) -> Policy:
    """Policies with a few filters, at one slot or at ipforward of both families."""
    layers = [at] if at is not None else [slot(family=4), slot(family=6)]
    ranks = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
    callouts = [callout("there"), callout("also-there"), callout("missing", use="")]
    drawn = [
        draw(filters(f"f{index}", draw(st.sampled_from(layers)), ["high", "universal", "low"],
                     [item.name for item in callouts]))
        for index in range(draw(st.integers(0, most)))
    ]  # fmt: skip
    return a_policy(drawn, ranks, callouts, value_sets())


@st.composite
def field_values(draw: st.DrawFn, family: int) -> dict[str, int | bytes | None]:
    """One packet's values: each field from its pool, or EMPTY."""
    return {
        field: draw(st.none() | st.sampled_from(pool(field, family))) if draw(st.booleans())
        else draw(st.sampled_from(pool(field, family)))
        for field in FIELDS_DRAWN
    }  # fmt: skip
