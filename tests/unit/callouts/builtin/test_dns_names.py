"""DNS queries decided by the name asked for: datagrams, streams, and in replay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.replaying import decide
from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.dns_names import DnsNames


def message(*names: str, answers: bool = False) -> bytes:
    return bytes(DNS(qr=int(answers), qd=[DNSQR(qname=name) for name in names]))


BAD, GOOD = message("www.bad.example"), message("www.example.org")
LIST = ".bad.example"
OTHERS = {"no_name": message(), "other": message("www.bad.example", answers=True), "malformed": BAD[:20]}


def asked(callout: DnsNames, data: bytes) -> Any:
    """The answer, the same in both families."""
    four, six = (answer(callout, FakeContext(bytes(front / UDP(dport=53) / data))) for front in (IP(), IPv6()))
    assert four == six
    return four


def test_a_listed_name_is_refused_and_another_passes_in_both_families() -> None:
    assert asked(DnsNames(LIST), BAD) == ("block", {"reply": "icmp_unreachable"})
    assert asked(DnsNames(LIST), GOOD) == "continue"
    assert asked(DnsNames(LIST, listed="permit", unlisted="block"), GOOD) == "block"


def test_of_several_questions_a_refused_one_decides() -> None:
    assert asked(DnsNames(LIST, listed="block"), message("www.example.org", "www.bad.example")) == "block"


@pytest.mark.parametrize("option", OTHERS)
@pytest.mark.parametrize("how", ["continue", "permit", "block"])
def test_what_is_no_name_has_the_answer_its_option_declares(option: str, how: str) -> None:
    assert asked(DnsNames(LIST, **{option: how}), OTHERS[option]) == how


def test_other_packets_pass() -> None:
    for packet in (b"", bytes(IP() / TCP(dport=53) / BAD), bytes(IP(frag=1) / UDP() / BAD)):
        assert answer(DnsNames(LIST, malformed="block"), FakeContext(packet)) == "continue"


def framed(*messages: bytes) -> bytes:
    return b"".join(len(one).to_bytes(2, "big") + one for one in messages)


def streamed(callout: DnsNames, stream: bytes, cuts: list[int]) -> tuple[str, int]:
    """As the layer feeds it, what is not enforced again with more: the last word, and the bytes that passed."""
    passed = 0
    for cut in [*sorted(set(cuts)), len(stream)]:
        again = passed < cut
        while again:
            c = FakeContext(layer="stream_v4", stream=memoryview(stream)[passed:cut])
            callout.classify(c)
            word, given_ = c.answer or pytest.fail("no answer")
            if word == "drop_connection":
                return word, passed
            if word == "need_more":
                assert given_["n"] > 0 and cut + given_["n"] <= len(stream)
                break
            enforced = c.asked[0][1] if c.asked else cut - passed
            assert word == "permit" and enforced > 0
            passed += enforced
            again = passed < cut
    return "permit", passed


@given(st.lists(st.integers(1, 150), max_size=8))
def test_however_a_stream_is_cut_whole_messages_pass_until_a_refused_one(cuts: list[int]) -> None:
    clean, spoilt = framed(GOOD, GOOD, GOOD), framed(GOOD, GOOD, BAD, GOOD)
    assert streamed(DnsNames(LIST), clean, [cut for cut in cuts if cut < len(clean)]) == ("permit", len(clean))
    word, passed = streamed(DnsNames(LIST), spoilt, [cut for cut in cuts if cut < len(spoilt)])
    assert word == "drop_connection" and passed <= 2 * (2 + len(GOOD)) and passed % (2 + len(GOOD)) == 0


def test_an_indication_without_data_passes() -> None:
    assert answer(DnsNames(LIST), FakeContext(layer="stream_v6", stream=memoryview(b""))) == "permit"


def test_replay_refuses_at_the_layer_of_datagrams_and_at_forward() -> None:
    policy = """version: 1
callouts: [{name: dns, use: "wfpd.callouts.builtin.dns_names:DnsNames", options: {names: [.bad.example]}}]
filters: [{name: one, layer: LAYER, action: {callout: dns}, when: {ip_protocol: udp, PORT: 53}}]
"""
    packets = [IP() / UDP(sport=9, dport=53) / data for data in (BAD, GOOD)]
    at = {"forward": ("ipforward", "ip_destination_port"), "output": ("datagram_data", "ip_remote_port")}
    for hook, (layer, port) in at.items():
        found = decide(policy.replace("LAYER", layer).replace("PORT", port), list(packets), hook=hook)
        assert [line["verdict"] for line in found] == ["block", "permit"], hook


def test_a_message_that_ends_before_its_end_is_malformed() -> None:
    for options, word in (({}, "drop_connection"), ({"malformed": "continue"}, "permit")):
        c = FakeContext(layer="stream_v4", stream=memoryview(b"\0\x20abc"), stream_flags=frozenset({"NO_MORE_DATA"}))
        assert answer(DnsNames([".ads.example"], **options), c) == word
