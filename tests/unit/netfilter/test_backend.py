"""When rules count as being in place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wfpd.netfilter.backend import HookStatus

GOOD = HookStatus("forward", 4, installed=True, current=True, last=True)


def test_rules_behind_ours_do_no_harm() -> None:
    assert GOOD.in_place
    assert replace(GOOD, last=False).in_place


@pytest.mark.parametrize(
    "fault",
    [{"installed": False}, {"current": False}, {"acts": False}, {"shadowed_by": "x"}, {"acts_shadowed_by": "x"}],
)
def test_any_fault_on_the_way_of_a_packet_counts(fault: dict[str, object]) -> None:
    assert not replace(GOOD, **fault).in_place  # type: ignore[arg-type]
