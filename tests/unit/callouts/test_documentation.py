"""The examples of docs/callouts.md and docs/actions.md do what stands under them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet

from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.dataplane._modify import refusal
from wfpd.dataplane._parse import parse_of
from wfpd.replay import Replay, parse_local

DOCS = Path(__file__).resolve().parents[3] / "docs"
CALLOUTS, ACTIONS = ((DOCS / f"{name}.md").read_text() for name in ("callouts", "actions"))
Example = tuple[str, str, str]


def examples(text: str) -> list[Example]:
    """Code, filters and what is printed."""
    form = r"^```python\n(.*?)^```\n\n```yaml\n(.*?)^```\n\n```text\n(.*?)^```"
    return re.findall(form, text, re.MULTILINE | re.DOTALL)


HOST, OTHER = "192.0.2.1", "198.51.100.9"
PACKETS = (
    IP(src=OTHER, dst=HOST) / UDP(sport=5000, dport=53) / b"hello",
    IP(src=HOST, dst=OTHER) / UDP(sport=53, dport=5000) / b"bye",
    IP(src=OTHER, dst=HOST) / TCP(sport=5001, dport=23, flags="S"),
)
CONVERSATION = (
    PACKETS[0],
    IP(src=OTHER, dst=HOST) / TCP(sport=5001, dport=80, flags="S", seq=7),
    IP(src=OTHER, dst=HOST) / TCP(sport=5001, dport=80, flags="PA", seq=8) / b"GET /evil",
    IP(src=HOST, dst=OTHER) / TCP(sport=80, dport=5001, flags="PA", seq=3, ack=17) / b"HTTP/1.1",
    IP(src=OTHER, dst=HOST) / UDP(sport=5000, dport=53) / b"hello again",
)


def told(replay: Replay, line: dict[str, Any]) -> tuple[str, str, bytes]:
    """Verdict, reply and payload as it passed of a packet whose line is this."""
    passed = replay.passed or b""
    payload = passed[parse_of(passed)["payload_offset"] :] if passed else b""
    return line["verdict"], (replay.visits[-1][1]["reply"] if replay.visits else None) or "", payload


def decided(folder: Path, name: str, example: Example, packets: Sequence[Packet]) -> list[tuple[str, str, bytes]]:
    """Verdict, reply and payload as it passed of each packet."""
    code, filters, _ = example
    (folder / f"{name}.py").write_text(code)
    *others, used = re.findall(r"^class (\w+)", code, re.MULTILINE)
    uses = [f"{{name: {one}, use: '{name}:{one}'}}" for one in others] + [f"{{name: c, use: '{name}:{used}'}}"]
    (folder / "policy.yaml").write_text(
        f"version: 1\ndaemon: {{callout_path: [{folder}]}}\ncallouts: [{', '.join(uses)}]\n{filters}"
    )
    found = []
    try:
        replay = Replay(load_policy(str(folder / "policy.yaml"), trust="warn"), local=parse_local(HOST), parks=True)
        for at, one in enumerate(map(bytes, packets), 1):
            line = replay.decide(CapturedPacket(at, at, one, len(one), True, None, 101))
            found.append(told(replay, line))
            for packet, late in replay.due(at):
                found[packet.number - 1] = told(replay, late)
        for packet, late in replay.due():
            found[packet.number - 1] = told(replay, late)
        replay.close()
    finally:
        sys.modules.pop(name, None)
    return found


@pytest.mark.parametrize("number", range(len(examples(CALLOUTS))))
def test_an_example_does_what_stands_under_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    example = examples(CALLOUTS)[number]
    print(*(verdict for verdict, _, _ in decided(tmp_path, f"callouts_page_{number}", example, PACKETS)))
    assert capsys.readouterr().out == example[2]


@pytest.mark.parametrize("number", range(len(examples(ACTIONS))))
def test_an_example_of_actions_does_what_stands_under_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    example = examples(ACTIONS)[number]
    for verdict, reply, payload in decided(tmp_path, f"actions_page_{number}", example, CONVERSATION):
        print(" ".join(word for word in (verdict, reply, payload.decode()) if word))
    assert capsys.readouterr().out == example[2]


def test_every_block_of_python_is_such_an_example() -> None:
    assert CALLOUTS.count("```python") == len(examples(CALLOUTS)) == 9
    assert ACTIONS.count("```python") == len(examples(ACTIONS)) == 6


def test_the_page_of_actions_has_a_row_for_each_refusal() -> None:
    section = ACTIONS.split("## What is refused")[1].split("```")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 7  # Statuses 1 to 8, two of them in one row; the ninth is of explain, which has no packet.
    assert refusal(9)[0] == "nothing can be modified here"
    with pytest.raises(ValueError, match="no refusal"):
        refusal(10)
