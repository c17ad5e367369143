"""The methods of the control socket that add and delete filters."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import pytest

from wfpd.control.changes import Changes
from wfpd.control.protocol import RpcError
from wfpd.dataplane import Part
from wfpd.errors import PolicyError
from wfpd.model.policy import default_key


class Change:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.added: list[bytes] = []
        self.removed: list[bytes] = []

    def __call__(self, packed: bytes | None, remove: Iterable[bytes]) -> int:
        self.added += [] if packed is None else Part(packed, search=False).keys()
        self.removed += remove
        return 7


def test_added_filters_are_named_with_their_layers_and_keys() -> None:
    change = Change()
    text = "version: 1\nfilters: [{name: a, layer: ipforward, action: block, when: {ip_protocol: tcp}}]"
    answer = Changes(change).add({"policy": text})
    keys = [default_key("file", "filter", "a", f"ipforward_v{family}") for family in (4, 6)]
    assert answer["generation"] == 7
    assert [(item["layer"], item["key"]) for item in answer["filters"]] == [
        (f"ipforward_v{family}", str(key)) for family, key in zip((4, 6), keys, strict=True)
    ]
    assert sorted(change.added) == sorted(key.bytes for key in keys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nfilters: [{name: a, layer: nowhere, action: block}]", "nowhere"),
        ("version: 1\ndaemon: {workers: 1}", "daemon"),
        ("version: 1\ninclude: [x]", "include"),
        ("version: 1\ncallouts: [{name: c, use: 'os:system'}]", "callouts"),
        ("version: 1\nsets: {s: {type: address, file: /etc/passwd}}", "names none"),
        ("filters: []", "version is missing"),
        ("- 1", "a policy is a mapping"),
        ("\ud800", "UTF-8"),
    ],
)
def test_a_change_is_read_as_a_policy_file_is_and_names_no_other_file(text: str, said: str) -> None:
    change = Change()
    with pytest.raises(PolicyError) as caught:
        Changes(change).add({"policy": text})
    assert any(said in str(problem) for problem in caught.value.problems), caught.value.problems
    assert not change.added


@pytest.mark.parametrize("parameters", [{}, {"policy": 1}, {"policy": None}])
def test_a_policy_that_is_no_text_is_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(RpcError, match="policy is a text"):
        Changes(Change()).add(parameters)


def test_filters_are_deleted_by_key() -> None:
    change = Change()
    key = uuid.uuid4()
    assert Changes(change).delete({"keys": [str(key), key.hex]}) == {"generation": 7, "deleted": 1}
    assert change.removed == [key.bytes, key.bytes]


@pytest.mark.parametrize("keys", [None, [], "x", ["x"], [1], [None], [["x"]], [str(uuid.uuid4())] * 1001])
def test_what_is_no_list_of_keys_is_refused(keys: object) -> None:
    with pytest.raises(RpcError, match="key"):
        Changes(Change()).delete({"keys": keys})
