"""How large a policy's search tables are, layer by layer, and which filters make one slow.

A table's search cost is bounded by its largest leaf: filters that no field separates are looked at one
after the other.  Above LARGE_LEAF that is worth a warning, which names some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wfpd.dataplane import Snapshot, largest_leaf_filters, table_stats, widened_filters
from wfpd.model.layers import BY_SLOT, slot_name

LARGE_LEAF = 1000
"""Boxes; a packet that comes there costs about a microsecond more."""
NAMED = 5
"""Filters that a warning names."""


@dataclass(frozen=True, slots=True)
class LayerTable:
    """The search table of one layer and family."""

    layer: str
    filters: int
    boxes: int
    """A filter with lists has several."""
    copies: int
    """Boxes in all leaves; a box may be in several."""
    largest_leaf: int
    """Boxes that one packet may be compared with at once."""
    depth: int
    forks: int
    dimensions: int
    bytes: int


def layer_tables(snapshot: Snapshot) -> list[LayerTable]:
    """The tables of the layers that have filters."""
    found = []
    for slot in sorted(BY_SLOT):
        if sizes := table_stats(snapshot, slot):
            members = {name: sizes[name] for name in LayerTable.__slots__ if name in sizes}
            found.append(LayerTable(layer=slot_name(slot), **members))
    return found


def table_warnings(snapshot: Snapshot) -> Iterator[str]:
    """What makes a table slower than its size says, by layer."""
    for slot in sorted(BY_SLOT):
        sizes = table_stats(snapshot, slot)
        if sizes and sizes["largest_leaf"] > LARGE_LEAF:
            names = _names(snapshot, largest_leaf_filters(snapshot, slot, NAMED))
            yield (f"{slot_name(slot)}: {sizes['largest_leaf']:,} boxes of filters that no field separates are "
                   f"compared one after the other: {names}, ...")  # fmt: skip
        widened = widened_filters(snapshot, slot) if sizes else []
        if widened:
            names = _names(snapshot, widened[:NAMED]) + (", ..." if len(widened) > NAMED else "")
            yield (f"{slot_name(slot)}: {len(widened):,} filters have lists of more than 16 combinations, which are "
                   f"tested again on each packet that comes near: {names}")  # fmt: skip


def _names(snapshot: Snapshot, filters: list[int]) -> str:
    return ", ".join(dict.fromkeys(snapshot.filter_name(index) for index in filters))


def describe_tables(tables: list[LayerTable]) -> list[str]:
    """Lines for a terminal, the first of them heads."""
    heads = ("layer", "filters", "boxes", "copies", "largest leaf", "depth", "forks", "bytes")
    rows = [heads, *((item.layer, *(f"{getattr(item, name.replace(' ', '_')):,}" for name in heads[1:]))
                     for item in tables)]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) if index else cell.ljust(width)
                  for index, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]  # fmt: skip
