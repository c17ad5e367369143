"""What rules there should be, as a value: which hook sends what to which queues.

Pure: attachments and words in, RuleSet out.  The back ends (iptables.py, nftables.py) turn it
into text, rules.py puts it into the kernel.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wfpd.errors import PolicyError, Problem
from wfpd.model.layers import BY_SLOT
from wfpd.model.policy import Attachment, Faults, Policy, Word
from wfpd.model.rows import rows_of
from wfpd.netfilter.marks import Marks

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
"""In the order in which a packet meets them; the order of rules and of output."""
ACT_HOOKS = {"prerouting": ("input", "forward"), "input": ("input",), "forward": ("forward",), "output": ("output",),
             "postrouting": ()}  # fmt: skip
"""Where the act rules for blocks of a hook stand: `filter` has three hooks only."""
BALANCES = ("hosts", "flows")
BACKENDS = ("auto", "iptables", "nftables")
MAX_QUEUE = 65535
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@=+\-]{1,15}\*?")
"""What may stand in a rule: no blanks, quotes or slashes, so that a name stays one word."""


@dataclass(frozen=True, slots=True)
class QueueRule:
    """One attachment: packets of `hook` and `families`, by `interfaces`, to queues first..last."""

    hook: str
    interfaces: tuple[str, ...]
    """Names or `eth*`; empty = all, lo included.  At forward: arriving or leaving there."""
    families: tuple[int, ...]
    first: int
    last: int
    balance: str
    defragment: bool

    @property
    def n_queues(self) -> int:
        """Queues it spreads over."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that is to stand in the kernel."""

    rules: tuple[QueueRule, ...] = ()
    bypass: bool = True
    """on_absent is permit: packets pass while nobody listens, and a clean stop removes the rules."""
    marks: Marks = field(default_factory=Marks)
    backend: str = "auto"
    injects: bool = False
    """Callouts inject packets: marks that say so are heeded."""

    @property
    def hooks(self) -> tuple[str, ...]:
        """Hooks with rules, in order."""
        return tuple(hook for hook in HOOKS if any(rule.hook == hook for rule in self.rules))

    @property
    def act_hooks(self) -> tuple[str, ...]:
        """Hooks of `filter` with act rules, in order."""
        wanted = {act for hook in self.hooks for act in ACT_HOOKS[hook]}
        return tuple(hook for hook in HOOKS if hook in wanted)

    def of(self, hook: str, family: int) -> tuple[QueueRule, ...]:
        """The rules of a hook that speak of a family."""
        return tuple(rule for rule in self.rules if rule.hook == hook and family in rule.families)

    def acts(self, hook: str, family: int) -> bool:
        """Whether `filter` needs act rules at `hook` for a family."""
        return any(self.of(queued, family) for queued, acts in ACT_HOOKS.items() if hook in acts)

    @property
    def fingerprint(self) -> str:
        """8 hexadecimal digits; the same rules have the same, on every host."""
        content = (FORMAT, self.rules, self.bypass, self.marks.mask, *(("injects",) if self.injects else ()))
        return hashlib.sha256(repr(content).encode()).hexdigest()[:8]


FORMAT = 1
"""Raised when the text made from an equal RuleSet changes, so that old rules are replaced."""


def queue_ranges(attachments: Sequence[Attachment], workers: int) -> list[tuple[int, int]]:
    """First and last queue of each attachment: as written, else one a worker, from the first free number on."""
    taken = {n for a in attachments if a.queues for n in range(a.queues[0], a.queues[1] + 1)}
    ranges = []
    for attachment in attachments:
        if attachment.queues:
            ranges.append(attachment.queues)
            continue
        first = 0
        while any(n in taken for n in range(first, first + workers)):
            first += 1
        taken.update(range(first, first + workers))
        ranges.append((first, first + workers - 1))
    return ranges


def needed_hooks(policy: Policy) -> frozenset[str]:
    """Hooks that some enabled filter needs."""
    return hooks_of(rows_of(policy).slots())


def hooks_of(slots: Iterable[int]) -> frozenset[str]:
    """Hooks that feed the layers of `slots`.

    A flow's direction is that of its first packet, so filters at ALE layers need both ends of the
    local host; stream_packet and datagram_data are classified in both directions.
    """
    hooks: set[str] = set()
    for slot in set(slots):
        layer, _ = BY_SLOT[slot]
        name = layer.name.removesuffix("_discard")
        if layer.hook == "forward":
            hooks.add("forward")
        elif name.startswith(("ale_", "stream", "datagram_data")):
            hooks |= {"input", "output"}
        else:
            hooks.add(layer.hook)
            if name == "inbound_ippacket":
                hooks.add("prerouting")
            elif name == "outbound_ippacket":
                hooks.add("postrouting")
    return frozenset(hooks)


def plan(
    attachments: Sequence[Attachment],
    faults: Faults,
    marks: Marks,
    queue_numbers: Sequence[tuple[int, int]],
    needed: frozenset[str] | None = None,
) -> RuleSet:
    """The rules for `attachments`; `queue_numbers` has each one's first and last queue.

    `needed` (see needed_hooks) leaves out hooks without layers; None keeps all.  Raises
    PolicyError with every attachment that cannot be.
    """
    problems = [problem for pair in zip(attachments, queue_numbers, strict=True) for problem in _problems(*pair)]
    problems += _backend_problems(attachments)
    if problems:
        raise PolicyError(problems)
    rules = [
        QueueRule(
            attachment.hook, attachment.interfaces, tuple(sorted(set(attachment.families))), first, last,
            attachment.balance, attachment.defragment and attachment.hook == "forward",
        )
        for attachment, (first, last) in zip(attachments, queue_numbers, strict=True)
        if needed is None or attachment.hook in needed
    ]  # fmt: skip
    rules.sort(key=lambda rule: HOOKS.index(rule.hook))
    named = {attachment.backend for attachment in attachments} - {"auto"}
    return RuleSet(tuple(rules), faults.on_absent is not Word.BLOCK, marks, named.pop() if named else "auto")


def _problems(attachment: Attachment, queues: tuple[int, int]) -> list[Problem]:
    """What is wrong with one attachment; each would make a rule that the kernel refuses or misreads."""
    found: list[tuple[str, str]] = []
    first, last = queues
    if attachment.hook not in HOOKS:
        found.append((f"unknown hook {attachment.hook!r}", f"one of {', '.join(HOOKS)}"))
    if not 0 <= first <= last <= MAX_QUEUE:
        found.append((f"queues {first}-{last} are no range within 0-{MAX_QUEUE}", 'a range is written "0-3"'))
    if attachment.balance not in BALANCES:
        found.append((f"unknown balance {attachment.balance!r}", f"one of {', '.join(BALANCES)}"))
    if not attachment.families or set(attachment.families) - {4, 6}:
        found.append((f"families {attachment.families} are not v4, v6 or both", ""))
    for name in attachment.interfaces:
        if not _INTERFACE.fullmatch(name) or len(name.rstrip("*")) > 15:
            found.append((f"interface {name!r} is no name", "at most 15 characters; a pattern ends with *, as in eth*"))
        elif name.endswith("+"):
            found.append((f"interface {name!r} ends with +", f'a pattern is written "{name[:-1]}*"'))
    return [Problem(text, attachment.location, f"attach {attachment.hook}", hint) for text, hint in found]


def _backend_problems(attachments: Sequence[Attachment]) -> list[Problem]:
    """One process has one back end: replacing is a transaction of one tool."""
    unknown = [a for a in attachments if a.backend not in BACKENDS]
    if unknown:
        text = f"unknown backend {unknown[0].backend!r}"
        return [Problem(text, unknown[0].location, hint=f"one of {', '.join(BACKENDS)}")]
    named = [a for a in attachments if a.backend != "auto"]
    if len({a.backend for a in named}) > 1:
        hint = "write the same one everywhere"
        return [Problem("attachments name different backends", named[-1].location, hint=hint)]
    return []
