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


def members(text: str, pattern: str) -> dict[str, list[str]]:
    """Names of each struct's members, in order, without what is reserved."""
    found = {}
    for name, body in re.findall(pattern, text, re.MULTILINE | re.DOTALL):
        body = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
        names = [re.search(r"\(\*(\w+)\)|(\w+)(?:\[\d+\])?;?$", line.strip()) for line in body.strip().splitlines()]
        found[name] = [one[1] or one[2] for one in names if one and not (one[2] or "").startswith("reserved")]
    return found


def test_cython_knows_every_member_in_its_place_and_the_size_is_the_first() -> None:
    declared = members((DIRECTORY / "api.pxd").read_text(), r"    ctypedef struct (\w+):\n(.*?)\n\n")
    assert declared == members(HEADER, r"^typedef struct (\w+) \{\n(.*?)^\}")
    assert {name: names[:2] for name, names in declared.items()} == {
        "WfpdCall": ["size", "hook"], "WfpdAnswer": ["size", "kind"], "WfpdCallout": ["abi", "size"],
    }  # fmt: skip


def test_members_keep_their_places() -> None:
    """What callouts that are compiled already rely on; further members come behind."""
    declared = members(HEADER, r"^typedef struct (\w+) \{\n(.*?)^\}")
    assert declared["WfpdCall"][:30] == [
        "size", "hook", "layer", "family", "outbound", "action", "right", "discard", "has_protocol", "protocol",
        "truncated", "packet", "captured", "original", "transport_offset", "payload_offset", "payload_length",
        "filter", "filter_context", "flow_id", "flow_context", "now_ns", "stream", "stream_offset", "stream_length",
        "stream_direction", "stream_flags", "host", "value", "stream_missed",
    ]  # fmt: skip
    assert declared["WfpdCall"][30:] == [
        "set_flow_context", "remove_flow_context", "writable", "write", "replace", "in_interface", "out_interface",
        "compartment", "ale_classify_required", "fragment", "streams", "resume",
        "set_flow_context_of", "remove_flow_context_of", "provider_context", "provider_context_length", "injected",
    ]  # fmt: skip
    assert declared["WfpdAnswer"][:5] == ["size", "kind", "clear_right", "absorb", "reply"]
    assert declared["WfpdCallout"] == ["abi", "size", "state", "classify", "flow_delete"]


def test_what_writing_is_refused_for_has_the_numbers_of_the_packet_path() -> None:
    source = (Path(__file__).resolve().parents[3] / "ext/wfpd/dataplane/_modify.pxd").read_text()
    names = re.findall(r"^    MODIFY_(\w+)", source, re.MULTILINE)
    for number, name in enumerate(names[1:], 1):
        assert f"WFPD_REFUSED_{name} = {number}," in HEADER


def test_the_abi_is_the_headers() -> None:
    assert f"#define WFPD_CALLOUT_ABI {api.ABI}u" in HEADER
