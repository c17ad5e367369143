"""Which filters were hit."""

from __future__ import annotations

from pathlib import Path

from tests.unit.testing.files import POLICY, ran


def covered(directory: Path, cases: str) -> dict[str, tuple[int, list[str]]]:
    _, runner = ran(directory, cases, coverage=True)
    (coverage,) = runner.coverage.values()
    told = coverage.document()
    assert told["filters"] == sum(layer["filters"] for layer in told["layers"]) == 12
    assert told["hit"] == sum(layer["hit"] for layer in told["layers"])
    return {layer["layer"]: (layer["hit"], layer["missed"]) for layer in told["layers"]}


def test_a_filter_is_hit_by_its_result_its_callout_or_in_audit_mode(tmp_path: Path) -> None:
    found = covered(tmp_path, "  - {name: a, expect: permit}\n  - {name: b, proto: udp, expect: permit}\n"
                              "  - {name: c, proto: gre, dst: 192.0.2.9, expect: permit}\n")  # fmt: skip
    assert found["ipforward_v4"] == (3, ["tcp"])  # It matches too, behind the end of its sublayer.
    assert found["ipforward_v6"][0] == 0 and found["ale_auth_recv_accept_v4"] == (0, ["ssh", "in"])


def test_cases_that_fail_and_captures_count_and_skipped_ones_do_not(tmp_path: Path) -> None:
    found = covered(tmp_path, "  - {name: a, hook: input, dst: '192.0.2.9:22', expect: block}\n"
                              "  - {name: b, skip: later, expect: permit}\n")  # fmt: skip
    assert (found["ale_auth_recv_accept_v4"], found["ipforward_v4"][0]) == ((1, ["in"]), 0)


def test_files_of_one_policy_are_counted_together(tmp_path: Path) -> None:
    _, runner = ran(tmp_path, "  - {name: a, expect: permit}\n", coverage=True, policy=POLICY)
    assert len(runner.coverage) == 1
