"""Attachments to rules, as values."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from wfpd.errors import Location, PolicyError
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Attachment, Faults, Filter, Policy, Word
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.ruleset import RuleSet, needed_hooks, plan, queue_ranges


def planned(*attachments: Attachment, faults: Faults | None = None, workers: int = 1, **options: object) -> RuleSet:
    return plan(attachments, faults or Faults(), Marks(), queue_ranges(attachments, workers), **options)  # type: ignore[arg-type]


def policy(*layers: str) -> Policy:
    filters = tuple(
        Filter(name, uuid.uuid4(), LAYER[name].slot(4), "universal", Action.PERMIT, order, 0)
        for order, name in enumerate(layers)
    )
    return Policy(filters=filters)


def test_rules_stand_in_the_order_in_which_a_packet_meets_the_hooks() -> None:
    assert planned(*map(Attachment, ("output", "input", "forward"))).hooks == ("input", "forward", "output")


def test_the_bypass_flag_follows_on_absent() -> None:
    assert planned(Attachment("input")).bypass
    assert not planned(Attachment("input"), faults=Faults(on_absent=Word.BLOCK)).bypass


def test_attachments_without_queues_get_numbers_of_their_own() -> None:
    attach = (Attachment("input"), Attachment("forward", queues=(0, 1)), Attachment("output"))
    assert queue_ranges(attach, 2) == [(2, 3), (0, 1), (4, 5)]


def test_only_forward_needs_a_rule_to_defragment() -> None:
    rules = planned(*map(Attachment, ("input", "forward"))).rules
    assert [rule.defragment for rule in rules] == [False, True]
    assert not planned(Attachment("forward", defragment=False)).rules[0].defragment


def test_blocks_at_prerouting_are_acted_upon_at_input_and_forward_and_at_postrouting_nowhere() -> None:
    assert planned(Attachment("prerouting")).act_hooks == ("input", "forward")
    assert planned(Attachment("postrouting")).act_hooks == ()


def test_a_family_that_is_not_attached_has_no_rules() -> None:
    rules = planned(Attachment("input", families=(6,)))
    assert not rules.of("input", 4)
    assert not rules.acts("input", 4)
    assert rules.acts("input", 6)


def test_hooks_that_no_filter_needs_are_left_out() -> None:
    attachments = tuple(map(Attachment, ("input", "output", "forward")))
    for layers, hooks in (
        (("ipforward",), ("forward",)),
        (("inbound_transport",), ("input",)),
        (("outbound_transport_discard",), ("output",)),
        (("ale_auth_connect",), ("input", "output")),
        (("datagram_data",), ("input", "output")),
        ((), ()),
    ):
        assert planned(*attachments, needed=needed_hooks(policy(*layers))).hooks == hooks
    assert needed_hooks(policy("inbound_ippacket", "outbound_ippacket")) == {
        "input", "output", "prerouting", "postrouting"
    }  # fmt: skip


def test_equal_rules_have_equal_fingerprints_and_other_rules_others() -> None:
    one = planned(Attachment("input", location=Location("a", 1)))
    assert one.fingerprint == planned(Attachment("input", location=Location("b", 2))).fingerprint
    others = [
        planned(Attachment("output")),
        planned(Attachment("input"), faults=Faults(on_absent=Word.BLOCK)),
        planned(Attachment("input"), workers=2),
        RuleSet(one.rules, one.bypass, Marks(0xFFF)),
        replace(one, injects=True),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize(
    ("attachment", "message"),
    [
        (Attachment("ingress"), "unknown hook"),
        (Attachment("input", queues=(3, 2)), "no range"),
        (Attachment("input", queues=(0, 65536)), "no range"),
        (Attachment("input", balance="cpu"), "unknown balance"),
        (Attachment("input", families=()), "families"),
        (Attachment("input", backend="pf"), "unknown backend"),
        (Attachment("input", ("eth0 -j ACCEPT",)), "no name"),
        (Attachment("input", ("eth0\n-F",)), "no name"),
        (Attachment("input", ("a" * 16,)), "no name"),
        (Attachment("input", ("e*h",)), "no name"),
        (Attachment("input", ("",)), "no name"),
        (Attachment("input", ("eth+",)), "ends with"),
    ],
)
def test_an_attachment_that_would_make_a_wrong_rule_is_refused(attachment: Attachment, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        planned(attachment)


def test_every_wrong_attachment_is_reported_at_once_with_its_line() -> None:
    bad = [
        Attachment("ingress", location=Location("p.yaml", 3)),
        Attachment("input", ("a b",), location=Location("p.yaml", 4)),
    ]
    with pytest.raises(PolicyError) as caught:
        planned(*bad)
    assert [problem.location.line for problem in caught.value.problems] == [3, 4]


def test_different_backends_in_one_policy_are_refused_and_one_name_serves_all() -> None:
    with pytest.raises(PolicyError, match="different backends"):
        planned(Attachment("input", backend="iptables"), Attachment("output", backend="nftables"))
    assert planned(Attachment("input"), Attachment("output", backend="nftables")).backend == "nftables"
