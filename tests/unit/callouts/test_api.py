"""What compiled callouts are built against."""

from __future__ import annotations

import re
from pathlib import Path

from wfpd.callouts import api
from wfpd.model.fields import FIELDS
from wfpd.model.generate import field_header, field_names
from wfpd.model.layers import LAYERS

DIRECTORY = Path(api.include_directory())
HEADER = (DIRECTORY / "wfpd_callout.h").read_text()


def test_the_names_of_the_fields_are_those_of_the_model() -> None:
    assert (DIRECTORY / "wfpd_fields.h").read_text() == field_header()
    assert (DIRECTORY / "fields.pxd").read_text() == field_names()
    assert f"WFPD_FIELD_{FIELDS[-1].name.upper()} = {FIELDS[-1].id}," in field_header()


def test_the_layers_have_the_models_numbers() -> None:
    for layer in (one for one in LAYERS if one.index < 16):
        assert f"WFPD_LAYER_{layer.name.upper()} = {layer.index}" in HEADER


def test_cython_knows_every_name_of_the_header() -> None:
    names = set(re.findall(r"\b(?:WFPD_[A-Z_]+|Wfpd[A-Z]\w+)\b", HEADER)) - {"WFPD_CALLOUT_H"}
    declared = (DIRECTORY / "api.pxd").read_text()
    assert names and {name for name in names if name not in declared} == {"WFPD_FIELD_"}


def test_the_abi_is_the_headers() -> None:
    assert f"#define WFPD_CALLOUT_ABI {api.ABI}u" in HEADER
