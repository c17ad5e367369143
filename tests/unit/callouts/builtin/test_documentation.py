"""Every policy of docs/builtin-callouts.md is accepted, and every callout there is can be made as written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet

from tests.streams import Conversation
from tests.unit.callouts.builtin.test_replayed_streams import BAD, CUT, GOOD, PASSED
from wfpd.callouts.registry import load_callouts
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer, Snapshot
from wfpd.replay import make_snapshot

ROOT = Path(__file__).resolve().parents[4]
TEXT = (ROOT / "docs" / "builtin-callouts.md").read_text()
POLICIES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def written(tmp_path: Path, text: str) -> Path:
    """The policy in a file."""
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("number", range(len(POLICIES)))
def test_a_policy_of_the_page_has_no_error_and_no_lint(number: int, tmp_path: Path) -> None:
    path = written(tmp_path, POLICIES[number])
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "check", "--strict", "--login", "none", "--json", path],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)
    assert None not in load_callouts(load_policy(str(path), trust="warn").callouts)


def test_every_callout_shipped_is_in_the_table_and_in_an_example() -> None:
    folder = ROOT / "wfpd" / "callouts" / "builtin"
    shipped = {f"{path.stem}:{name}" for path in folder.glob("*.py")
               for name in re.findall(r"^class (\w+)[^\n]*:\n(?:(?!^class ).)*?^    def classify\(", path.read_text(),
                                      re.MULTILINE | re.DOTALL)}  # fmt: skip
    assert shipped == set(re.findall(r"^\| `(\w+:\w+)` \|", TEXT, re.MULTILINE))
    assert shipped == set(re.findall(r'use: "wfpd\.callouts\.builtin\.(\w+:\w+)"', TEXT))


def tables(tmp_path: Path, word: str, **replaced: str) -> Snapshot:
    """The policy of the page that has the word, with the ports of the tests' conversations."""
    (text,) = [one for one in POLICIES if word in one]
    for name, port in replaced.items():
        text = re.sub(rf"{name}: \d+", f"{name}: {port}", text)
    policy = load_policy(written(tmp_path, text), trust="warn")
    return make_snapshot(policy, callouts=load_callouts(policy.callouts))


@pytest.mark.parametrize(
    ("packet", "field", "value"),
    [
        (IP() / UDP(dport=5004) / b"voice", "tos", 46 << 2),
        (IP() / TCP(flags="S", options=[("MSS", 1460)]), "options", [("MSS", 1380)]),
    ],
)
def test_what_the_page_writes_is_written(tmp_path: Path, packet: Packet, field: str, value: object) -> None:
    found = Replayer(tables(tmp_path, "DscpSet"), Flows(16)).visit(bytes(packet), "forward", 1)
    after = IP(found["modified"])
    assert found["verdict"] == "permit"
    assert getattr(after[TCP] if TCP in after and field == "options" else after, field) == value


@pytest.mark.parametrize(("word", "which"), [("ech: reset", "tls"), ("DnsNames", "dns"), ("HttpHosts", "http")])
def test_what_the_page_refuses_in_a_stream_is_refused(tmp_path: Path, word: str, which: str) -> None:
    made = tables(tmp_path, word, ip_remote_port="80")
    for data, said in ((GOOD[which], PASSED), (BAD[which], CUT)):
        conversation = Conversation(made, outbound=True)
        conversation.open()
        assert conversation.send(0, data) == said


def test_a_pattern_of_the_page_ends_a_connection(tmp_path: Path) -> None:
    conversation = Conversation(tables(tmp_path, "BytePatterns", ip_local_port="80"))
    conversation.open()
    assert conversation.send(0, b"GET /?a=${JN") == PASSED
    assert conversation.send(12, b"DI:ldap") == CUT
