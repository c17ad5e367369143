"""What is served, what the schema says and what the documentation says are the same."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import MagicMock

import jsonschema
import pytest

from tests.control_schema import check_notification, check_params, check_result
from wfpd.control import schema
from wfpd.control.admin import OWN
from wfpd.daemon.service import Service

ROOT = Path(__file__).resolve().parents[3]
METHODS = schema.load()["methods"]


def documented() -> dict[str, str]:
    """{method: role} of the table in docs/control.md."""
    text = (ROOT / "docs" / "control.md").read_text()
    return dict(re.findall(r"^\| `([a-z_.]+)` \| ([a-z–]+) \|", text, re.MULTILINE))


def served() -> dict[str, object]:
    return {**Service.methods(MagicMock()), **dict.fromkeys(OWN)}


def test_every_method_is_in_the_schema_and_in_the_documentation_and_the_reverse() -> None:
    assert set(served()) == set(METHODS)
    assert set(served()) == set(documented())


def test_roles_and_parameters_are_the_same_everywhere() -> None:
    for name, role in documented().items():
        assert METHODS[name]["role"] == (None if role == "–" else role), name
    for name, method in Service.methods(MagicMock()).items():
        if name in OWN:
            continue
        assert METHODS[name]["role"] == method.role.name.lower(), name
        there = set(METHODS[name]["params"]["properties"])
        assert there == method.parameters, name


def test_the_schema_is_one_and_everything_it_refers_to_is_there() -> None:
    document = schema.load()
    jsonschema.Draft202012Validator.check_schema(document)
    for method in METHODS.values():
        for part in ("params", "result"):
            jsonschema.Draft202012Validator.check_schema(method[part])
        assert method["params"]["additionalProperties"] is False
    names = set(re.findall(r'"#/\$defs/(\w+)"', (ROOT / "wfpd" / "control" / "control_schema.json").read_text()))
    assert names | {"error"} == set(document["$defs"])


@pytest.mark.parametrize(
    ("method", "params"),
    [("status", {"x": 1}), ("filters.add", {}), ("filters.add", {"policy": "", "filter": {"name": "x"}}),
     ("filters.delete", {"keys": []}), ("reload", {"confirm": 0}), ("hello", {"version": 2}),
     ("flows.list", {"size": 1001}), ("filters.list", {"template": {"weight": 1}})],
)  # fmt: skip
def test_what_a_method_would_refuse_the_schema_refuses(method: str, params: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check_params(method, params)


def test_what_methods_answer_as_planned_is_of_the_schema() -> None:
    key = "7c2f3e0c-3b6e-4c4d-9d0a-111111111111"
    check_result("filters.get", {"object": {"key": key, "name": "f", "layer": "ipforward_v4", "hits": 0}})
    check_result("providers.list", {"objects": [{"key": key, "name": "p"}], "cursor": None, "total": 1})
    check_notification("change", {"subscription": 1, "change": "add", "type": "filters", "key": key, "id": 1,
                                  "name": "f", "generation": 2})  # fmt: skip
    check_notification("change", {"subscription": 1, "error": "FWP_E_NOTIFICATION_DROPPED", "dropped": 3})
    for wrong in ({"object": {"key": key, "name": "f"}}, {}):
        with pytest.raises(jsonschema.ValidationError):
            check_result("filters.get", wrong)
