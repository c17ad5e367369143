"""Attachments at every hook and the rules that they need, for what writes rules down."""

from __future__ import annotations

from pathlib import Path

from wfpd.model.policy import Attachment, Faults
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.ruleset import RuleSet, plan

GOLDEN = Path(__file__).parent / "golden"
EVERY = (
    Attachment("forward", ("eth0", "wan*")),
    Attachment("input", queues=(4, 6), balance="flows", families=(4,)),
    Attachment("output", ("lo",), queues=(8, 8)),
    Attachment("prerouting", ("eth1",), families=(6,)),
    Attachment("postrouting"),
)
"""An attachment to each hook."""


def planned(*attachments: Attachment, faults: Faults | None = None, workers: int = 2) -> RuleSet:
    """The rules of these attachments."""
    return plan(attachments, faults or Faults(), Marks(), [one.queues or (0, workers - 1) for one in attachments])
