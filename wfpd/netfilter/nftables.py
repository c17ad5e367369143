"""The nftables back end: one table `inet wfpd`, replaced as a whole by `nft -f`.

NOT RUN: the kernels this was developed on lack the nft queue statement (CONFIG_NFT_QUEUE).  The
text is checked against golden files, and everything but the queue statement against a kernel.

An `accept` ends its own base chain only, so no rule of another table can hide ours and ours hide
none; a queue rule therefore needs no place in anybody's chain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from wfpd.model.policy import Reply
from wfpd.netfilter.backend import COMMENT, HookStatus
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.marks import DECISION_SHIFT, WAY_SHIFT, Marks, Way
from wfpd.netfilter.ruleset import ACT_HOOKS, HOOKS, QueueRule, RuleSet

TABLE = "inet wfpd"
QUEUE_PRIORITY = -150
_FORGED = "tcp flags & rst == rst fib saddr type != local "
FORGED_RESET = {"output": _FORGED, "input": f'iifname "lo" {_FORGED}'}
"""See iptables.FORGED_RESET."""
_COMMENT = re.compile(rf"{COMMENT} \w+ ([0-9a-f]{{8}})")
ACT_PRIORITY = -1
"""Just ahead of everybody's filter chains."""


def table_text(ruleset: RuleSet) -> str:
    """The transaction that replaces the table, or takes it away where nothing is to be queued."""
    lines = [f"add table {TABLE}", f"delete table {TABLE}"]
    if ruleset.rules:
        lines.append(f"table {TABLE} {{")
        for hook in ruleset.hooks:
            lines += _chain(hook, _queue_chain(ruleset, hook), QUEUE_PRIORITY, hook)
        for hook in ruleset.act_hooks:
            lines += _chain(f"{hook}_act", _act_chain(ruleset, hook), ACT_PRIORITY, hook)
        lines += _chain("act_do", act_lines(ruleset.marks))
        lines.append("}")
    return "\n".join(lines) + "\n"


def _chain(name: str, rules: list[str], priority: int | None = None, hook: str = "") -> list[str]:
    # Type route at output: a changed mark makes the kernel route again, as in iptables' mangle.
    kind = "route" if hook == "output" and priority == QUEUE_PRIORITY else "filter"
    head = [] if priority is None else [f"\t\ttype {kind} hook {hook} priority {priority}; policy accept;"]
    return [f"\tchain {name} {{", *head, *(f"\t\t{rule}" for rule in rules), "\t}"]


def _queue_chain(ruleset: RuleSet, hook: str) -> list[str]:
    rules = [rule for rule in ruleset.rules if rule.hook == hook]
    lines = []
    if any(rule.defragment for rule in rules):
        lines.append(f'ct state new counter comment "{COMMENT} defragment"')
    if hook in ("input", "forward"):
        lines += _blocked_before(ruleset)
    if ruleset.injects and hook in ("output", "postrouting"):
        lines += injected_lines(ruleset.marks)
    if hook in FORGED_RESET:
        lines.append(f'{FORGED_RESET[hook]}accept comment "{COMMENT} reply"')
    # The fingerprint stands in a rule: the listing of this nft leaves a table's comment out.
    comment = f"{COMMENT} {hook} {ruleset.fingerprint}"
    for rule in rules:
        for match in _matches(rule):
            lines += [f"{match}{clear}" for clear in clearing_lines(ruleset.marks, hook, ruleset.injects)]
            lines.append(f'{match}counter {_queue(rule, ruleset.bypass)} comment "{comment}"')
            # With the bypass flag a queue without listener goes on to the next rule: one visit a hook.
            lines.append(f"{match}accept")
    return lines


def injected_lines(marks: Marks) -> list[str]:
    """As iptables.injected_lines."""
    mask = marks.without(WAY_SHIFT)
    return [
        f"meta mark and {mask:#x} == {way << WAY_SHIFT << marks.shift:#x} accept" for way in (Way.INBOUND, Way.FORWARD)
    ]


def clearing_lines(marks: Marks, hook: str, injects: bool) -> list[str]:
    """As iptables.clearing_lines."""

    def clear(bits: int) -> str:
        kept = marks.without(bits)
        return f"meta mark and {kept:#x} != 0 meta mark set meta mark and {~marks.mask & 0xFFFFFFFF:#x}"

    if not injects:
        return [clear(0)]
    if hook in ("output", "postrouting"):
        return [clear(WAY_SHIFT)]
    lines = [f'iifname != "lo" {clear(0)}']
    return lines if hook == "forward" else [*lines, f'iifname "lo" {clear(DECISION_SHIFT)}']


def _blocked_before(ruleset: RuleSet) -> Iterator[str]:
    """What prerouting blocked with a reply keeps its mark and goes on to the act rules, unqueued."""
    marks = ruleset.marks
    for rule in ruleset.rules:
        if rule.hook == "prerouting":
            for match in _matches(rule):
                for reply in Reply:
                    yield f"{match}meta mark and {marks.mask:#x} == {marks.reply(reply):#x} accept"


def _queue(rule: QueueRule, bypass: bool) -> str:
    flags = "flags bypass " if bypass else ""
    if rule.n_queues == 1:
        return f"queue {flags}to {rule.first}"
    if rule.balance == "flows":
        return f"queue {flags}to symhash mod {rule.n_queues} offset {rule.first}"
    return f"queue {flags}to {rule.first}-{rule.last}"


def _matches(rule: QueueRule) -> Iterator[str]:
    """One match a family restriction, interface and side, each with its blank behind; "" for all."""
    family = "" if set(rule.families) == {4, 6} else f"meta nfproto ipv{rule.families[0]} "
    sides = {"forward": ("iifname", "oifname"), "output": ("oifname",), "postrouting": ("oifname",)}
    for side in sides.get(rule.hook, ("iifname",)):
        for name in rule.interfaces:
            if name != "*":
                yield f'{family}{side} "{name}" '
    if not rule.interfaces or "*" in rule.interfaces:
        yield family


def _act_chain(ruleset: RuleSet, hook: str) -> list[str]:
    rules = [rule for rule in ruleset.rules if hook in ACT_HOOKS[rule.hook]]
    return [f"{match}goto act_do" for match in dict.fromkeys(match for rule in rules for match in _matches(rule))]


def act_lines(marks: Marks) -> list[str]:
    """Answer and drop by reply mark.  A reset that cannot be (not TCP) is a drop."""

    def match(reply: Reply) -> str:
        return f"meta mark and {marks.mask:#x} == {marks.reply(reply):#x}"

    return [
        f"meta l4proto tcp {match(Reply.TCP_RESET)} reject with tcp reset",
        f"{match(Reply.TCP_RESET)} drop",
        f"{match(Reply.ICMP_UNREACHABLE)} reject with icmpx port-unreachable",
        f"{match(Reply.NONE)} drop",
    ]


def parse_listing(text: str) -> list[dict[str, Any]]:
    """The objects of `nft -j list ...`: dicts of one key each (table, chain, rule ...)."""
    objects = json.loads(text or "{}").get("nftables", [])
    return [entry for entry in objects if isinstance(entry, dict)]


def queue_counters(listing: list[dict[str, Any]]) -> dict[str, int]:
    """Packets of the queue rules, by hook."""
    counts: dict[str, int] = {}
    for entry in listing:
        rule = entry.get("rule", {})
        expressions = rule.get("expr", [])
        if rule.get("chain") in HOOKS and any("queue" in expression for expression in expressions):
            packets = sum(e["counter"]["packets"] for e in expressions if isinstance(e.get("counter"), dict))
            counts[rule["chain"]] = counts.get(rule["chain"], 0) + packets
    return counts


class Nftables:
    """The back end."""

    name = "nftables"

    def __init__(self, commands: Commands) -> None:
        self.commands = commands

    def _listing(self) -> list[dict[str, Any]]:
        """Our table's objects; empty if there is none."""
        tables = parse_listing(self.commands.run(["nft", "-j", "list", "tables"]))
        if not any(t.get("table", {}).get("family") == "inet" and t["table"].get("name") == "wfpd" for t in tables):
            return []
        return parse_listing(self.commands.run(["nft", "-j", "list", "table", *TABLE.split()]))

    def install(self, ruleset: RuleSet) -> bool:
        """See Backend."""
        listing = self._listing()
        if (not listing and not ruleset.rules) or (ruleset.rules and _stands(ruleset, listing)):
            return False
        self.commands.run(["nft", "-f", "-"], stdin=table_text(ruleset))
        return True

    def purge(self) -> bool:
        """See Backend."""
        if not self._listing():
            return False
        self.commands.run(["nft", "-f", "-"], stdin=table_text(RuleSet()))
        return True

    def bypasses(self) -> bool | None:
        """See Backend."""
        queues = [part["queue"] for entry in self._listing() for part in entry.get("rule", {}).get("expr", ())
                  if isinstance(part, dict) and "queue" in part]  # fmt: skip
        return all("bypass" in (queue or {}).get("flags", ()) for queue in queues) if queues else None

    def present(self, ruleset: RuleSet) -> tuple[HookStatus, ...]:
        """See Backend."""
        return self.look(ruleset)[0]

    def look(self, ruleset: RuleSet) -> tuple[tuple[HookStatus, ...], dict[str, int]]:
        """See Backend.  No other table can shadow ours."""
        listing = self._listing()
        whole, current = _whole(ruleset, listing), _fingerprint(listing) == ruleset.fingerprint
        statuses = tuple(
            HookStatus(hook, family, installed=whole, current=current, last=True, acts=whole)
            for hook in ruleset.hooks
            for family in (4, 6)
            if ruleset.of(hook, family)
        )
        return statuses, queue_counters(listing)

    def counters(self) -> dict[str, int]:
        """See Backend."""
        return queue_counters(self._listing())

    def render(self, ruleset: RuleSet) -> str:
        """See Backend."""
        return f"# nft -f -\n{table_text(ruleset)}"


def _fingerprint(listing: list[dict[str, Any]]) -> str:
    """The fingerprint in the comments of our queue rules."""
    for entry in listing:
        if match := _COMMENT.fullmatch(str(entry.get("rule", {}).get("comment", ""))):
            return match[1]
    return ""


def _whole(ruleset: RuleSet, listing: list[dict[str, Any]]) -> bool:
    """Every chain is there with its number of rules."""
    found: dict[str, int] = {entry["chain"]["name"]: 0 for entry in listing if "chain" in entry}
    for entry in listing:
        if "rule" in entry:
            found[entry["rule"]["chain"]] = found.get(entry["rule"]["chain"], 0) + 1
    want = {hook: len(_queue_chain(ruleset, hook)) for hook in ruleset.hooks}
    want |= {f"{hook}_act": len(_act_chain(ruleset, hook)) for hook in ruleset.act_hooks}
    want["act_do"] = len(act_lines(ruleset.marks))
    return found == want


def _stands(ruleset: RuleSet, listing: list[dict[str, Any]]) -> bool:
    return bool(listing) and _whole(ruleset, listing) and _fingerprint(listing) == ruleset.fingerprint
