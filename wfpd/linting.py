"""The lints of `wfpd check` that need the policy's tables: filters that can never decide, and what is like it.

Every lint has a name that stays.  None is an error, and a lint that fails is a note: `check` never fails of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from wfpd.compiler.pack import packed_order
from wfpd.dataplane import Snapshot, shadows
from wfpd.errors import Problem
from wfpd.explaining import bare_snapshot
from wfpd.login import Login, cut_off, find_login, parse_login
from wfpd.model.layers import BY_SLOT, LAYERS, TWIN_OFFSET, slot_name
from wfpd.model.policy import Action, Filter, FilterFlag, Policy
from wfpd.model.rows import rows_of

READING = "reading"
"""The lint of what the reader of the file has noticed."""
LOOKED_AT = 4096
"""Filters kept as objects: neighbours and those that shadow many are looked at again and again."""
NAMED = 3
"""Filters named where several together are meant."""
_BLOCKING = (Action.BLOCK, Action.CALLOUT_TERMINATING, Action.CALLOUT_UNKNOWN)
_NO_DISCARD = FilterFlag.AUDIT | FilterFlag.ABSORB
CONNECTION_LIMIT = "wfpd.callouts.builtin.connection_limit:ConnectionLimit"
_DEAD = ("shadowed", "never")


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding, by the name of its lint."""

    lint: str
    problem: Problem
    others: tuple[str, ...] = ()
    """Names of the other filters that it speaks of, as many as are named."""

    def __str__(self) -> str:
        named = self.problem if self.lint == READING else replace(self.problem, code=self.lint)
        return str(named)


@dataclass(slots=True)
class Linted:
    """What was found, and what was not decided."""

    lints: list[Lint] = field(default_factory=list)
    undecided: list[Lint] = field(default_factory=list)
    """Filters of which the allowed work did not tell; each has the lint's name that was looked for."""
    notes: list[str] = field(default_factory=list)


def check_lints(policy: Policy, packed: bytes, login: str | None = None, only_read: bool = False) -> Linted:
    """What `check` prints: the lints of reading, then, unless `only_read`, the others.  UsageError if `login`
    (as on the command line; None: this SSH session) is none."""
    given = parse_login(login) if login is not None else None
    found = Linted() if only_read else lint_policy(policy, packed, given if login is not None else find_login())
    found.lints[:0] = [Lint(READING, problem) for problem in policy.lints]
    return found


def lint_policy(
    policy: Policy, packed: bytes | None = None, login: Login | None = None, **limits: Any
) -> Linted:  # fmt: skip
    """Everything there is to say; never an exception.  `limits`: those of shadows()."""
    found = Linted()
    try:
        linter = _Linter(policy, bare_snapshot(policy, packed), found, limits)
    except Exception as error:
        found.notes.append(f"no lints: {error!r:.200}")
        return found
    for group in (linter.feeding, linter.twins, linter.callouts, linter.filters, lambda: linter.login(login)):
        try:
            group()
        except Exception as error:
            found.notes.append(f"some lints are missing: {error!r:.200}")
    order = {name: at for at, name in enumerate(policy.files)}
    for lints in (found.lints, found.undecided):
        lints.sort(key=lambda item: (order.get(item.problem.location.file, -1), item.problem.location.line))
    if found.undecided:
        found.notes.append(f"not decided for {len(found.undecided)} filters whether they can decide at all, or have an "
                           "effect: too much work (--json lists them)")  # fmt: skip
    return found


class _Linter:
    """One policy's findings."""

    def __init__(self, policy: Policy, snapshot: Snapshot, found: Linted, limits: dict[str, Any]) -> None:
        self.policy, self.snapshot, self.found, self.limits = policy, snapshot, found, limits
        self.rows = rows_of(policy)
        self.row = lru_cache(LOOKED_AT)(self.rows.__getitem__)
        self.slots = sorted(self.rows.slots())

    @cached_property
    def places(self) -> list[int]:
        """Reading order by packed filter."""
        return packed_order(self.policy)

    @cached_property
    def packed_at(self) -> list[int]:
        """Packed filter by reading order."""
        found = [0] * len(self.places)
        for index, place in enumerate(self.places):
            found[place] = index
        return found

    def filter_at(self, index: int) -> Filter:
        """The policy's filter of a packed one."""
        return self.row(self.places[index])

    def add(self, lint: str, item: Filter | None, message: str, hint: str, others: Iterable[Filter] = ()) -> None:
        """A finding of a filter, or of the policy."""
        problem = Problem(message, hint=hint) if item is None else Problem(
            message, item.location, f'filter "{item.name}"', hint)  # fmt: skip
        self.found.lints.append(Lint(lint, problem, tuple(dict.fromkeys(other.name for other in others))))

    # --- layers

    def feeding(self) -> None:
        """Layers that no attached hook feeds."""
        if not self.policy.attach:  # A policy for replay, which is a note of `check`.
            return
        fed = {(a.hook, family) for a in self.policy.attach for family in a.families}
        for layer in LAYERS:
            slots = [slot for slot in self.slots if BY_SLOT[slot][0] is layer]
            needed = _feeders(layer.name.removesuffix("_discard"), layer.hook)
            unfed = [slot for slot in slots if not any((hook, BY_SLOT[slot][1]) in fed for hook in needed)]
            if unfed and not needed & {hook for hook, _ in fed}:
                message = f"nothing feeds {layer.name}: attach does not name {' or '.join(sorted(needed))}"
                self._of_layer("unfed-layer", self._at(slots), message,
                               f"attach {sorted(needed)[0]}, or remove the filters")  # fmt: skip
            elif unfed:
                served = {*slots} - {*unfed}
                alone = [at for at in self._at(unfed) if served.isdisjoint(self._slots(self._family(at)))]
                message = f"nothing feeds {slot_name(unfed[0])}: attach leaves out IPv{BY_SLOT[unfed[0]][1]}"
                self._of_layer("unfed-layer", alone, message, "see families: of attach, or remove the filters")

    def twins(self) -> None:
        """Discard twins of layers where nothing blocks."""
        for layer in LAYERS:
            slots = [slot for slot in self.slots if BY_SLOT[slot][0] is layer]
            if layer.twin and slots and not any(self._blocks(slot - 2 * TWIN_OFFSET) for slot in slots):
                what = layer.name.removesuffix("_discard")
                message = f"nothing reaches {layer.name}: no filter blocks at {what}"
                self._of_layer("idle-discard", self._at(slots), message, f"it sees only what {what} blocks")

    def _blocks(self, slot: int) -> bool:
        infos = (self.snapshot.filter_info(self.snapshot.layer_filter(slot, place))
                 for place in range(self.snapshot.layer_count(slot)))  # fmt: skip
        return any(Action[info["action"].upper()] in _BLOCKING and not info["flags"] & _NO_DISCARD for info in infos)

    def _at(self, slots: list[int]) -> list[int]:
        """The packed filters at these slots."""
        return [self.snapshot.layer_filter(slot, place)
                for slot in slots for place in range(self.snapshot.layer_count(slot))]  # fmt: skip

    def _slots(self, indexes: Iterable[int]) -> set[int]:
        return {self.filter_at(index).slot for index in indexes}

    def _of_layer(self, lint: str, indexes: list[int], message: str, hint: str) -> None:
        """One finding for filters of a layer, at the first of them; none if there are none."""
        places = sorted(self.places[index] for index in indexes)
        n_more = len({self.row(place).order for place in places}) - 1
        if places:
            self.add(lint, self.row(places[0]), message + (f" ({n_more} more filters there)" if n_more else ""), hint)

    # --- callouts

    def callouts(self) -> None:
        """Connection limits that count nothing, or refuse nothing."""
        for callout in self.policy.callouts:
            if callout.use != CONNECTION_LIMIT:
                continue
            named = [item for item in self.rows if item.callout == callout.name and not item.flags & FilterFlag.AUDIT]
            counting = [item for item in named if BY_SLOT[item.slot][0].name == "ale_flow_established"]
            refusing = [item for item in named if BY_SLOT[item.slot][0].name.startswith("ale_auth_")]
            what = f'callout "{callout.name}" limits nothing: '
            if refusing and not counting:
                self.add("idle-callout", refusing[0], what + "it counts no connection",
                         "name it by a filter at ale_flow_established too, with the same conditions")  # fmt: skip
            elif counting and not refusing:
                self.add("idle-callout", counting[0], what + "it is asked about none",
                         "name it by a filter at ale_auth_recv_accept or ale_auth_connect too")  # fmt: skip

    # --- filters

    def filters(self) -> None:
        """What the boxes say."""
        said: dict[int, tuple[str, Any]] = {}
        vetoes: dict[int, int] = {}
        for slot in self.slots:
            found = shadows(self.snapshot, slot, **self.limits)
            self.limits |= {"work": found["work"], "tests": found["tests"]}
            said |= {index: ("shadowed", (by, n, same)) for index, by, n, same in found["shadowed"]}
            said |= dict.fromkeys(found["never"], ("never", None))
            said |= {index: ("useless", block) for index, block in found["useless"]}
            vetoes |= dict(found["veto"])
            self._not_decided("shadowed", found["undecided"])
            self._not_decided("no-effect", found["untested"])
        for kind in ("shadowed", "never", "useless"):
            self._dead(kind, said)
        for index in sorted(vetoes):
            family = [at for at in self._family(index) if at in vetoes]
            if index == family[0]:
                self._veto(family, vetoes[index])

    def _not_decided(self, lint: str, indexes: Iterable[int]) -> None:
        for index in indexes:
            item = self.filter_at(index)
            problem = Problem(f"not decided at {slot_name(item.slot)}", item.location, f'filter "{item.name}"')
            self.found.undecided.append(Lint(lint, problem))

    def _family(self, index: int) -> list[int]:
        """The packed filters that the file's filter is at this layer: of one family or both."""
        place = self.places[index]
        item = self.row(place)
        found = []
        for step in (-1, 1):
            at = place if step == 1 else place - 1
            while 0 <= at < len(self.rows) and self.row(at).order == item.order:
                if self.row(at).slot // 2 == item.slot // 2:
                    found.append(self.packed_at[at])
                at += step
        return sorted(found)

    def _dead(self, kind: str, said: dict[int, tuple[str, Any]]) -> None:
        """Findings of one kind; a filter of both families has to be without effect in both."""
        done: set[int] = set()
        for index in [index for index, (of, _) in said.items() if of == kind]:
            if index in done:
                continue
            family = self._family(index)
            kinds = {said[at][0] if at in said else "" for at in family}
            done |= set(family)
            if kinds <= {kind, *_DEAD} and (kind != "never" or kinds == {"never"}):
                alike = [at for at in family if said[at][0] == kind]
                {"shadowed": self._shadowed, "never": self._never, "useless": self._useless}[kind](alike, said)

    def _layers(self, indexes: list[int]) -> str:
        return " and ".join(slot_name(self.filter_at(index).slot) for index in indexes)

    def _named(self, item: Filter, others: list[Filter]) -> str:
        texts = []
        for other in others[:NAMED]:
            place = f"line {other.location.line}" if other.location.file == item.location.file else str(other.location)
            texts.append(f'"{other.name}" ({place})')
        return ", ".join(texts)

    def _shadowed(self, indexes: list[int], said: dict[int, tuple[str, Any]]) -> None:
        parts = [said[index][1] for index in indexes]
        same, n = all(part[2] for part in parts), max(part[1] for part in parts)
        item = self.filter_at(indexes[0])
        others = _each_once(self.filter_at(at) for part in parts for at in part[0])
        named, more = self._named(item, others), max(n, len(others)) - NAMED
        layers = self._layers(indexes)
        if len(others) == 1:
            what = "comes first for all that it matches, and " + ("does the same" if same else _does(others[0]))
        else:
            what = (f"{f'and {more} more ' if more > 0 else ''}together come first for all that it matches"
                    f"{', and do the same' if same else ''}")  # fmt: skip
        message = f"never decides at {layers}: {named} {what}"
        hint = "it can be removed" if same else "give it more weight than those, or remove it"
        self.add("redundant" if same else "shadowed", item, message, hint, others)

    def _never(self, indexes: list[int], _: dict[int, tuple[str, Any]]) -> None:
        message = f"can never match at {self._layers(indexes)}: no packet has all that its conditions ask for"
        hint = "look for an empty range, a value above the largest one, or fields of different protocols"
        self.add("never-matches", self.filter_at(indexes[0]), message, hint)

    def _useless(self, indexes: list[int], said: dict[int, tuple[str, Any]]) -> None:
        item = self.filter_at(indexes[0])
        others = _each_once(self.filter_at(said[index][1]) for index in indexes)
        message = (f"never has an effect on the verdict at {self._layers(indexes)}: {self._named(item, others)} in a "
                   "higher sublayer blocks all that it matches")  # fmt: skip
        hint = f"such a block is final; a permit that is to stand goes to a sublayer above {others[0].sublayer}"
        self.add("no-effect", item, message, hint, others)

    def _veto(self, indexes: list[int], callout: int) -> None:
        item, other = self.filter_at(indexes[0]), self.filter_at(callout)
        message = (f"is a hard permit that a callout may veto at {self._layers(indexes)}: that of "
                   f"{self._named(item, [other])} in a lower sublayer")  # fmt: skip
        self.add("veto", item, message, "let the callout permit what this filter permits, or keep it away", [other])

    # --- the login

    def login(self, login: Login | None) -> None:
        """The login that the command was typed in."""
        blocked = None if login is None else cut_off(self.policy, self.snapshot, login)
        if blocked is None:
            return
        item = next((item for item in self._named_so(blocked.filter)), None)
        self.add("login", item, f"would cut off {login}: {blocked.what} is blocked at {blocked.layer}",
                 "permit it ahead of this, or say `--login none` if it is meant")  # fmt: skip

    def _named_so(self, name: str) -> Iterator[Filter]:
        return (item for item in self.rows if item.name == name)


def _feeders(layer: str, hook: str) -> set[str]:
    """Hooks of which each by itself brings packets to the layer."""
    if layer.startswith(("ale_", "stream", "datagram_data")):
        return {"input", "output"}
    return {hook} | {"inbound_ippacket": {"prerouting"}, "outbound_ippacket": {"postrouting"}}.get(layer, set())


def _each_once(filters: Iterable[Filter]) -> list[Filter]:
    """One of each name."""
    return list({item.name: item for item in filters}.values())


def _does(item: Filter) -> str:
    return {Action.PERMIT: "permits", Action.BLOCK: "blocks"}.get(item.action, "its callout decides")
