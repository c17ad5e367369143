"""The examples of docs/callouts.md do what stands under them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP

from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.replay import Replay, parse_local

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "callouts.md").read_text()
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```\n\n```yaml\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL
)
HOST, OTHER = "192.0.2.1", "198.51.100.9"
PACKETS = (
    IP(src=OTHER, dst=HOST) / UDP(sport=5000, dport=53) / b"hello",
    IP(src=HOST, dst=OTHER) / UDP(sport=53, dport=5000) / b"bye",
    IP(src=OTHER, dst=HOST) / TCP(sport=5001, dport=23, flags="S"),
)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_does_what_stands_under_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    code, filters, expected = EXAMPLES[number]
    name = f"callouts_page_{number}"
    (tmp_path / f"{name}.py").write_text(code)
    (used,) = re.findall(r"^class (\w+)", code, re.MULTILINE)
    (tmp_path / "policy.yaml").write_text(
        f"version: 1\ndaemon: {{callout_path: [{tmp_path}]}}\ncallouts: [{{name: c, use: '{name}:{used}'}}]\n{filters}"
    )
    try:
        replay = Replay(load_policy(str(tmp_path / "policy.yaml"), trust="warn"), local=parse_local(HOST))
        data = [bytes(packet) for packet in PACKETS]
        lines = [
            replay.decide(CapturedPacket(at, at, one, len(one), True, None, 101)) for at, one in enumerate(data, 1)
        ]
        replay.close()
    finally:
        sys.modules.pop(name, None)
    print(*(line["verdict"] for line in lines))
    assert capsys.readouterr().out == expected


def test_every_block_of_python_is_such_an_example() -> None:
    assert TEXT.count("```python") == len(EXAMPLES) == 7
