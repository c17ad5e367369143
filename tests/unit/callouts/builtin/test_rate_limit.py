"""So many a second, and no more."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.replaying import decide
from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.rate_limit import RateLimit

SECOND = 1_000_000_000
ONE = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=1, dport=2) / bytes(72))
BACK = bytes(IP(dst="192.0.2.1", src="198.51.100.2") / UDP(sport=2, dport=1))
SAME_SOURCE = bytes(IP(src="192.0.2.1", dst="198.51.100.3") / TCP())
POLICY = """version: 1
callouts: [{name: limit, use: "wfpd.callouts.builtin.rate_limit:RateLimit", options: {rate: 2, per: source}}]
filters: [{name: one, layer: ipforward_v4, action: {callout: limit}}]
"""


def passes(limit: RateLimit, packet: bytes, now_ns: int = 0, name: str = "one") -> bool:
    word = answer(limit, FakeContext(packet, now_ns=now_ns, filter=name))
    assert word in ("continue", "block")
    return bool(word == "continue")


def test_a_burst_passes_and_then_the_rate() -> None:
    limit = RateLimit(rate=2, burst=3)
    assert [passes(limit, ONE) for _ in range(4)] == [True, True, True, False]
    assert passes(limit, ONE, SECOND // 2) and not passes(limit, ONE, SECOND // 2)


def test_buckets_are_of_filters_sources_or_flows() -> None:
    shared = {
        per: [passes(limit, ONE), passes(limit, BACK), passes(limit, SAME_SOURCE), passes(limit, ONE, name="two")]
        for per in ("filter", "source", "flow")
        for limit in [RateLimit(rate=1, per=per)]
    }
    assert shared == {
        "filter": [True, False, False, True], "source": [True, True, False, False], "flow": [True, False, True, False],
    }  # fmt: skip


def test_bytes_are_those_of_the_whole_packet() -> None:
    limit = RateLimit(rate=100, unit="bytes", burst=150)
    assert passes(limit, ONE) and not passes(limit, ONE)
    assert passes(limit, ONE[:40], SECOND // 2) and not passes(limit, ONE[:40], SECOND // 2)
    assert RateLimit(rate=5, unit="bytes").buckets.take("any", 65_535, 0)


def test_the_answers_are_the_ones_asked_for() -> None:
    limit = RateLimit(rate=1, period="hour", within="permit", beyond="absorb")
    assert answer(limit, FakeContext(ONE)) == "permit"
    assert answer(limit, FakeContext(ONE, layer="inbound_ippacket_v4", now_ns=3599 * SECOND)) == (
        "block",
        {"absorb": True},
    )
    assert answer(limit, FakeContext(ONE, now_ns=3600 * SECOND)) == "permit"


def test_what_has_no_address_shares_a_bucket() -> None:
    limit = RateLimit(rate=1, per="source")
    assert [passes(limit, b""), passes(limit, b"\x45")] == [True, False]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": 0}, "rate: 0"), ({"rate": "9"}, "rate: '9'"), ({"rate": 1, "period": "day"}, "period: 'day'"),
        ({"rate": 1, "unit": "bits"}, "unit"), ({"rate": 1, "per": "host"}, "per"), ({"rate": 1, "burst": 0}, "burst"),
        ({"rate": 1, "burst": 10**7, "period": "hour"}, "burst"), ({"rate": 1, "entries": 0}, "entries"),
        ({"rate": 1, "within": "block"}, "within"), ({"rate": 1, "beyond": "permit"}, "beyond"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused_by_name(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        RateLimit(**options)  # type: ignore[arg-type]


def test_replay_limits_by_the_clock_of_the_capture() -> None:
    other = IP(src="192.0.2.9", dst="198.51.100.2") / UDP()
    packets, times = [ONE, ONE, ONE, other, ONE], [1.0, 1.0, 1.1, 1.1, 1.5]
    assert [line["verdict"] for line in decide(POLICY, packets, times=times)] == [
        "permit", "permit", "block", "permit", "permit",
    ]  # fmt: skip
