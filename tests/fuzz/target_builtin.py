"""The parsers of the callouts shipped."""

from __future__ import annotations

from tests.oracle import client_hello, question
from wfpd.callouts import _packet
from wfpd.callouts._client_hello import read_client_hello
from wfpd.callouts._question import read_question
from wfpd.callouts.builtin.http_requests import Requests


def hello_any(data: bytes) -> None:
    """Any bytes: the slow reader's answer, and what is needed is above nothing exactly where more is."""
    word, name, _, needed = read_client_hello(data, 4096)
    assert (word, name) == client_hello.read(data, 4096)
    assert (word == "more") == (needed > 0)


def question_any(data: bytes) -> None:
    """Any bytes: the slow reader's answer."""
    assert read_question(data) == question.read(data)


def requests_any(data: bytes) -> None:
    """Any bytes: what is found does not depend on how they are cut, and no more is done with than there is."""
    whole, cut, done = Requests(256), Requests(256), 0
    passed, found = whole.scan(data)
    assert 0 <= passed <= len(data)
    pieces = []
    for end in [*range(7, len(data), 7), len(data)]:
        step, now = cut.scan(data[done:end])
        assert 0 <= step <= end - done
        done += step
        pieces += now
    assert pieces == found


def headers_any(data: bytes) -> None:
    """Any bytes: where the data are lies within them."""
    for place in (_packet.tcp_segment(data), _packet.udp_data(data)):
        assert place is None or 0 < place[-2] <= place[-1] <= len(data)
    option = _packet.mss_option(data)
    assert option is None or option[0] + 2 <= len(data)
    assert _packet.total_length(data) >= len(data)
    assert (_packet.source_of(data) is None) == (_packet.flow_of(data) is None)


TARGETS = {
    "client_hello": hello_any, "dns_question": question_any, "http_requests": requests_any, "packet_data": headers_any,
}  # fmt: skip
