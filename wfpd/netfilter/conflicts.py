"""Who else works on packets here, and where that meets wfpd: mark bits, chains, routing, queues.

Read-only: everything is parsed from what the tools list.  `examine` is pure and takes their texts.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from wfpd.errors import KernelError
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.iptables import PREFIX
from wfpd.netfilter.xtables_save import SavedRule, Tables, first_leaving, parse_save

FULL = 0xFFFFFFFF
QUEUE_PRIORITY = -150
XTABLES = frozenset({"raw", "mangle", "nat", "filter", "security"})

# First letters of chains or nft tables, who makes them, and what to do about it.
OWNERS = (
    ("DOCKER", "Docker", "start wfpd after Docker: Docker puts its jumps ahead of ours when it starts"),
    ("docker", "Docker", "start wfpd after Docker: Docker puts its jumps ahead of ours when it starts"),
    ("firewalld", "firewalld", "after `firewall-cmd --reload` look at `wfpd status`"),
    ("FWD", "firewalld", "its iptables back end rebuilds whole chains on reload: look at `wfpd status` afterwards"),
    ("ufw", "ufw", "`ufw reload` flushes chains: look at `wfpd status` afterwards"),
    ("KUBE-", "Kubernetes", "its marks 0x4000 and 0x8000 must stay outside marks.mask"),
    ("cali-", "Calico", "it takes 0xffff0000 by default: choose a marks.mask outside it, or set its own"),
    ("CILIUM", "Cilium", "it takes mark bits 8-15 and 16-31 for identities: choose marks.mask with care"),
    ("ts-", "Tailscale", "its marks are 0xff0000: choose a marks.mask outside, such as 0xfff0"),
    ("LIBVIRT", "libvirt", ""),
    ("f2b-", "fail2ban", "what it drops in filter was classified by wfpd before"),
    ("SNO-", "Snort", ""),
)


class Kind(enum.Enum):
    """What a finding is about; the value is the word shown to users."""

    MARK = "mark"
    """Reads or writes bits under marks.mask."""
    OVERWRITE = "overwrite"
    """Writes the whole mark, our bits included, though not with a value in them."""
    ROUTE = "route"
    """Routes by our bits."""
    AHEAD = "ahead"
    """Lets packets pass ahead of our rules or of the act rules."""
    FLOWTABLE = "flowtable"
    """Forwards packets of known flows past every hook."""
    QUEUE = "queue"
    """Another NFQUEUE rule."""
    NEIGHBOUR = "neighbour"
    """Another tool that owns chains."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that somebody else does."""

    kind: Kind
    where: str
    """`iptables mangle FORWARD`, `nft inet fw f`, `ip rule` ..."""
    text: str
    """The rule, as its tool lists it."""
    owner: str = ""
    """Docker, firewalld ...; "" if unknown."""
    hint: str = ""

    def __str__(self) -> str:
        who = f" ({self.owner})" if self.owner else ""
        line = f"{self.kind.value}: {self.where}{who}: {self.text}"
        return f"{line}\n  hint: {self.hint}" if self.hint else line


@dataclass(frozen=True, slots=True)
class Listings:
    """What the tools said; "" where a tool is missing."""

    iptables: str = ""
    ip6tables: str = ""
    nft_json: str = ""
    rules4: str = ""
    """`ip rule show`."""
    rules6: str = ""
    unread: tuple[str, ...] = field(default=())
    """Tools that are installed but failed, and why."""


def others(marks_mask: int, commands: Commands | None = None) -> list[Finding]:
    """Everything of others that meets wfpd in the runner's namespace."""
    return examine(marks_mask, read(commands or Commands()))


def read(commands: Commands) -> Listings:
    """Ask every tool that is installed."""
    unread: list[str] = []

    def ask(*argv: str) -> str:
        if commands.find(argv[0]) is None:
            return ""
        try:
            return commands.run(argv)
        except KernelError as error:
            unread.append(error.message)
            return ""

    return Listings(
        ask("iptables-save"),
        ask("ip6tables-save"),
        ask("nft", "-j", "list", "ruleset"),
        ask("ip", "rule", "show"),
        ask("ip", "-6", "rule", "show"),
        tuple(unread),
    )


def examine(marks_mask: int, listings: Listings, hooks: Collection[str] = ()) -> list[Finding]:
    """Findings in the texts, our own rules left out; the weightiest kinds first, each once.

    `hooks` are those that our iptables rules are going to stand at: last in the chain.
    """
    found = [
        *_xtables("iptables", parse_save(listings.iptables), marks_mask, hooks),
        *_xtables("ip6tables", parse_save(listings.ip6tables), marks_mask, hooks),
        *_nftables(listings.nft_json, marks_mask),
        *_routes("ip rule", listings.rules4, marks_mask),
        *_routes("ip -6 rule", listings.rules6, marks_mask),
    ]
    order = [Kind.AHEAD, Kind.MARK, Kind.ROUTE, Kind.FLOWTABLE, Kind.QUEUE, Kind.OVERWRITE, Kind.NEIGHBOUR]
    return sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.kind))


def owner_of(name: str) -> tuple[str, str]:
    """Who makes chains (or tables) of that name, and the hint; empty if unknown."""
    for prefix, owner, hint in OWNERS:
        if name.startswith(prefix):
            return owner, hint
    return "", ""


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _value_mask(text: str) -> tuple[int, int]:
    """`value/mask` or `value`; what is no number touches no bits."""
    value, _, mask = text.partition("/")
    if not value[:1].isdigit():
        return 0, 0
    return _number(value), _number(mask) if mask else FULL


def _xtables(tool: str, tables: Tables, mask: int, hooks: Collection[str]) -> Iterator[Finding]:
    for table, chains in tables.items():
        yield from _owners(f"{tool} {table}", list(chains))
        for name, rules in chains.items():
            if name.startswith(PREFIX):
                continue
            for rule in rules:
                if not rule.target.startswith(PREFIX):
                    yield from _xtables_rule(f"{tool} {table} {name}", rule, mask)
        yield from _ahead(tool, table, tables, hooks if table == "mangle" else ())


def _owners(where: str, names: list[str]) -> Iterator[Finding]:
    """One finding for each tool that owns chains here."""
    seen: set[str] = set()
    for name in names:
        owner, hint = owner_of(name)
        if owner and owner not in seen:
            seen.add(owner)
            yield Finding(Kind.NEIGHBOUR, where, f"chain {name}", owner, hint)


def _xtables_rule(where: str, rule: SavedRule, mask: int) -> Iterator[Finding]:
    owner, hint = owner_of(rule.chain)
    text = f"-A {rule.chain} {rule.spec}"
    for value, bits, writes in _mark_uses(rule):
        if value & bits & mask or (not writes and bits & mask and bits != FULL):
            yield Finding(Kind.MARK, where, text, owner, hint or _mask_hint(mask))
        elif bits & mask:
            yield Finding(Kind.OVERWRITE, where, text, owner, "" if not writes else "set it with a mask: value/mask")
    if rule.target == "NFQUEUE":
        yield Finding(Kind.QUEUE, where, text, owner, "queue numbers must differ, and only one of the two may be last")


def _mark_uses(rule: SavedRule) -> Iterator[tuple[int, int, bool]]:
    """Value, bits and whether they are written, for each use of the packet or connection mark."""
    words = rule.words
    for option in ("--set-xmark", "--set-mark", "--or-mark", "--and-mark", "--xor-mark", "--tproxy-mark"):
        if argument := rule.after(option):
            yield (*_value_mask(argument), True)
    if argument := rule.after("--mark"):
        yield (*_value_mask(argument), False)
    if "--restore-mark" in words or "--save-mark" in words:
        option = "--nfmask" if "--restore-mark" in words else "--ctmask"
        yield 0, _number(rule.after(option, "--mask")) or FULL, True
    if rule.target == "HMARK":
        yield 0, FULL, True


def _mask_hint(mask: int) -> str:
    return f"the two use the same bits: choose another daemon: marks: mask: than {mask:#x}"


def _ahead(tool: str, table: str, tables: Tables, hooks: Collection[str]) -> Iterator[Finding]:
    """Rules ahead of our jumps, or of where they are going to be, that let packets pass us by."""
    chains = tables[table]
    for builtin, rules in chains.items():
        if builtin.startswith(PREFIX):
            continue
        ours = [at for at, rule in enumerate(rules) if rule.target.startswith(PREFIX)]
        if not ours and builtin.lower() in hooks:
            ours = [len(rules)]
        if ours and (text := first_leaving(chains, builtin, ours[0])):
            act = table == "filter"
            what = "blocks with a reply pass" if act else "packets pass uninspected"
            owner, hint = owner_of(text.split()[-1])
            yield Finding(Kind.AHEAD, f"{tool} {table} {builtin}", text, owner, hint or f"{what} by this rule")


def _routes(tool: str, text: str, mask: int) -> Iterator[Finding]:
    for line in text.splitlines():
        words = line.split()
        if "fwmark" in words[:-1]:
            value, bits = _value_mask(words[words.index("fwmark") + 1])
            if bits & mask:
                kind = Kind.ROUTE if value & mask or bits != FULL else Kind.OVERWRITE
                yield Finding(kind, tool, " ".join(words), hint="a changed mark at output routes a packet again")


def _nftables(text: str, mask: int) -> Iterator[Finding]:
    """Tables that are not iptables-nft's (iptables-save shows those) and not ours."""
    try:
        entries = json.loads(text or "{}").get("nftables", [])
    except ValueError:
        return
    for entry in entries:
        for kind, body in entry.items():
            if not isinstance(body, dict) or _seen_elsewhere(body):
                continue
            where = " ".join(["nft", body.get("family", ""), body.get("table", "")])
            if kind == "table":
                yield from _owners("nft", [body.get("name", "")])
            elif kind == "flowtable":
                hint = "attached interfaces must not be in a flowtable: its flows never reach the forward hook"
                yield Finding(Kind.FLOWTABLE, where, f"flowtable {body.get('name', '')}", hint=hint)
            elif kind == "rule":
                yield from _nft_rule(f"{where} {body.get('chain', '')}", body, mask)


def _seen_elsewhere(body: dict[str, Any]) -> bool:
    table = body.get("table", body.get("name", ""))
    family = body.get("family")
    return (family in ("ip", "ip6") and table in XTABLES) or (family == "inet" and table == "wfpd")


def _nft_rule(where: str, body: dict[str, Any], mask: int) -> Iterator[Finding]:
    owner, hint = owner_of(body.get("table", ""))
    for expression in body.get("expr", []):
        if not isinstance(expression, dict):
            continue
        if "queue" in expression:
            yield Finding(Kind.QUEUE, where, json.dumps(expression), owner, "queue numbers must differ")
        for side in ("mangle", "match"):
            use = expression.get(side)
            if isinstance(use, dict):
                yield from _nft_mark(where, side, use, mask, owner, hint)


def _nft_mark(where: str, side: str, use: dict[str, Any], mask: int, owner: str, hint: str) -> Iterator[Finding]:
    subject = use.get("key") if side == "mangle" else use.get("left")
    if not _names_mark(subject):
        return
    numbers = list(_numbers(use))
    text = json.dumps({side: use})
    # A mask that keeps our bits (mark and 0xfffff) is no use of them, so only values count that set or test some.
    touching = [number for number in numbers if number & mask and number & mask != mask]
    if touching or (side == "match" and any(number & mask and number != FULL for number in numbers)):
        yield Finding(Kind.MARK, where, text, owner, hint or _mask_hint(mask))
    elif side == "mangle" and not any(number & mask == mask for number in numbers):
        yield Finding(Kind.OVERWRITE, where, text, owner, "keep foreign bits: meta mark set meta mark and ... or ...")


def _names_mark(node: Any) -> bool:
    if isinstance(node, dict):
        if any(isinstance(node.get(base), dict) and node[base].get("key") == "mark" for base in ("meta", "ct")):
            return True
        return any(_names_mark(value) for value in node.values())
    return isinstance(node, list) and any(_names_mark(value) for value in node)


def _numbers(node: Any) -> Iterator[int]:
    """Every integer of an expression; a prefix as its address."""
    if isinstance(node, bool):
        return
    if isinstance(node, int):
        yield node
    elif isinstance(node, dict):
        if "prefix" in node and isinstance(node["prefix"], dict):
            yield int(node["prefix"].get("addr", 0))
            return
        for value in node.values():
            yield from _numbers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _numbers(value)
