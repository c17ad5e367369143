"""Any file of tests is read, or refused with a place in it for each error; nothing else comes out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from wfpd.errors import PolicyError
from wfpd.testing.reading import read_suites

KEYS = st.sampled_from(
    "version policy defaults cases name hook proto src dst flags icmp payload interface mark local answers "
    "callouts skip checksums capture packet packets each reply after expect verdict reason layer filter "
    "veto every verdicts golden permit 1 watch".split()
)
WORDS = st.sampled_from(
    "1 tcp udp icmp permit block input 192.0.2.1:80 192.0.2.1 2001:db8::1 [::1]:80 syn echo_request true run 5s".split()
) | st.text(max_size=5) | st.integers(-1, 70000) | st.none()  # fmt: skip
NODES = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
CASES = st.lists(st.dictionaries(KEYS, NODES, max_size=7), max_size=3)


def read(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(data)
        try:
            read_suites([str(path)], None)
        except PolicyError as error:
            places = {problem.location.file for problem in error.problems}
        else:
            places = {str(path)}
    assert places == {str(path)}


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, NODES, max_size=6), CASES)
def test_any_tree_is_read_or_refused(top: dict[str, object], cases: list[dict[str, object]]) -> None:
    named = [{"name": f"case {number}", **case} for number, case in enumerate(cases)]
    read("x.test.json", json.dumps({"version": 1, "policy": "p", **top, "cases": named}).encode())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
@example(b"\xff")
@example(b"version: 1\npolicy: p\ncases: [{name: a, expect: {")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read("x.test.yaml", data)
