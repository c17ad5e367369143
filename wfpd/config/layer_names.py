"""Names of layers in a policy: with or without family, twins, and what a layer's fields are called."""

from __future__ import annotations

import re

from wfpd.model.fields import FIELD, FIELD_ALIASES, Field, Vocabulary
from wfpd.model.layers import LAYERS, UNSERVED_LAYERS, Layer

FieldNames = dict[str, tuple[Field, Vocabulary]]


def _layer_names() -> dict[str, tuple[Layer, tuple[int, ...]]]:
    names: dict[str, tuple[Layer, tuple[int, ...]]] = {}
    for layer in LAYERS:
        names[layer.name] = (layer, (4, 6))
        for family in (4, 6):
            names[layer.full_name(family)] = (layer, (family,))
    return names


LAYER_NAMES = _layer_names()
"""Every name that `layer:` knows, with the families it speaks of."""

_SUFFIX = re.compile(r"(?:_v[46])?(?:_discard)?$")


def why_unserved(name: str) -> str:
    """Why a layer of WFP cannot be served here; empty for a name that WFP does not have."""
    return UNSERVED_LAYERS.get(_SUFFIX.sub("", name, count=1), "")


def _field_names(layer: Layer) -> FieldNames:
    names: FieldNames = {name: (FIELD[name], FIELD[name].vocabulary) for name in layer.fields}
    for alias, name in FIELD_ALIASES.items():
        if name in names:
            names[alias] = names[name]
    for alias, name in layer.aliases:
        # The ICMP names keep their own words: icmp_type is written echo_request, the port is not.
        names[alias] = (FIELD[name], FIELD[alias].vocabulary)
    return names


FIELD_NAMES: dict[int, FieldNames] = {layer.index: _field_names(layer) for layer in LAYERS}
"""By layer index: every name a condition may use there."""

FIELDS_ANYWHERE: FieldNames = {
    name: known for layer in reversed(LAYERS) for name, known in FIELD_NAMES[layer.index].items()
}
"""Every name with the field and words of the first layer that has it."""

ALL_FIELD_NAMES: tuple[str, ...] = tuple(sorted({*FIELD, *FIELD_ALIASES}))


def layers_with(field_name: str) -> list[str]:
    """The served layers, without twins, at which the name is a field."""
    return [
        layer.name for layer in LAYERS if layer.served and not layer.twin and field_name in FIELD_NAMES[layer.index]
    ]
