"""Rules as data, and back only what a policy could have asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfpd.model.policy import Attachment, Faults, Word
from wfpd.netfilter.kept import as_data, from_data
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.ruleset import RuleSet, plan

ATTACHED = (
    Attachment("forward", ("eth0", "wan*"), backend="iptables"),
    Attachment("input", queues=(4, 6), balance="flows", families=(4,)),
    Attachment("prerouting", ("eth1",), families=(6,)),
)


def planned(absent: Word) -> RuleSet:
    return plan(ATTACHED, Faults(on_absent=absent), Marks(0xFFF0), [(0, 1), (4, 6), (7, 7)])


@pytest.mark.parametrize("absent", [Word.PERMIT, Word.BLOCK])
def test_rules_come_back_as_they_were(absent: Word) -> None:
    ruleset = planned(absent)
    assert from_data(json.loads(json.dumps(as_data(ruleset)))) == ruleset


def damaged(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(as_data(planned(Word.BLOCK))))
    for key, value in changes.items():
        if key in data:
            data[key] = value
        else:
            data["rules"][0][key] = value
    return data


@pytest.mark.parametrize("changes", [
    {"interfaces": ['eth0 -j ACCEPT\n-A INPUT -j "DROP"']}, {"interfaces": "eth0"}, {"interfaces": [1]},
    {"hook": "nowhere"}, {"hook": None}, {"families": [5]}, {"families": [4.0]}, {"queues": [0, 70000]},
    {"queues": [1]}, {"queues": [True, True]}, {"balance": "cpu"}, {"defragment": "yes"}, {"bypass": 0},
    {"marks_mask": 3}, {"marks_mask": "0xfff0"}, {"backend": "pf"}, {"rules": {}}, {"rules": [None]},
])  # fmt: skip
def test_what_no_policy_could_ask_for_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no rules"):
        from_data(damaged(**changes))


@pytest.mark.parametrize("data", [{}, {"rules": []}])
def test_what_lacks_a_part_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no rules"):
        from_data(data)
