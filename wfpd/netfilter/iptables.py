"""The iptables back end: our own chains in mangle and filter, changed by iptables-restore --noflush.

mangle   FORWARD  ... -j WFPD_FWD                 our jump is last: an accept verdict skips what follows
         WFPD_FWD     one goto an attachment (and interface), so that a packet meets one queue rule
         WFPD_FWD_Q0  clears our mark bits, then NFQUEUE
filter   FORWARD  -j WFPD_FWD_ACT ...             our jump is first
         WFPD_FWD_ACT, WFPD_ACT_DO   answer and drop what a verdict accepted with a reply mark

A transaction of iptables-nft commits as a whole, so replacing the chains and the jump never shows
a packet anything between the old rules and the new.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from wfpd.errors import KernelError
from wfpd.model.policy import Reply
from wfpd.netfilter.backend import COMMENT, HookStatus
from wfpd.netfilter.balance import flow_match
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.marks import DECISION_SHIFT, WAY_SHIFT, Marks, Way
from wfpd.netfilter.ruleset import ACT_HOOKS, HOOKS, QueueRule, RuleSet
from wfpd.netfilter.xtables_save import Tables, first_leaving, jumps, parse_save

PREFIX = "WFPD_"
CHAIN = {"prerouting": "WFPD_PRE", "input": "WFPD_IN", "forward": "WFPD_FWD", "output": "WFPD_OUT",
         "postrouting": "WFPD_POST"}  # fmt: skip
ACT_DO = "WFPD_ACT_DO"
# The kernel's own reset in another host's name, made by our REJECT: a policy that blocked the packet
# must not block its answer too.  Only the kernel and CAP_NET_RAW can send with a foreign source.
_FORGED = "-p tcp --tcp-flags RST RST -m addrtype ! --src-type LOCAL "
FORGED_RESET = {"output": _FORGED, "input": f"-i lo {_FORGED}"}
BUILTIN = {hook: hook.upper() for hook in HOOKS}
TABLES = ("mangle", "filter")
CLEAR_TRIES = 3
CLEAR_SECONDS = 10.0
"""No new try after so long: a stop has a time limit of its own."""
RETRY_SECONDS = 0.05
"""Between two tries of a transaction that another tool disturbed."""
_QUEUE_CHAIN = re.compile(r"WFPD_(PRE|IN|FWD|OUT|POST)_Q\d+(_\d+)?")


@dataclass(frozen=True, slots=True)
class Jump:
    """Our rule in a built-in chain."""

    builtin: str
    target: str
    comment: str
    head: bool

    @property
    def line(self) -> str:
        """The rule's line of a transaction."""
        how = f"-I {self.builtin} 1" if self.head else f"-A {self.builtin}"
        return f'{how} -m comment --comment "{self.comment}" -j {self.target}'


@dataclass(slots=True)
class Wanted:
    """Chains and jumps of one table of one family."""

    chains: dict[str, list[str]] = field(default_factory=dict)
    jumps: list[Jump] = field(default_factory=list)


def wanted(ruleset: RuleSet, family: int) -> dict[str, Wanted]:
    """What the tables should hold of ours."""
    tables = {table: Wanted() for table in TABLES}
    for hook in HOOKS:
        if rules := ruleset.of(hook, family):
            _queue_chains(tables["mangle"], ruleset, hook, rules, family)
    for hook in ruleset.act_hooks:
        if ruleset.acts(hook, family):
            _act_chains(tables["filter"], ruleset, hook, family)
    return tables


def _queue_chains(table: Wanted, ruleset: RuleSet, hook: str, rules: tuple[QueueRule, ...], family: int) -> None:
    top = CHAIN[hook]
    lines: list[str] = []
    table.chains[top] = lines
    if any(rule.defragment for rule in rules):
        # No target: that the rule is loaded makes conntrack reassemble fragments ahead of every hook.
        lines.append(f'-m conntrack --ctstate NEW -m comment --comment "{COMMENT} defragment"')
    if hook in ("input", "forward"):
        lines += _blocked_before(ruleset, family)
    if ruleset.injects and hook in ("output", "postrouting"):
        lines += injected_lines(ruleset.marks)
    if hook in FORGED_RESET:
        lines.append(f'{FORGED_RESET[hook]}-m comment --comment "{COMMENT} reply" -j RETURN')
    for number, rule in enumerate(rules):
        queue_chain = f"{top}_Q{number}"
        lines += [f"{match}-g {queue_chain}" for match in _interface_matches(hook, rule.interfaces)]
        _queue_chain(table, queue_chain, rule, ruleset, family)
    comment = f"{COMMENT} {hook} {ruleset.fingerprint}"
    table.jumps.append(Jump(BUILTIN[hook], top, comment, head=False))


def injected_lines(marks: Marks) -> list[str]:
    """Injected packets on their way to be received or forwarded only pass here: they are no packets sent."""
    mask = marks.without(WAY_SHIFT)
    return [
        f"-m mark --mark {way << WAY_SHIFT << marks.shift:#x}/{mask:#x} -j RETURN" for way in (Way.INBOUND, Way.FORWARD)
    ]


def clearing_lines(marks: Marks, hook: str, injects: bool) -> list[str]:
    """Foreign values in our mark bits go; those of injected packets, which come from this host only, stay."""
    clear = f"-j MARK --set-xmark 0x0/{marks.mask:#x}"
    if not injects:
        return [f"-m mark ! --mark 0x0/{marks.mask:#x} {clear}"]
    if hook in ("output", "postrouting"):
        return [f"-m mark ! --mark 0x0/{marks.without(WAY_SHIFT):#x} {clear}"]
    kept = [f"! -i lo -m mark ! --mark 0x0/{marks.mask:#x} {clear}"]
    if hook != "forward":
        kept.append(f"-i lo -m mark ! --mark 0x0/{marks.without(DECISION_SHIFT):#x} {clear}")
    return kept


def _blocked_before(ruleset: RuleSet, family: int) -> Iterator[str]:
    """What prerouting blocked with a reply keeps its mark and goes on to the act rules, unqueued."""
    for rule in ruleset.of("prerouting", family):
        for match in _interface_matches("prerouting", rule.interfaces):
            for reply in Reply:
                yield f"{match}-m mark --mark {ruleset.marks.reply(reply):#x}/{ruleset.marks.mask:#x} -j RETURN"


def _queue_chain(table: Wanted, name: str, rule: QueueRule, ruleset: RuleSet, family: int) -> None:
    """Chain `name`: foreign values in our mark bits go, then the packet is queued."""
    lines = clearing_lines(ruleset.marks, rule.hook, ruleset.injects)
    table.chains[name] = lines
    tail = f'-m comment --comment "{COMMENT} {rule.hook}" -j NFQUEUE'
    bypass = " --queue-bypass" if ruleset.bypass else ""
    if rule.n_queues == 1:
        lines.append(f"{tail} --queue-num {rule.first}{bypass}")
    elif rule.balance == "hosts":
        lines.append(f"{tail} --queue-balance {rule.first}:{rule.last}{bypass}")
    else:
        # By goto, so that a queue without a listener bypasses instead of trying the next queue.
        for share in range(rule.n_queues):
            lines.append(f"{flow_match(family, share, rule.n_queues)}-g {name}_{share}")
            table.chains[f"{name}_{share}"] = [f"{tail} --queue-num {rule.first + share}{bypass}"]


def _act_chains(table: Wanted, ruleset: RuleSet, hook: str, family: int) -> None:
    """Only packets of attached interfaces: elsewhere our bits may still hold foreign values."""
    name = f"{CHAIN[hook]}_ACT"
    matches = [
        match
        for queued, acts in ACT_HOOKS.items() if hook in acts
        for rule in ruleset.of(queued, family)
        for match in _interface_matches(queued, rule.interfaces)
    ]  # fmt: skip
    table.chains[name] = [f"{match}-g {ACT_DO}" for match in dict.fromkeys(matches)]
    table.chains[ACT_DO] = act_lines(ruleset.marks, family)
    table.jumps.append(Jump(BUILTIN[hook], name, f"{COMMENT} {hook} {ruleset.fingerprint}", head=True))


def act_lines(marks: Marks, family: int) -> list[str]:
    """Answer and drop by reply mark.  A reset that cannot be (not TCP) is a drop."""
    unreachable = "icmp6-port-unreachable" if family == 6 else "icmp-port-unreachable"

    def match(reply: Reply) -> str:
        return f"-m mark --mark {marks.reply(reply):#x}/{marks.mask:#x}"

    return [
        f"-p tcp {match(Reply.TCP_RESET)} -j REJECT --reject-with tcp-reset",
        f"{match(Reply.TCP_RESET)} -j DROP",
        f"{match(Reply.ICMP_UNREACHABLE)} -j REJECT --reject-with {unreachable}",
        f"{match(Reply.NONE)} -j DROP",
    ]


def _interface_matches(hook: str, interfaces: tuple[str, ...]) -> Iterator[str]:
    """One match an interface and side, each with its blank behind; "" for all."""
    if not interfaces:
        yield ""
    sides = {"forward": ("-i", "-o"), "output": ("-o",), "postrouting": ("-o",)}.get(hook, ("-i",))
    for side in sides:
        for name in interfaces:
            if name == "*":
                yield ""
            else:
                yield f"{side} {name[:-1] + '+' if name.endswith('*') else name} "


def transaction(want: dict[str, Wanted], found: Tables) -> str:
    """The text for iptables-restore --noflush that turns `found` into `want`; "" if there is nothing to do."""
    parts = []
    for table in TABLES:
        chains = found.get(table, {})
        ours = [name for name in chains if name.startswith(PREFIX)]
        new = want[table]
        lines = [f":{name} - [0:0]" for name in new.chains]
        for builtin, rules in chains.items():
            if not builtin.startswith(PREFIX):
                lines += [f"-D {builtin} {rule.spec}" for rule in rules if rule.target.startswith(PREFIX)]
        stale = [name for name in ours if name not in new.chains]
        lines += [f"-F {name}" for name in stale]
        for name, rules_of in new.chains.items():
            lines += [f"-A {name} {rule}" for rule in rules_of]
        lines += [f"-X {name}" for name in stale]
        lines += [jump.line for jump in new.jumps]
        if lines:
            parts.append("\n".join([f"*{table}", *lines, "COMMIT", ""]))
    return "".join(parts)


def stands(want: dict[str, Wanted], found: Tables) -> bool:
    """Whether `found` already is `want`: same chains and lengths, jumps in position with our fingerprint."""
    for table in TABLES:
        chains, new = found.get(table, {}), want[table]
        ours = {name: len(rules) for name, rules in chains.items() if name.startswith(PREFIX)}
        if ours != {name: len(rules) for name, rules in new.chains.items()}:
            return False
        if sum(len(jumps(chains, jump.target)) for jump in new.jumps) != len(new.jumps):
            return False
        for jump in new.jumps:
            rules = chains.get(jump.builtin, [])
            if not rules:
                return False
            rule = rules[0 if jump.head else -1]
            if rule.target != jump.target or rule.comment != jump.comment:
                return False
    return True


def hook_status(ruleset: RuleSet, hook: str, family: int, found: Tables) -> HookStatus:
    """How one hook stands in the tables found."""
    want = wanted(ruleset, family)
    mangle, filter_ = found.get("mangle", {}), found.get("filter", {})
    jump = next(jump for jump in want["mangle"].jumps if jump.target == CHAIN[hook])
    at = _position(mangle, jump)
    whole = all(
        len(mangle.get(name, [])) == len(lines)
        for name, lines in want["mangle"].chains.items()
        if name == jump.target or name.startswith(f"{jump.target}_Q")
    )
    rules = mangle.get(jump.builtin, [])
    act_jumps = [act for act in want["filter"].jumps if act.builtin.lower() in ACT_HOOKS[hook]]
    act_at = [_position(filter_, act) for act in act_jumps]
    do_whole = not act_jumps or len(filter_.get(ACT_DO, [])) == len(want["filter"].chains[ACT_DO])
    return HookStatus(
        hook, family,
        installed=at >= 0 and whole,
        current=at >= 0 and rules[at].comment == jump.comment,
        last=at >= 0 and at == len(rules) - 1,
        shadowed_by=first_leaving(mangle, jump.builtin, max(at, 0)),
        acts=do_whole and all(position >= 0 for position in act_at),
        acts_shadowed_by=next(
            (text for act, position in zip(act_jumps, act_at, strict=True)
             if (text := first_leaving(filter_, act.builtin, max(position, 0)))), ""),
    )  # fmt: skip


def _position(chains: dict[str, list], jump: Jump) -> int:  # type: ignore[type-arg]
    """Position of our jump in its built-in chain, from 0; -1 if it is missing."""
    for position, rule in enumerate(chains.get(jump.builtin, [])):
        if rule.target == jump.target and not rule.goes:
            return position
    return -1


def _ours(found: Tables) -> list[tuple[str, str, str]]:
    """Our jumps and chains, without counters."""
    return [
        (table, chain, rule.spec)
        for table, chains in found.items()
        for chain, rules in chains.items()
        for rule in rules
        if chain.startswith(PREFIX) or rule.target.startswith(PREFIX)
    ]


def queue_counters(found: Tables) -> dict[str, int]:
    """Packets of the NFQUEUE rules in our chains, by hook."""
    hook_of = {chain: hook for hook, chain in CHAIN.items()}
    counts: dict[str, int] = {}
    for name, rules in found.get("mangle", {}).items():
        if _QUEUE_CHAIN.fullmatch(name):
            hook = hook_of[name.split("_Q")[0]]
            packets = sum(rule.packets for rule in rules if rule.target == "NFQUEUE")
            counts[hook] = counts.get(hook, 0) + packets
    return counts


class Iptables:
    """The back end; `variant` is "-nft" or "" (whatever the alternatives point at)."""

    name = "iptables"

    def __init__(self, commands: Commands, variant: str = "-nft") -> None:
        self.commands = commands
        self.variant = variant

    def _tool(self, family: int, verb: str) -> str:
        return f"{'ip6tables' if family == 6 else 'iptables'}{self.variant}-{verb}"

    def found(self, family: int) -> Tables:
        """What stands in the kernel now."""
        return parse_save(self.commands.run([self._tool(family, "save"), "-c"]))

    def _commit(self, family: int, text: str) -> None:
        self.commands.run([self._tool(family, "restore"), "--noflush", "-w", "5"], stdin=text)

    def install(self, ruleset: RuleSet) -> bool:
        """See Backend.  If the second family fails, a fresh first one goes again unless packets must not pass."""
        changed = False
        fresh: list[int] = []
        for family in (4, 6):
            found = self.found(family)
            want = wanted(ruleset, family)
            if stands(want, found):
                continue
            try:
                self._replace(family, want, found)
            except KernelError:
                for other in fresh if ruleset.bypass else ():
                    self._clear(other)
                raise
            changed = True
            if not any(name.startswith(PREFIX) for chains in found.values() for name in chains):
                fresh.append(family)
        return changed

    def _replace(self, family: int, want: dict[str, Wanted], found: Tables) -> None:
        """Commit; once more if another tool changed what the transaction names (a jump that is gone)."""
        try:
            self._commit(family, transaction(want, found))
        except KernelError:
            again = self.found(family)
            if _ours(again) == _ours(found):
                raise
            self._commit(family, transaction(want, again))

    def _clear(self, family: int) -> bool:
        """Take ours away; again if another tool was at work meanwhile.  False if there was nothing."""
        end = time.monotonic() + CLEAR_SECONDS
        for left in reversed(range(CLEAR_TRIES)):
            try:
                text = transaction({table: Wanted() for table in TABLES}, self.found(family))
                if text:
                    self._commit(family, text)
                return bool(text)
            except KernelError:
                if not left or time.monotonic() > end:
                    raise
                time.sleep(RETRY_SECONDS)
        return False

    def purge(self) -> bool:
        """See Backend.  A family that cannot be cleared does not keep the other one."""
        cleared, failed = False, None
        for family in (4, 6):
            try:
                cleared |= self._clear(family)
            except KernelError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return cleared

    def bypasses(self) -> bool | None:
        """See Backend."""
        flags = [
            "--queue-bypass" in rule.words
            for family in (4, 6)
            for name, rules in self.found(family).get("mangle", {}).items() if _QUEUE_CHAIN.fullmatch(name)
            for rule in rules if rule.target == "NFQUEUE"
        ]  # fmt: skip
        return all(flags) if flags else None

    def present(self, ruleset: RuleSet) -> tuple[HookStatus, ...]:
        """See Backend."""
        return self.look(ruleset)[0]

    def counters(self) -> dict[str, int]:
        """See Backend."""
        return self.look(RuleSet())[1]

    def look(self, ruleset: RuleSet) -> tuple[tuple[HookStatus, ...], dict[str, int]]:
        """See Backend."""
        found = {family: self.found(family) for family in (4, 6)}
        statuses = tuple(
            hook_status(ruleset, hook, family, found[family])
            for hook in ruleset.hooks
            for family in (4, 6)
            if ruleset.of(hook, family)
        )
        total: dict[str, int] = {}
        for tables in found.values():
            for hook, packets in queue_counters(tables).items():
                total[hook] = total.get(hook, 0) + packets
        return statuses, total

    def render(self, ruleset: RuleSet) -> str:
        """See Backend."""
        parts = []
        for family in (4, 6):
            if text := transaction(wanted(ruleset, family), {}):
                parts.append(f"# {self._tool(family, 'restore')} --noflush\n{text}")
        return "".join(parts)
