"""`wfpd check`: what a policy is and what it would do to this machine.  Reads only, changes nothing."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field

from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Snapshot
from wfpd.errors import KernelError
from wfpd.model.policy import Policy, Word
from wfpd.netfilter import conflicts, rules
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.ruleset import queue_ranges
from wfpd.observe.table_sizes import LayerTable, layer_tables, table_warnings


@dataclass(frozen=True, slots=True)
class Checked:
    """A policy that loads."""

    policy: Policy
    rules: str | None
    """The text that `wfpd run` would hand to the rule tool; "" without `attach:`, None without a tool."""
    others: list[conflicts.Finding] = field(default_factory=list)
    """Other users of our mark bits, and chains ahead of ours."""
    notes: list[str] = field(default_factory=list)
    """What could not be looked at here, and why; what makes search tables slow."""
    tables: list[LayerTable] = field(default_factory=list)
    """Sizes of the search tables, where they were asked for."""
    packed: bytes = field(default=b"", repr=False)


def check(path: str, commands: Commands | None = None, stats: bool = False) -> Checked:
    """Load, compile and plan; PolicyError with all that is wrong.  What the machine lacks is a note.

    With `stats` the search tables are built too, as `wfpd run` would build them.
    """
    policy = load_policy(path, trust="warn")
    packed = pack(policy)
    found = dataclasses.replace(_planned(policy, commands or Commands()), packed=packed)
    if not stats:
        return found
    any_word = Word.PERMIT
    snapshot = Snapshot(packed, [None] * len(policy.callouts), generation=1, on_error=any_word, on_malformed=any_word,
                        on_late=any_word, flows_full=any_word)  # fmt: skip
    notes = [*found.notes, *table_warnings(snapshot)]
    return dataclasses.replace(found, notes=notes, tables=layer_tables(snapshot))


def _planned(policy: Policy, commands: Commands) -> Checked:
    """The rules, and who else is there."""
    workers = policy.daemon.workers or os.cpu_count() or 1
    marks = Marks(policy.daemon.marks_mask)
    needed = rules.needed_hooks(policy)
    ruleset = rules.plan(policy.attach, policy.faults, marks, queue_ranges(policy.attach, workers), needed)
    if not ruleset.rules:
        return Checked(policy, "", notes=[_nothing_queued(policy)])
    notes = [f"{hook} is attached, but no filter needs it: not queued"
             for hook in dict.fromkeys(a.hook for a in policy.attach) if hook not in ruleset.hooks]  # fmt: skip
    text: str | None = None
    try:
        text = rules.render(ruleset, commands)
    except KernelError as error:
        notes.append(f"the rules cannot be shown here: {error.message}")
    listings = conflicts.read(commands)
    notes += [f"other users of the packet path were not all seen: {reason}" for reason in listings.unread]
    by_iptables = text is not None and text.startswith("# iptables")
    return Checked(policy, text, conflicts.examine(marks.mask, listings, ruleset.hooks if by_iptables else ()), notes)


def _nothing_queued(policy: Policy) -> str:
    if not policy.attach:
        return "there is no attach: no packet would be queued"
    return "no filter needs an attached hook: no packet would be queued"
