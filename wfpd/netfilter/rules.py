"""wfpd's rules in the kernel: put in, look at, count, take away.

The front of the back ends.  Rules go in after every queue is bound and configured; a start adopts
what it finds and replaces it in one transaction, never removing first.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from dataclasses import replace

from wfpd.errors import KernelError
from wfpd.netfilter.backend import Backend, HookStatus
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.iptables import Iptables
from wfpd.netfilter.nftables import Nftables
from wfpd.netfilter.ruleset import RuleSet, needed_hooks, plan

__all__ = ["Commands", "Held", "HookStatus", "RuleSet", "choose", "counters", "hold", "install", "look",
           "needed_hooks", "plan", "present", "purge", "quiet", "remove", "render"]  # fmt: skip


class Held(enum.Enum):
    """What `hold` found or did."""

    STAND = "rules without the bypass flag stand and stay"
    INSTALLED = "the rules were put in place"
    SERVED = "rules of wfpd stand and a running program serves their queue: they were left alone"
    NOTHING = "no filter needs an attached hook: there are no rules"


def choose(name: str, commands: Commands) -> Backend:
    """The back end for `backend:`.  auto: iptables-nft where installed, else nftables (whose queue
    statement not every kernel has, and which works with CAP_NET_ADMIN as iptables-legacy does not)."""
    if name == "nftables":
        if commands.find("nft"):
            return Nftables(commands)
        raise KernelError("nft is not installed", hint="install nftables, or attach with backend: auto")
    if commands.find("iptables-nft-restore"):
        return Iptables(commands)
    if name == "iptables":
        if commands.find("iptables-restore"):
            return Iptables(commands, variant="")
        raise KernelError("iptables is not installed", hint="install iptables, or attach with backend: auto")
    if commands.find("nft"):
        return Nftables(commands)
    raise KernelError("neither iptables-nft nor nft is installed", hint="install the package iptables (or nftables)")


def install(ruleset: RuleSet, commands: Commands) -> bool:
    """Put exactly `ruleset` in place; False if it already stood (its counters then go on).

    Rules of the other back end are taken away only afterwards: for a moment a packet may be queued
    twice, never not at all.
    """
    backend = choose(ruleset.backend, commands)
    changed = backend.install(ruleset)
    for other in _all(commands):
        if other.name != backend.name:
            changed |= other.purge()
    return changed


def hold(ruleset: RuleSet, bound: Callable[[], Collection[int]], commands: Commands) -> Held:
    """No wfpd will run and packets are not to pass: leave rules that block, else put `ruleset` in place.

    `bound` gives the queues that somebody serves: rules that stand then belong to whoever that is.
    """
    flags = {backend.bypasses() for backend in _all(commands)} - {None}
    queues = {number for rule in ruleset.rules for number in range(rule.first, rule.last + 1)}
    if flags and queues & set(bound()):
        return Held.SERVED
    if False in flags:
        return Held.STAND
    if not ruleset.rules:
        return Held.NOTHING
    install(replace(ruleset, bypass=False), commands)
    return Held.INSTALLED


NO_INTERFACE = "wfpd-none"
"""A name that no interface is expected to have."""


def quiet(ruleset: RuleSet, commands: Commands) -> None:
    """Before `remove`, where that takes rules away: nothing is queued any more, the rest of ours stays.

    When the last rule that needs conntrack goes (or a base chain), its hooks are unregistered, and the
    kernel drops every packet that is queued in the namespace (net/netfilter/core.c,
    nf_unregister_net_hook): what is queued has to be decided first.
    """
    if ruleset.bypass and ruleset.rules:
        unmet = tuple(replace(rule, interfaces=(NO_INTERFACE,)) for rule in ruleset.rules)
        choose(ruleset.backend, commands).install(replace(ruleset, rules=unmet))


def remove(ruleset: RuleSet, commands: Commands) -> bool:
    """The clean stop: rules go where on_absent is permit.  False: they stay (only purge takes them away)."""
    if not ruleset.bypass:
        return False
    purge(commands)
    return True


def purge(commands: Commands) -> bool:
    """Take away everything of ours, whichever back end made it; False if there was nothing."""
    backends = _all(commands)
    if not backends:
        raise KernelError("neither iptables-nft nor nft is installed", hint="the rules cannot be looked at")
    purged, failed = False, None
    for backend in backends:
        try:
            purged |= backend.purge()
        except KernelError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return purged


def present(ruleset: RuleSet, commands: Commands) -> tuple[HookStatus, ...]:
    """How the rules stand, by hook and family."""
    return choose(ruleset.backend, commands).present(ruleset)


def counters(commands: Commands, backend: str = "auto") -> dict[str, int]:
    """Packets that met our queue rules, by hook, both families, since the rules went in (see install)."""
    return choose(backend, commands).counters()


def look(ruleset: RuleSet, commands: Commands) -> tuple[tuple[HookStatus, ...], dict[str, int]]:
    """`present` and `counters` from one listing, for who looks often."""
    return choose(ruleset.backend, commands).look(ruleset)


def render(ruleset: RuleSet, commands: Commands) -> str:
    """The text that install would hand to the tool, for `wfpd check`."""
    return choose(ruleset.backend, commands).render(ruleset)


def _all(commands: Commands) -> list[Backend]:
    """Every back end that this machine has the tools for."""
    found: list[Backend] = []
    if commands.find("iptables-nft-restore"):
        found.append(Iptables(commands))
    elif commands.find("iptables-restore"):
        found.append(Iptables(commands, variant=""))
    if commands.find("nft"):
        found.append(Nftables(commands))
    return found
