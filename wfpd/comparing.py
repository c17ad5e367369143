"""`wfpd diff`: what changes for traffic from one policy to another, layer by layer.

Filters are boxes, so the regions where the verdict is another are computed, not sampled.  A condition that no
box can hold is part of a region by itself; what a callout, or one condition too many, could settle is told as
both verdicts, and a limit that was met is said.
Each region has a packet that both policies were asked about, or the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wfpd import weighing
from wfpd.candidates import Test, Told
from wfpd.capture import CapturedPacket
from wfpd.dataplane import Snapshot, policy_diff
from wfpd.explaining import bare_snapshot
from wfpd.model.fields import FIELD, FIELDS, Field
from wfpd.model.layers import BY_SLOT, slot_name
from wfpd.model.policy import Policy
from wfpd.observe.wording import quoted, say_condition, say_range
from wfpd.replay import LocalPrefixes
from wfpd.witness import Witnesses

FORMAT = 1
"""Version of the document; members are only added."""
MOST = 200
"""Regions of one layer."""
MOST_CONDITIONS = 16
"""Conditions of one layer that no box can hold and that regions tell apart."""
ANY = "any value"

_QUIET = ("layer", "complete")
_SAME = "the verdicts are the same"
_DIFFER = "THE VERDICTS DIFFER, or it is not decided"

Document = dict[str, Any]


def compare(
    old: Policy, new: Policy, most: int = MOST, *, packets: Iterator[CapturedPacket] | None = None,
    hook: str = "forward", local: LocalPrefixes | None = None,
) -> Document:  # fmt: skip
    """Both policies' tables, at every layer that has filters in one of them; with `packets` what changes for those.

    `hook` and `local` as in replay.  `same` is of all that was asked.
    """
    before, after = snapshots = bare_snapshot(old), bare_snapshot(new)
    witnesses = Witnesses((old, new), snapshots)
    layers = [_layer(before, after, slot, most, witnesses)
              for slot in BY_SLOT if before.layer_count(slot) or after.layer_count(slot)]  # fmt: skip
    changed = [layer for layer in layers if any(value for key, value in layer.items() if key not in _QUIET)
               or not layer["complete"]]  # fmt: skip
    document = {"format": FORMAT, "same": all(layer["complete"] and not layer["regions"] for layer in layers),
                "layers": changed}  # fmt: skip
    if packets is not None:
        weighed = weighing.weigh(old, new, packets, hook=hook, local=local, snapshots=snapshots)
        document["capture"] = weighed
        document["same"] = document["same"] and not weighed["changed"] and weighed["broken"] is None
    return document


def _layer(before: Snapshot, after: Snapshot, slot: int, most: int, witnesses: Witnesses) -> Document:
    found = policy_diff(before, after, slot, most, tests=MOST_CONDITIONS)
    each = zip(found["regions"], found["tests"], found["deciding"], strict=True)
    return {
        "layer": slot_name(slot),
        "added": [after.filter_name(index) for index in found["added"]],
        "removed": [before.filter_name(index) for index in found["removed"]],
        "changed": [after.filter_name(index) for _, index in found["changed"]],
        "moved": [after.filter_name(index) for _, index in found["moved"]],
        "regions": [_region(slot, region, tests, (before, after), deciding, witnesses)
                    for region, tests, deciding in each],
        "complete": found["complete"],
    }  # fmt: skip


def _region(
    slot: int, region: tuple[str | None, str | None, Mapping[str, Told]], tests: Sequence[Test],
    snapshots: tuple[Snapshot, Snapshot], deciding: tuple[int | None, int | None], witnesses: Witnesses,
) -> Document:  # fmt: skip
    old, new, where = region
    family = 6 if slot & 1 else 4
    old_filter, new_filter = (None if index is None else snapshot.filter_name(index)
                              for snapshot, index in zip(snapshots, deciding, strict=True))  # fmt: skip
    return {
        "old": old, "new": new, "where": {name: say_part(FIELD[name], family, told) for name, told in where.items()},
        "conditions": [{"field": FIELDS[condition.field].name, "wants": say_condition(condition, family),
                        "holds": holds} for condition, holds, _ in tests],
        "old_filter": old_filter, "new_filter": new_filter, "witness": witnesses.of(slot, old, new, where, tests),
    }  # fmt: skip


def say_part(field: Field, family: int, told: Told) -> str:
    """What a region says of one field, in the words of the policy file."""
    values, empty = told
    if not values:
        return "empty"
    if values[0] is None:
        text = f"none_of [{', '.join(quoted(item) for item in values[1:])}]"
    elif isinstance(values[0], bytes):
        text = ", ".join(quoted(item) for item in values)
    else:
        text = _say_words(field, family, values)
    return f"{text} or empty" if empty else text


def _say_words(field: Field, family: int, words: Sequence[tuple[int, int]]) -> str:
    """Bounds by 32 bits: a range of the field where they are one, else word by word."""
    full = [(low, high) == (0, 2**32 - 1) for low, high in words]
    apart = next((place for place, (low, high) in enumerate(words) if low != high), len(words))
    low = high = 0
    for one, other in words:
        low, high = low << 32 | one, high << 32 | other
    if all(full):
        return ANY
    if all(full[apart + 1 :]):
        return say_range(field, family, low, high)
    return "32-bit words " + " ".join(f"{one:#x}" if one == other else f"{one:#x}-{other:#x}" for one, other in words)


def render(document: Mapping[str, Any]) -> str:
    """The document for a person."""
    lines = []
    for layer in document["layers"]:
        lines.append(f"{layer['layer']}:")
        lines += [f"  {kind:<8} {name}" for kind in ("added", "removed", "changed", "moved") for name in layer[kind]]
        for region in layer["regions"]:
            lines += [f"  {_say_region(region)}", f"    {say_witness(region['witness'])}"]
        if not layer["complete"]:
            lines.append("  and more: there are more regions than are shown")
        elif not layer["regions"]:
            lines.append("  no packet's verdict changes here")
    if not document["layers"]:
        lines.append("the policies have the same filters")
    if "capture" in document:
        lines += weighing.render(document["capture"])
    lines.append(_SAME if document["same"] else _DIFFER)
    return "\n".join(lines) + "\n"


def _say_region(region: Mapping[str, Any]) -> str:
    old, new = (region[side] or "permit or block" for side in ("old", "new"))
    by = " -> ".join(region[side] or "-" for side in ("old_filter", "new_filter"))
    return f"{old} -> {new}  {_say_where(region)}  ({by})"


def _say_where(region: Mapping[str, Any]) -> str:
    tested = {item["field"] for item in region["conditions"]}
    parts = [
        f"{name} {text}"
        for name, text in region["where"].items()
        if name not in tested or text not in (ANY, "anything")
    ]
    for item in region["conditions"]:
        text = f"{item['field']} {item['wants']}"
        parts.append(text if item["holds"] else f"not ({text})")
    return ", ".join(parts) or "every packet"


def say_witness(witness: Mapping[str, Any]) -> str:
    """Whether a packet confirms the region, and which."""
    shown = "" if witness["packet"] is None else witness["command"] or _fields(witness)
    if witness["confirmed"]:
        return f"confirmed, {witness['old']} -> {witness['new']}: {shown}"
    return f"not confirmed: {witness['why']}" + (f"; for instance {shown}" if shown else "")


def _fields(witness: Mapping[str, Any]) -> str:
    """A packet that `wfpd explain` has no words for."""
    parts = [f"a packet through {' and '.join(witness['hooks'])}"]
    parts += [] if witness["mark"] is None else [f"mark {witness['mark']:#x}"]
    parts += [] if witness["interface"] is None else [f"interface {quoted(witness['interface'].encode())}"]
    data, length = witness["packet"]["data"], witness["packet"]["length"]
    rest = f" and zeros up to {length}" if len(data) < 2 * length else ""
    return f"{', '.join(parts)}, bytes {data}{rest}"
