"""Cases that are run: what passes, what fails with which difference, flows, callouts, captures and golden files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.unit.testing.files import EXAMPLES, POLICY, ran, result, suite
from wfpd.errors import CaptureError, ControlError
from wfpd.testing.cases import Difference
from wfpd.testing.running import MOST_FAILURES, Runner, golden_lines, must_open


def test_a_case_passes_where_everything_is_as_expected(tmp_path: Path) -> None:
    found = result(tmp_path, "expect: {verdict: permit, filter: web, layer: ipforward, reason: filter}")
    assert (found.outcome, found.n_packets, found.explanation) == ("passed", 1, None)


def test_a_case_fails_with_the_differences_and_the_explanation(tmp_path: Path) -> None:
    found = result(tmp_path, "dst: '198.51.100.2:23', expect: {verdict: permit, filter: web, reason: filter}")
    (failure,) = found.failures
    assert failure.differences == (Difference("verdict", "permit", "block"), Difference("filter", "web", "tcp"))
    assert found.outcome == "failed" and found.explanation
    assert found.explanation["decision"] == failure.line
    assert found.missing == ["web at ipforward_v4: ip_destination_port is 23, wants [80, 443]"]


def test_packets_of_each_have_flows_of_their_own_and_those_of_a_conversation_one(tmp_path: Path) -> None:
    expect = "[{dst: '10.0.0.1:22', expect: {reason: filter}}, {dst: '10.0.0.1:22', expect: {reason: REASON}}]"
    for kind, reason in (("each", "filter"), ("packets", "flow")):
        assert result(tmp_path, f"hook: input, {kind}: {expect.replace('REASON', reason)}").outcome == "passed"


def test_the_clock_of_a_conversation_can_be_moved(tmp_path: Path) -> None:
    text = "hook: input, dst: '10.0.0.1:22', packets: [{}, {after: WAIT, expect: {reason: REASON}}]"
    for wait, reason in (("1s", "flow"), ("300h", "filter")):
        assert result(tmp_path, text.replace("WAIT", wait).replace("REASON", reason)).outcome == "passed"


def test_only_the_first_failure_is_explained_with_the_flows_before_it(tmp_path: Path) -> None:
    found = result(tmp_path, "hook: input, dst: '10.0.0.1:22', packets: [{}, {expect: block}, {expect: block}]")
    assert found.n_failures == 2 and found.explanation
    assert (found.explanation["packet"]["number"], found.explanation["decision"]["reason"]) == (2, "flow")


@pytest.mark.parametrize(("answer", "verdict"), [("permit", "permit"), ("block", "block"), ("continue", "permit")])
def test_answers_stand_in_for_callouts(tmp_path: Path, answer: str, verdict: str) -> None:
    text = f"proto: udp, answers: {{watch: {answer}}}, expect: {{verdict: {verdict}, callouts: [watch]}}"
    assert result(tmp_path, text).outcome == "passed"


RUNS = POLICY.replace('  - {name: broken, use: "no_such_module:Class"}\n', "")


def test_callouts_are_run_where_that_is_asked_for_and_their_answer_is_explained(tmp_path: Path) -> None:
    assert result(tmp_path, "proto: udp, expect: {verdict: permit}").outcome == "passed"
    found = result(tmp_path, "proto: udp, callouts: run, expect: {verdict: permit}", RUNS)
    assert found.failures[0].line and found.failures[0].line["reason"] == "callout"
    assert found.explanation and found.explanation["called"]
    (first, _) = found.explanation["visits"][0]["layers"][0]["sublayers"]
    assert first["filters"][0]["answer"] == {"kind": "block", "clear_right": False}


def test_a_callout_that_cannot_be_imported_fails_its_case_only(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, "  - {name: a, callouts: run, expect: permit}\n  - {name: b, expect: permit}\n")
    assert [item.outcome for item in found.results] == ["failed", "passed"]
    assert "no_such_module" in found.results[0].error


def test_an_answer_of_no_callout_fails_the_case(tmp_path: Path) -> None:
    assert "no callout 'x'" in result(tmp_path, "answers: {x: block}, expect: permit").error


def test_what_a_callout_raised_is_told_of_a_case_that_failed(tmp_path: Path) -> None:
    found = result(tmp_path, "proto: udp, callouts: run, expect: block", RUNS.replace("answer: block", "answer: raise"))
    (line,) = found.missing
    assert line.startswith('callout "') and "raised" in line and "fixed.py:" in line


def test_a_late_callout_can_be_tested_and_explained(tmp_path: Path) -> None:
    slow = RUNS.replace("answer: block", "answer: sleep, seconds: 0.05").replace(
        "version: 1", "version: 1\nfaults: {on_late: block, late_after: 1ms}"
    )
    assert result(tmp_path, "proto: udp, callouts: run, expect: {reason: late}", slow).outcome == "passed"
    assert result(tmp_path, "proto: udp, callouts: run, expect: permit", slow).explanation


def test_a_case_with_a_reason_to_skip_is_not_run(tmp_path: Path) -> None:
    found = result(tmp_path, "skip: later, expect: block")
    assert (found.outcome, found.n_packets) == ("skipped", 0)


def test_only_wanted_cases_are_run_and_told(tmp_path: Path) -> None:
    told = []
    runner = Runner(wanted=lambda name: name == "b")
    found = runner.run(suite(tmp_path, "  - {name: a, expect: block}\n  - {name: b, expect: permit}\n"),
                       lambda _, one: told.append(one.case.name))  # fmt: skip
    assert (told, found.n_deselected) == (["b"], 1)


def test_a_policy_that_does_not_load_runs_nothing_and_one_that_is_not_there_is_another_error(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, "  - {name: a, expect: permit}\n", policy="version: 9\n")
    assert found.results == () and "newer" in str(found.problems[0])
    told = suite(tmp_path, "  - {name: a, expect: permit}\n")
    (tmp_path / "policy.yaml").unlink()
    with pytest.raises(ControlError, match="cannot open"):
        Runner().run(told)


CAPTURE = f"capture: {EXAMPLES / 'gateway.pcap'}"
GATEWAY = (EXAMPLES / "gateway.yaml").read_text()


def test_one_packet_of_a_capture(tmp_path: Path) -> None:
    found = result(tmp_path, f"{CAPTURE}, packet: 3, expect: {{filter: no-other-tcp}}", GATEWAY)
    assert (found.outcome, found.n_packets) == ("passed", 3)
    found = result(tmp_path, f"{CAPTURE}, packet: 3, expect: permit", GATEWAY)
    assert found.explanation and found.explanation["packet"]["number"] == 3
    assert (
        "no packet 8: it ends with packet 7" in result(tmp_path, f"{CAPTURE}, packet: 8, expect: permit", GATEWAY).error
    )


def test_all_packets_of_a_capture(tmp_path: Path) -> None:
    found = result(
        tmp_path, f"{CAPTURE}, expect: {{every: permit, packets: {{3: block}}, verdicts: {{block: 5}}}}", GATEWAY
    )
    assert [failure.packet for failure in found.failures] == [4, 5, 7, None]
    assert found.failures[-1].differences == (Difference("packets with verdict block", 5, 4),)
    right = f"{CAPTURE}, expect: {{verdicts: {{permit: 3, block: 4}}, golden: {EXAMPLES / 'gateway.jsonl'}}}"
    assert result(tmp_path, right, GATEWAY).outcome == "passed"


def test_many_failures_are_counted_and_the_first_ones_kept(tmp_path: Path) -> None:
    ports = ", ".join(f"'198.51.100.2:{port}'" for port in range(1, 51))
    found = result(tmp_path, f"dst: [{ports}], expect: permit")
    assert (found.n_failures, len(found.failures)) == (50, MOST_FAILURES)


def test_a_golden_file_is_compared_line_by_line(tmp_path: Path) -> None:
    lines = (EXAMPLES / "gateway.jsonl").read_text().splitlines()
    golden = tmp_path / "golden.jsonl"
    text = f"{CAPTURE}, expect: {{golden: golden.jsonl}}"
    golden.write_text(
        "\n".join([*lines[:2], lines[2].replace('"no-other-tcp"', '"web"'), *lines[3:], "{}", "{}"]) + "\n"
    )
    found = result(tmp_path, text, GATEWAY)
    assert [failure.packet for failure in found.failures] == [3, None]
    assert [item.member for item in found.failures[0].differences] == ["filter", "layers"]
    assert found.failures[1].differences[0].expected == "2 more packets"
    golden.write_text(lines[0] + "\n")
    assert result(tmp_path, text, GATEWAY).failures[0].differences[0].expected == "the end of the file"
    golden.write_text(json.dumps([1]) + "\n")
    assert "golden.jsonl:1: is no line" in result(tmp_path, text, GATEWAY).error


def test_golden_lines_end_with_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for text in ("[" * 100_000, "no\n", '"x' + "y" * (1 << 21)):
        path.write_text(text)
        with pytest.raises(CaptureError, match="is no line"):
            list(golden_lines(str(path)))
    with pytest.raises(ControlError):
        list(golden_lines(str(tmp_path / "none")))


def test_a_capture_that_breaks_off_fails_its_case(tmp_path: Path) -> None:
    whole = (EXAMPLES / "gateway.pcap").read_bytes()
    (tmp_path / "cut.pcap").write_bytes(whole[:-3])
    assert result(tmp_path, "capture: cut.pcap, expect: {verdicts: {permit: 3}}", GATEWAY).error
    with pytest.raises(ControlError, match="cannot open"):
        result(tmp_path, "capture: none.pcap, expect: permit", GATEWAY)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for text in ("capture: fifo, expect: permit", f"{CAPTURE}, expect: {{golden: fifo}}", "capture: ., expect: permit"):
        with pytest.raises(ControlError, match="not a regular file"):
            result(tmp_path, text, GATEWAY)
    with pytest.raises(ControlError, match="not a regular file"):
        must_open(str(tmp_path / "fifo"))
    with pytest.raises(ControlError, match="no name of a file"):
        must_open("a\0b")


def test_callouts_that_were_run_end_with_the_flows_and_the_runner(tmp_path: Path) -> None:
    (tmp_path / "ended_callout.py").write_text(
        "SAID = []\n"
        "class Ended:\n"
        "    def classify(self, c):\n"
        "        c.set_flow_context('datagram_data', 'x')\n"
        "    def flow_delete(self, f):\n"
        "        SAID.append(f.layer)\n"
        "    def close(self):\n"
        "        SAID.append('closed')\n"
    )
    policy = (
        f"version: 1\ndaemon: {{callout_path: [{tmp_path}]}}\ncallouts: [{{name: c, use: 'ended_callout:Ended'}}]\n"
        "filters:\n  - {name: in, layer: ale_auth_recv_accept, action: permit}\n"
        "  - {name: new, layer: ale_flow_established, action: {callout: c}}\n"
    )
    one = "  - {name: %s, hook: input, proto: udp, callouts: run, expect: permit}\n"
    _, runner = ran(tmp_path, one % "a" + one % "b", policy=policy)
    said = sys.modules.pop("ended_callout").SAID
    assert said == ["datagram_data_v4"] * 2
    runner.close()
    assert said == ["datagram_data_v4"] * 2 + ["closed"]
