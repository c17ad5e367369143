"""What a back end does, and what it says of the rules it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wfpd.netfilter.ruleset import RuleSet

COMMENT = "wfpd"
"""First word of the comment of every rule of ours outside our own chains."""


@dataclass(frozen=True, slots=True)
class HookStatus:
    """How our rules of one hook and family stand in the kernel."""

    hook: str
    family: int
    installed: bool
    """Our chain is there, whole, and the built-in chain jumps to it."""
    current: bool
    """It is the chain of this RuleSet, not of an older one."""
    last: bool
    """Nothing stands behind our jump (what does is skipped by an accept verdict)."""
    shadowed_by: str = ""
    """A rule ahead of ours that lets packets pass us by; "" if none."""
    acts: bool = True
    """The act rules stand at the head of `filter` (or none are needed)."""
    acts_shadowed_by: str = ""
    """A rule ahead of the act rules that accepts; "" if none."""

    @property
    def in_place(self) -> bool:
        """Every packet of the hook meets our rules and every block is acted upon."""
        return self.installed and self.current and self.acts and not self.shadowed_by and not self.acts_shadowed_by


class Backend(Protocol):
    """One way to put rules into the kernel."""

    name: str

    def install(self, ruleset: RuleSet) -> bool:
        """Put exactly `ruleset` in place, in one transaction a family; False if it already stood."""

    def purge(self) -> bool:
        """Take away everything of ours; False if there was nothing."""

    def bypasses(self) -> bool | None:
        """Whether every queue rule of ours has the bypass flag; None if there is none."""

    def present(self, ruleset: RuleSet) -> tuple[HookStatus, ...]:
        """One status for each hook and family of `ruleset`."""

    def counters(self) -> dict[str, int]:
        """Packets that met the queue rules, by hook, both families, since the rules went in."""

    def look(self, ruleset: RuleSet) -> tuple[tuple[HookStatus, ...], dict[str, int]]:
        """`present` and `counters` from one listing."""

    def render(self, ruleset: RuleSet) -> str:
        """What install would give to the tool, for people."""
