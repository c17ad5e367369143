"""The forest and the linear twin give the same filters, on drawn policies and on generated 5-tuple sets.

With WFPD_CLASSBENCH naming a directory of ClassBench sets (NAME.rules.gz, NAME.trace.gz,
NAME.exp4.gz) those are checked as well, against their expected answers.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import workloads
from tests.builders import field_values, policies, slot, snapshot
from wfpd.dataplane import Snapshot
from wfpd.dataplane._classify import classify_many
from wfpd.model.policy import Action, FilterFlag

ALWAYS_END = {item.name.lower() for item in (Action.PERMIT, Action.BLOCK, Action.CALLOUT_TERMINATING)}


def needed(taken: Snapshot, found: list[int]) -> list[int]:
    """Of all matching filters those that arbitration can need."""
    kept, ended = [], set()
    for index in found:
        info = taken.filter_info(index)
        if info["sublayer"] in ended:
            continue
        kept.append(index)
        if info["action"] in ALWAYS_END and not info["flags"] & FilterFlag.AUDIT:
            ended.add(info["sublayer"])
    return kept


@settings(max_examples=80, deadline=None)
@given(policies(most=40), st.data())
def test_larger_drawn_policies_agree(policy: Any, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from([4, 6]))
    taken, at = snapshot(policy), slot(family=family)
    for values in data.draw(st.lists(field_values(family), min_size=1, max_size=8)):
        assert taken.match(at, values) == needed(taken, taken.matches_slow(at, values))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sublayers", [1, 4, 20])
@pytest.mark.parametrize("audit", [False, True])
@pytest.mark.parametrize("shape", workloads.SHAPES)
def test_generated_sets_agree(shape: str, audit: bool, sublayers: int, family: int) -> None:
    rules = workloads.rules(shape, 300, seed=sublayers, bits=32 if family == 4 else 128)
    policy = workloads.policy(rules, family, sublayers, audit)
    taken, at = snapshot(policy), slot(family=family)
    packets = workloads.packets(rules, 40)
    answers = classify_many(taken, at, workloads.FIELD_IDS, workloads.table(packets))
    for packet, answer in zip(packets, answers, strict=True):
        values = dict(zip(workloads.FIELDS, packet, strict=True))
        assert answer == needed(taken, taken.matches_slow(at, values))


@pytest.mark.parametrize("family", [4, 6])
def test_absent_fields_agree(family: int) -> None:
    rules = workloads.rules("firewall", 500, bits=32 if family == 4 else 128)
    taken, at = snapshot(workloads.policy(rules, family, 3)), slot(family=family)
    for number, packet in enumerate(workloads.packets(rules, 200)):
        values = dict(zip(workloads.FIELDS, packet, strict=True))
        values.pop(workloads.FIELDS[number % 5])
        assert taken.match(at, values) == needed(taken, taken.matches_slow(at, values))


def _classbench() -> list[Path]:
    directory = os.environ.get("WFPD_CLASSBENCH", "")
    return sorted(Path(directory).glob("*.rules.gz")) if directory else []


def _address(text: str) -> tuple[int, int]:
    dotted, length = text.lstrip("@").split("/")
    value = int.from_bytes(bytes(int(part) for part in dotted.split(".")), "big")
    mask = (1 << (32 - int(length))) - 1
    return value & ~mask, value | mask


def _lines(path: Path, kind: str = ".rules") -> list[str]:
    """Lines of a rule set, or of the file of another kind beside it."""
    with gzip.open(path.with_name(path.name.replace(".rules", kind)), "rt") as file:
        return file.read().splitlines()


def _rules(path: Path) -> list[workloads.Rule]:
    found = []
    for line in _lines(path):
        source, destination, first, second, protocol = line.strip().split("\t")[:5]
        ports = [tuple(int(part) for part in text.split(":")) for text in (first, second)]
        value, mask = (int(part, 16) for part in protocol.split("/"))
        span = (value, value) if mask else workloads.PROTOCOLS
        found.append((_address(source), _address(destination), ports[0], ports[1], span))
    return found  # type: ignore[return-value]


@pytest.mark.skipif(not _classbench(), reason="WFPD_CLASSBENCH names no directory with rule sets")
@pytest.mark.parametrize("path", _classbench(), ids=lambda path: path.name)
def test_published_style_sets_give_their_expected_answers(path: Path) -> None:
    rules = _rules(path)
    trace = [[int(part) for part in line.split()] for line in _lines(path, ".trace")]
    rows = workloads.table([tuple(item[:5]) for item in trace])  # type: ignore[misc]
    one = classify_many(snapshot(workloads.policy(rules)), slot(), workloads.FIELD_IDS, rows)
    assert [answer[0] if answer else -1 for answer in one] == [item[5] for item in trace]
    taken = snapshot(workloads.policy(rules, sublayers=4))
    wanted = [[int(part) for part in line.split()] for line in _lines(path, ".exp4")]
    names = [taken.filter_name(index) for index in range(taken.n_filters)]
    for answer, expected in zip(classify_many(taken, slot(), workloads.FIELD_IDS, rows), wanted, strict=True):
        assert {names[index] for index in answer} == {f"r{index}" for index in expected if index >= 0}
