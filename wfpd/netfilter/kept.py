"""A RuleSet as plain data and back, for the state directory.

What is read back is checked as a policy's attachments are: a damaged file can make no rule that a
policy could not ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfpd.errors import PolicyError
from wfpd.model.policy import Attachment, Faults, Word
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.ruleset import RuleSet, plan


def as_data(ruleset: RuleSet) -> dict[str, object]:
    """For json.dump."""
    return {
        "bypass": ruleset.bypass,
        "marks_mask": ruleset.marks.mask,
        "backend": ruleset.backend,
        "rules": [
            {"hook": rule.hook, "interfaces": list(rule.interfaces), "families": list(rule.families),
             "queues": [rule.first, rule.last], "balance": rule.balance, "defragment": rule.defragment}
            for rule in ruleset.rules
        ],
    }  # fmt: skip


def from_data(data: Mapping[str, Any]) -> RuleSet:
    """The RuleSet again.  ValueError if it is none, whatever `data` holds."""
    try:
        bypass, mask, backend = _of(bool, data["bypass"]), _of(int, data["marks_mask"]), _of(str, data["backend"])
        pairs = [_attachment(rule, backend) for rule in _of(list, data["rules"])]
        faults = Faults(on_absent=Word.PERMIT if bypass else Word.BLOCK)
        return plan([attachment for attachment, _ in pairs], faults, Marks(mask), [queues for _, queues in pairs])
    except (KeyError, ValueError, TypeError, AttributeError, PolicyError) as error:
        raise ValueError(f"these are no rules: {error}") from error


def _attachment(rule: Mapping[str, Any], backend: str) -> tuple[Attachment, tuple[int, int]]:
    first, last = (_of(int, number) for number in _of(list, rule["queues"]))
    made = Attachment(
        hook=_of(str, rule["hook"]),
        interfaces=tuple(_of(str, name) for name in _of(list, rule["interfaces"])),
        families=tuple(_of(int, family) for family in _of(list, rule["families"])),
        queues=(first, last),
        balance=_of(str, rule["balance"]),
        backend=backend,
        defragment=_of(bool, rule["defragment"]),
    )
    return made, (first, last)


def _of(kind: Any, value: Any) -> Any:
    """`value` if it is of this very type: True is no number here."""
    if type(value) is not kind:
        raise TypeError(f"{value!r:.100} is no {kind.__name__}")
    return value
