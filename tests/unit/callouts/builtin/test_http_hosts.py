"""HTTP connections decided by host, as the layer stream feeds them."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from tests.registering import Decided
from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.byte_patterns import BytePatterns
from wfpd.callouts.builtin.http_hosts import HttpHosts

GOOD = b"GET / HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 4\r\n\r\nbody"
BAD = b"GET / HTTP/1.1\r\nHost: www.bad.example:80\r\n\r\n"
LIST = ".bad.example"


class Connection:
    """One flow at stream: what is not enforced is indicated again."""

    def __init__(self, callout: HttpHosts) -> None:
        self.callout, self.context, self.held, self.passed = callout, None, b"", b""

    def indicate(self, data: bytes, direction: str = "outbound") -> str:
        """The last answer to more data of a direction; only the client's is held."""
        stream = self.held + data if direction == "outbound" else data
        while True:
            c = FakeContext(layer="stream_v4", stream=memoryview(stream), stream_direction=direction)
            c.flow_context = self.context
            self.callout.classify(c)
            self.context = c.flow_context
            word, given_ = c.answer or pytest.fail("no answer")
            if word == "permit":
                enforced = c.asked[0][1] if c.asked else len(stream)
                self.passed += stream[:enforced]
                stream = stream[enforced:]
            if word != "permit" or not stream:
                self.held = stream if word == "need_more" else b""
                assert word != "need_more" or given_["n"] > 0
                return word


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [*sorted({end for end in cuts if 0 < end < len(data)}), len(data)]
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.integers(1, 200), max_size=8))
def test_requests_pass_until_one_names_a_listed_host_of_which_nothing_passes(cuts: list[int]) -> None:
    connection = Connection(HttpHosts(LIST))
    words = [connection.indicate(piece) for piece in cut(GOOD + GOOD + BAD, cuts)]
    assert words[-1] == "drop_connection" and set(words[:-1]) <= {"permit", "need_more"}
    assert (GOOD + GOOD).startswith(connection.passed)


def test_what_the_server_sends_and_an_end_without_data_pass() -> None:
    connection = Connection(HttpHosts(LIST, malformed="block", other="block"))
    assert connection.indicate(b"") == "permit"
    assert [connection.indicate(GOOD), connection.indicate(b"HTTP/1.1 200 OK\r\n", "inbound")] == ["permit", "permit"]
    assert connection.indicate(BAD) == "drop_connection"


OTHERS = {
    "no_name": b"GET / HTTP/1.0\r\n\r\n", "other": b"\x16\x03\x01", "malformed": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "unlisted": GOOD, "listed": BAD,
}  # fmt: skip


@pytest.mark.parametrize("option", OTHERS)
def test_each_thing_found_has_the_answer_its_option_declares(option: str) -> None:
    assert Connection(HttpHosts(LIST, **{option: "block"})).indicate(OTHERS[option]) == "drop_connection"
    passes = "allow_connection" if option in ("other", "malformed") else "permit"
    assert Connection(HttpHosts(LIST, **{option: "continue"})).indicate(OTHERS[option]) == passes


@pytest.mark.parametrize("options", [{"names": []}, {"names": "a", "most": 1}, {"names": "a", "listed": "drop"}])
def test_options_that_mean_nothing_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{list(options)[-1]}"):
        HttpHosts(**options)


def test_it_speaks_of_the_layer_stream_alone() -> None:
    assert HttpHosts.layers == ("stream",)
    assert answer(HttpHosts(LIST), FakeContext(layer="stream_v6", stream=memoryview(BAD), stream_direction="x")) == (
        "drop_connection"
    )


def test_a_request_that_ends_before_its_end_is_malformed() -> None:
    for options, word in (({}, "drop_connection"), ({"malformed": "continue"}, "allow_connection")):
        c = FakeContext(layer="stream_v4", stream=memoryview(b"GET / HT"), stream_direction="in",
                        stream_flags=frozenset({"NO_MORE_DATA"}))  # fmt: skip
        assert answer(HttpHosts(LIST, **options), c) == word


def test_what_is_kept_with_a_flow_may_be_kept(tmp_path: pathlib.Path) -> None:
    # A flow context needs a class with flow_delete: by the real registration, not by a context that takes anything.
    text = "version: 1\ncallouts: [{name: act}]\nfilters:\n  - {name: look, layer: stream, action: {callout: act}}\n"
    for callout in (HttpHosts(LIST), BytePatterns("www.bad.example")):
        decided = Decided(tmp_path, text, {"act": callout})
        tcp = {"sport": 5000, "dport": 80}
        for family in (IP(src="198.51.100.9", dst="192.0.2.1"), IPv6(src="2001:db8::9", dst="2001:db8::1")):
            assert decided.send(family / TCP(**tcp, flags="S", seq=9))["verdict"] == "permit"
            assert decided.send(family / TCP(**tcp, flags="PA", seq=10) / GOOD)["verdict"] == "permit"
            found = decided.send(family / TCP(**tcp, flags="PA", seq=10 + len(GOOD)) / BAD)
            assert (found["verdict"], found["reason"]) == ("block", "callout")
