"""What a callout may make of a packet, what is refused with a hint, and what replay says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Raw
from scapy.utils import rdpcap, wrpcap

from tests.integration.live import all_to_callout, snapshot_of
from tests.registering import Decided
from wfpd import cli
from wfpd.daemon.queues import HEADERS
from wfpd.dataplane import Replayer
from wfpd.dataplane._modify import modified_of, refusal
from wfpd.errors import ActionRefused
from wfpd.replay import COPIED

DATAGRAM = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=7, dport=53) / Raw(b"question"))
SEGMENT = bytes(
    IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=7, dport=80, flags="A") / Raw(b"\x01\x01\x01\x01tion")
)
FRAGMENT = bytes(IP(src="192.0.2.1", dst="198.51.100.2", flags="MF", proto=17) / Raw(DATAGRAM[20:] + b"12345678"))


def put(packet: bytes, offset: int, data: bytes) -> bytes:
    return packet[:offset] + data + packet[offset + len(data) :]


@pytest.mark.parametrize(
    ("before", "after", "given", "status", "words"),
    [
        (DATAGRAM, DATAGRAM, {"original": 2000}, 1, "cut"),
        (DATAGRAM, bytes(65532), {}, 2, "65531"),
        (SEGMENT, SEGMENT + b"!", {}, 3, "length"),
        (DATAGRAM, DATAGRAM + b"!", {"gso": True}, 3, "length"),
        (SEGMENT, put(SEGMENT, 32, b"\x60"), {}, 3, "length"),  # Data offset 6: one word less of payload.
        (DATAGRAM, put(DATAGRAM, 16, b"\x01"), {}, 4, "addresses"),
        (DATAGRAM, put(DATAGRAM, 23, b"\x36"), {}, 4, "addresses"),
        (DATAGRAM, put(DATAGRAM, 0, b"\x65"), {}, 4, "addresses"),
        (DATAGRAM, DATAGRAM[:24], {}, 5, "well-formed"),
        (DATAGRAM, b"", {}, 5, "well-formed"),
        (FRAGMENT, put(FRAGMENT, 30, b"\x01"), {}, 6, "fragment"),
    ],
)
def test_what_cannot_be_right_is_refused_and_says_what_to_do(
    before: bytes, after: bytes, given: dict[str, Any], status: int, words: str
) -> None:
    assert modified_of(before, after, **given) == (status, None)
    message, hint = refusal(status)
    assert words in message and hint


def test_of_a_fragment_the_ip_header_may_change() -> None:
    status, after = modified_of(FRAGMENT, b"\xb8", offset=1)
    assert status == 0 and after is not None and IP(after).tos == 0xB8
    assert after[20:] == FRAGMENT[20:]


def test_udp_s_zero_checksum_is_written_as_ones() -> None:
    for word in range(65536):
        status, after = modified_of(DATAGRAM, word.to_bytes(2, "big"), offset=28)
        assert status == 0 and after is not None and after[26:28] != b"\0\0"
        if after[26:28] == b"\xff\xff":
            return
    raise AssertionError("no payload has this checksum")


def test_later_callouts_see_the_modified_packet_and_a_refusal_leaves_it(tmp_path: Path) -> None:
    seen: list[bytes] = []
    refused: list[ActionRefused] = []

    def first(c: Any) -> None:
        c.modify(bytes(c.packet[:28]) + b"another question")
        c.write(28, b"An")
        try:
            c.write(16, b"\x01")
        except ActionRefused as error:
            refused.append(error)
        c.continue_()

    def second(c: Any) -> None:
        seen.append(bytes(c.packet))
        c.permit()

    filters = (
        all_to_callout("first", "unknown", weight="2")
        + "\n"
        + all_to_callout("second", weight="1").replace("name: asked", "name: next")
    )
    visit = Replayer(snapshot_of(tmp_path, filters, callouts={"first": first, "second": second})).visit
    found = visit(DATAGRAM, "forward", 1)
    assert (found["verdict"], found["modified"], seen[0][28:]) == ("permit", seen[0], b"Another question")
    assert "proxy" in refused[0].hint
    assert visit(SEGMENT, "forward", 2)["modified"] is None  # Nobody was asked.


@pytest.mark.parametrize("changes", [1, 2, 3])
@pytest.mark.parametrize("others", [False, True])
def test_of_a_call_that_raises_nothing_stays_in_the_packet(tmp_path: Path, changes: int, others: bool) -> None:
    seen: list[bytes] = []

    def first(c: Any) -> None:
        if others:
            c.modify(bytes(c.packet[:28]) + b"other words")
        c.continue_()

    def then(c: Any) -> None:
        for n in range(changes):
            c.modify(bytes(c.packet[:28]) + b"half of it"[: 3 + n])
        raise ValueError

    def last(c: Any) -> None:
        seen.append(bytes(c.packet))
        c.permit()

    names = {"first": first, "then": then, "last": last}
    filters = "\n".join(all_to_callout(name, "inspection" if name == "then" else "unknown", weight=str(9 - n))
                        .replace("name: asked", f"name: ask-{name}") for n, name in enumerate(names))  # fmt: skip
    found = Replayer(snapshot_of(tmp_path, filters, callouts=names)).visit(DATAGRAM, "forward", 1)
    if not others:
        assert (found["verdict"], found["modified"], seen) == ("permit", None, [DATAGRAM])
    else:
        assert (found["verdict"], found["modified"], seen[0][28:]) == ("permit", seen[0], b"other words")
        assert IP(seen[0])[UDP].len == 8 + len(b"other words")


def test_a_blocked_packet_is_not_written_back(tmp_path: Path) -> None:
    def watch(c: Any) -> None:
        c.write(28, b"Q")
        c.block()

    snapshot = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch})
    assert Replayer(snapshot).visit(DATAGRAM, "forward", 1)["modified"] is None


def test_replay_writes_the_packets_that_pass_as_they_left(tmp_path: Path) -> None:
    (tmp_path / "upper.py").write_text(
        "class Upper:\n    modifies = True\n\n    def classify(self, c):\n"
        "        c.write(28, bytes(c.packet[28:]).upper())\n        c.permit()\n"
    )
    policy, capture, out = tmp_path / "p.yaml", tmp_path / "in.pcap", tmp_path / "out.pcap"
    policy.write_text(
        f"version: 1\ndaemon: {{callout_path: [{tmp_path}]}}\ncallouts: [{{name: up, use: 'upper:Upper'}}]\nfilters:\n"
        "  - {name: no, layer: ipforward, action: block, when: {ip_protocol: tcp}}\n"
        "  - {name: up, layer: ipforward, action: {callout: up}, when: {ip_protocol: udp}}\n"
    )
    wrpcap(str(capture), [IP(DATAGRAM), IP(SEGMENT)])
    assert cli.main(["replay", "--policy", str(policy), "--write", str(out), str(capture)]) == 0
    (packet,) = rdpcap(str(out))
    assert bytes(packet)[28:] == b"QUESTION"
    assert cli.main(["replay", "--policy", str(policy), "--write", str(tmp_path / "no" / "x"), str(capture)]) == 3


@pytest.mark.parametrize(("words", "n", "done"), [
    ({"needs_payload": False}, 3000, False), ({"needs_payload": False}, 1000, True),
    ({"needs_payload": True}, 3000, True), ({"needs_payload": False, "modifies": True}, 3000, True),
])  # fmt: skip
def test_replay_refuses_what_a_live_queue_would_not_have_copied(
    tmp_path: Path, words: dict[str, bool], n: int, done: bool
) -> None:
    seen: list[tuple[int, bool]] = []

    class Writes:
        def classify(self, c: Any) -> None:
            try:
                c.write(1, b"\x04")
                seen.append((len(c.packet), True))
            except ActionRefused as refused:
                seen.append((len(c.packet), "cut" not in refused.message))
            c.permit()

    for name, value in words.items():
        setattr(Writes, name, value)
    policy = (
        "version: 1\ncallouts: [{name: c, use: 'm:C'}]\nfilters: [{name: f, layer: ipforward, action: {callout: c}}]\n"
    )
    packet = IP(src="198.51.100.9", dst="203.0.113.1") / UDP(sport=9, dport=53) / bytes(n)
    assert Decided(tmp_path, policy, {"c": Writes()}).send(packet)["verdict"] == "permit"
    assert seen == [(28 + n if done else HEADERS, done)] and COPIED == HEADERS
