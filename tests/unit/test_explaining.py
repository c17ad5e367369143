"""One packet through a policy, offline: the flows before it, answers of callouts, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from wfpd.capture import read_capture
from wfpd.config import load_policy
from wfpd.errors import UsageError
from wfpd.explaining import Explainer, bare_snapshot, parse_answers
from wfpd.imagined import imagine
from wfpd.observe import explain
from wfpd.replay import Replay, parse_local

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
LOCAL = "203.0.113.10/32,2001:db8:9::10/128"
VALIDATOR = jsonschema.Draft202012Validator(
    json.loads(Path(explain.__file__).with_name("explain_schema.json").read_text())
)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
def test_every_packet_of_the_examples_is_explained_with_the_line_that_replay_prints(name: str) -> None:
    policy = load_policy(str(EXAMPLES / f"{name}.yaml"), trust="warn")
    local = None if name == "gateway" else parse_local(LOCAL)
    replay, explainer = Replay(policy, local=local), Explainer(policy, local=local)
    for packet in read_capture(str(EXAMPLES / f"{name}.pcap")):
        document = explainer.explain(packet)
        VALIDATOR.validate(json.loads(json.dumps(document)))
        assert document["decision"] == replay.decide(packet)
        rows = [layer for visit in document["visits"] for layer in visit["layers"]]
        assert [(r["layer"], r["action"], r["right"], r["sublayer"], r["filter"]) for r in rows] == [
            (r["layer"], r["action"], r["right"], r["sublayer"], r["filter"]) for r in document["decision"]["layers"]
        ]


def test_the_flows_are_those_of_the_packets_before(tmp_path: Path) -> None:
    policy = load_policy(str(EXAMPLES / "host.yaml"), trust="warn")
    document = Explainer(policy, local=parse_local(LOCAL)).explain_nth(
        read_capture(str(EXAMPLES / "host.pcap")), 3
    )  # fmt: skip
    assert (document["packet"]["number"], document["decision"]["reason"]) == (3, "flow")
    with pytest.raises(UsageError, match="no packet 5000"):
        Explainer(policy).explain_nth(read_capture(str(EXAMPLES / "host.pcap")), 5000)


def test_the_example_in_the_docs_is_what_is_printed() -> None:
    text = (EXAMPLES.parent / "explain.md").read_text()
    command = re.search(r"^    wfpd (explain .+)$", text, re.MULTILINE)
    assert command
    done = subprocess.run([sys.executable, "-m", "wfpd", *command[1].split()], capture_output=True, text=True,
                          cwd=EXAMPLES.parents[1], check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert f"```\n{done.stdout}```\n" in text


def with_callout(tmp_path: Path, use: str = 'use: "no_such_module:Class"') -> Explainer:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nfilters: [{name: a, layer: ipforward_v4, action: {callout: c, kind: terminating}}]\n"
                    f"callouts: [{{name: c, {use}}}]\n")  # fmt: skip
    return Explainer(load_policy(str(path), trust="warn"), answers={"c": "permit"})


PACKET = imagine("udp", "192.0.2.1:1", "192.0.2.2:2").packet()


def test_a_callout_is_neither_imported_nor_called(tmp_path: Path) -> None:
    explainer = with_callout(tmp_path)
    assert explainer.explain(PACKET)["decision"]["reason"] == "callout"
    with pytest.raises(AssertionError):
        explainer.snapshot.callouts[0](None)  # type: ignore[misc]


def test_a_callout_that_is_not_registered_stays_missing(tmp_path: Path) -> None:
    decision = with_callout(tmp_path, "description: none").explain(PACKET)["decision"]
    assert (decision["verdict"], decision["reason"]) == ("block", "missing_callout")


def test_answers_are_read_and_have_to_be_a_callouts(tmp_path: Path) -> None:
    assert parse_answers(["a=permit", "b=c=block"]) == {"a": "permit", "b=c": "block"}
    for wrong in ("a", "a=maybe", "=block"):
        with pytest.raises(UsageError, match="no answer"):
            parse_answers([wrong])
    policy = load_policy(str(EXAMPLES / "host.yaml"), trust="warn")
    with pytest.raises(UsageError, match="no callout 'c'"):
        Explainer(policy, answers={"c": "block"})


def test_tables_in_use_take_the_place_of_the_policys(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nfilters: [{name: a, layer: ipforward_v4, action: block}]\n")
    running = bare_snapshot(load_policy(str(path), trust="warn"))
    policy = load_policy(str(EXAMPLES / "host.yaml"), trust="warn")
    explainer = Explainer(policy, snapshot=running)
    assert explainer.snapshot is running
    assert explainer.explain(PACKET)["decision"]["filter"] == "a"
