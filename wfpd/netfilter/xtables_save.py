"""Reads what `iptables-save -c` prints: tables, chains, rules with their packet counters."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass

_RULE = re.compile(r"(?:\[(\d+):(\d+)\] )?-A (\S+) ?(.*)")
_LEAVES_TABLE = ("ACCEPT", "NFQUEUE", "QUEUE")
"""Targets after which later rules of the same table may not see the packet although it lives on."""


@dataclass(frozen=True, slots=True)
class SavedRule:
    """One `-A` line."""

    chain: str
    spec: str
    """What follows `-A CHAIN`, as printed: `-D CHAIN` with it deletes the rule."""
    packets: int = 0

    @property
    def words(self) -> list[str]:
        """The arguments, unquoted."""
        try:
            return shlex.split(self.spec)
        except ValueError:
            return self.spec.split()

    def after(self, *options: str) -> str:
        """The argument that follows one of `options`; "" if there is none."""
        words = self.words
        for word, following in itertools.pairwise(words):
            if word in options:
                return following
        return ""

    @property
    def target(self) -> str:
        """`-j` or `-g` target."""
        return self.after("-j", "--jump", "-g", "--goto")

    @property
    def goes(self) -> bool:
        """`-g`: does not come back to this chain."""
        return bool(self.after("-g", "--goto"))

    @property
    def comment(self) -> str:
        """`--comment` of the rule."""
        return self.after("--comment")


Chains = dict[str, list[SavedRule]]
Tables = dict[str, Chains]


def parse_save(text: str) -> Tables:
    """Tables by name, each with its chains by name in order, each with its rules in order."""
    tables: Tables = {}
    chains: Chains = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif match := _RULE.match(line):
            packets, _, chain, spec = match.groups()
            chains.setdefault(chain, []).append(SavedRule(chain, spec, int(packets or 0)))
    return tables


def jumps(chains: Chains, target: str) -> list[SavedRule]:
    """Every rule of the table that jumps or goes to `target`."""
    return [rule for rules in chains.values() for rule in rules if rule.target == target]


def first_leaving(chains: Chains, builtin: str, before: int) -> str:
    """The first rule of `builtin` ahead of position `before` that lets packets leave the table; "" if none does."""
    for rule in chains.get(builtin, [])[:before]:
        if rule.target == "RETURN" or (rule.goes and rule.target in chains) or _can_leave(chains, rule, set()):
            return f"-A {builtin} {rule.spec}"
    return ""


def _can_leave(chains: Chains, rule: SavedRule, seen: set[str]) -> bool:
    target = rule.target
    if target in _LEAVES_TABLE:
        return True
    if target in seen or target not in chains:
        return False
    seen.add(target)
    return any(_can_leave(chains, inner, seen) for inner in chains[target])
