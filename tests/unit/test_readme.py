"""The examples of README.md do what it says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.replay import Replay, parse_local

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
POLICY, CALLOUTS_POLICY = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
(KNOCK,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def verdicts(folder: Path, text: str, packets: list[tuple[str, int]]) -> list[tuple[str, str | None]]:
    """Verdict and reply of a SYN from each address to each port."""
    (folder / "policy.yaml").write_text(text)
    replay = Replay(load_policy(str(folder / "policy.yaml"), trust="warn"), local=parse_local("192.0.2.1"))
    found = []
    for number, (source, port) in enumerate(packets, 1):
        syn = bytes(IP(src=source, dst="192.0.2.1") / TCP(sport=5000 + number, dport=port, flags="S"))
        line = replay.decide(CapturedPacket(number, number, syn, len(syn), True, None, 101))
        found.append((line["verdict"], replay.visits[-1][1]["reply"]))
    replay.close()
    return found


def test_the_policy_lets_offices_in_only(tmp_path: Path) -> None:
    packets = [("198.51.100.9", 22), ("192.0.2.9", 22), ("198.51.100.9", 80)]
    assert [verdict for verdict, _ in verdicts(tmp_path, POLICY, packets)] == ["block", "permit", "permit"]


def test_the_callout_lets_in_who_has_knocked(tmp_path: Path) -> None:
    (tmp_path / "knock.py").write_text(KNOCK)
    text = CALLOUTS_POLICY.replace("/etc/wfpd/callouts", str(tmp_path))
    came = verdicts(
        tmp_path, text, [("198.51.100.9", 22), ("198.51.100.9", 7777), ("198.51.100.9", 22), ("198.51.100.8", 22)]
    )
    assert [verdict for verdict, _ in came] == ["block", "block", "permit", "block"]
    assert came[0][1] == "tcp_reset" and came[1][1] != "tcp_reset"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(docs/[\w./-]+?)/?`", README))))
def test_a_page_it_names_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_page_is_named() -> None:
    found = {page.name for page in (ROOT / "docs").glob("*.md")} - set(re.findall(r"docs/([\w-]+\.md)", README))
    assert found == {"classification-figures.md"}  # Named by docs/classification.md.
