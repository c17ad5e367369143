"""The callouts shipped at the layer stream, asked by the packet path: segments of a connection in, verdicts out."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.streams import Conversation
from tests.unit.callouts.hellos import hello
from wfpd.callouts.registry import load_callouts
from wfpd.config import load_policy
from wfpd.replay import make_snapshot

PASSED, HELD, CUT = ("permit", None), ("block", None), ("block", "tcp_reset")
USES = {
    "tls": ("tls_names:TlsNames", "{names: [.ads.example], listed: reset}"),
    "http": ("http_hosts:HttpHosts", "{names: [.ads.example], listed: reset}"),
    "dns": ("dns_names:DnsNames", "{names: [.ads.example], listed: reset}"),
    "patterns": ("byte_patterns:BytePatterns", "{patterns: [needle], found: block}"),
}


def talk(folder: pathlib.Path, which: str, **words: Any) -> Conversation:
    use, options = USES[which]
    path = folder / "policy.yaml"
    path.write_text(
        f'version: 1\ncallouts: [{{name: c, use: "wfpd.callouts.builtin.{use}", options: {options}}}]\n'
        "filters: [{name: one, layer: stream, action: {callout: c}}]\nfaults: {on_error: permit}\n"
    )
    policy = load_policy(path, trust="warn")
    conversation = Conversation(make_snapshot(policy, callouts=load_callouts(policy.callouts)), **words)
    conversation.open()
    return conversation


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = b"\x00\x07\x01\x00\x00\x01" + bytes(6) + labels + b"\x00\x00\x01\x00\x01"
    return len(message).to_bytes(2, "big") + message


GOOD = {
    "tls": hello(b"www.example.org"), "http": b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
    "dns": question("www.example.org"),
}  # fmt: skip
BAD = {
    "tls": hello(b"x.ads.example"), "http": b"GET / HTTP/1.1\r\nHost: x.ads.example\r\n\r\n",
    "dns": question("x.ads.example"),
}  # fmt: skip


def in_segments(conversation: Conversation, data: bytes, size: int, at: int = 0) -> list[tuple[str, str | None]]:
    return [conversation.send(at + n, data[n : n + size]) for n in range(0, len(data), size)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [1, 20, 5000])
@pytest.mark.parametrize("which", GOOD)
def test_what_is_allowed_passes_when_it_is_whole(tmp_path: pathlib.Path, which: str, size: int, family: int) -> None:
    conversation, data = talk(tmp_path, which, family=family), GOOD[which]
    said = in_segments(conversation, data, size)
    assert said == [HELD] * (len(said) - 1) + [PASSED]
    assert conversation.send(0, data) == PASSED  # The client sends again what it has got no answer to.
    assert conversation.send(0, data, server=True, ack=len(data)) == PASSED


@pytest.mark.parametrize("size", [1, 20, 5000])
@pytest.mark.parametrize("which", BAD)
def test_of_what_is_refused_nothing_passes_and_the_connection_is_over(
    tmp_path: pathlib.Path, which: str, size: int
) -> None:
    conversation, data = talk(tmp_path, which), BAD[which]
    said = in_segments(conversation, data, size)
    assert said == [HELD] * (len(said) - 1) + [CUT]
    assert conversation.send(0, data) == conversation.send(0, b"an answer", server=True) == CUT


@pytest.mark.parametrize("which", ["http", "dns"])
def test_every_message_of_a_connection_is_read(tmp_path: pathlib.Path, which: str) -> None:
    conversation, good, bad = talk(tmp_path, which), GOOD[which], BAD[which]
    assert conversation.send(0, good) == PASSED
    assert conversation.send(len(good), good + good[:10]) == HELD
    assert conversation.send(2 * len(good) + 10, good[10:]) == PASSED
    assert in_segments(conversation, bad, 30, 3 * len(good))[-1] == CUT


@pytest.mark.parametrize("which", GOOD)
def test_segments_out_of_order_are_put_in_order(tmp_path: pathlib.Path, which: str) -> None:
    conversation, data = talk(tmp_path, which), BAD[which]
    assert conversation.send(20, data[20:]) == HELD
    assert conversation.send(0, data[:20]) == CUT


@pytest.mark.parametrize("which", GOOD)
def test_what_breaks_off_is_malformed(tmp_path: pathlib.Path, which: str) -> None:
    conversation, data = talk(tmp_path, which), GOOD[which]
    assert conversation.send(0, data[:20]) == HELD
    assert conversation.send(20, b"", "FA") == CUT


def test_a_pattern_is_found_across_segments_and_directions_are_apart(tmp_path: pathlib.Path) -> None:
    conversation = talk(tmp_path, "patterns")
    assert conversation.send(0, b"a nee") == PASSED
    assert conversation.send(0, b"dle", server=True, ack=5) == PASSED
    assert conversation.send(5, b"d") == PASSED
    assert conversation.send(6, b"le and so on") == CUT


def test_the_state_of_a_connection_goes_with_it(tmp_path: pathlib.Path) -> None:
    for which in ("http", "patterns"):
        conversation = talk(tmp_path, which)
        conversation.send(0, GOOD["http"])
        contexts = conversation.flows.contexts
        assert len(contexts) == 1
        conversation.flows.sweep(conversation.now + 10**15)
        assert (len(contexts), contexts.drain(), contexts.errors) == (0, 1, {})
