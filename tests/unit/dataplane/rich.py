"""A packed policy with every kind of record at least once."""

from __future__ import annotations

from typing import Any

from tests.builders import a_filter, a_policy, callout, slot, sublayer, value_sets, when, within
from wfpd.compiler.pack import pack
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action, Policy, ProviderContext, default_key

PERMIT, BLOCK = Action.PERMIT, Action.BLOCK
WORDS: dict[str, Any] = {"on_error": 1, "on_malformed": 1, "on_late": 1, "flows_full": 1}


def a_rich_policy() -> Policy:
    """Every kind of record at least once."""
    return a_policy(
        [
            a_filter("port", PERMIT, when("ip_source_port", within(22, 80), Atom(Op.IN_SET, set="number-small"))),
            a_filter("address", BLOCK, when("ip_source_address", Atom(Op.IN_SET, set="address-wide"), negate=True)),
            a_filter("six", BLOCK, when("ip_source_address", Atom(Op.IN_SET, set="address-wide")), at=slot(family=6)),
            a_filter("name", PERMIT, when("interface_name", Atom(Op.TEXT_GLOB, text=b"eth*"),
                                          Atom(Op.TEXT_RANGE, text=b"a", text_high=b"f"),
                                          Atom(Op.IN_SET, set="text-wide"), Atom(Op.EMPTY))),
            a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c", sublayer="high", provider_context="p"),
        ],
        [sublayer("high", 0x9000)],
        [callout("c"), callout("d", use="")],
        value_sets(),
    )  # fmt: skip


def rich_bytes() -> bytes:
    policy = a_rich_policy()
    context = ProviderContext("p", default_key("file", "provider_context", "p"), {"a": 1})
    return pack(Policy(policy.filters, policy.sublayers, policy.callouts, policy.sets, (), (context,)))
