"""The staged policy's report: names, merged generations, and packets as `wfpd explain` commands."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when
from wfpd.daemon.staged import explain_command, headers, report
from wfpd.dataplane import Flows, Stage
from wfpd.imagined import imagine
from wfpd.model.policy import Action


def packet(protocol: str, source: str, destination: str, **more: Any) -> dict[str, Any]:
    data = imagine(protocol, source, destination, **more).packet().data
    return {"bytes": data, "length": len(data), "hook": "input", "mark": None}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (packet("tcp", "192.0.2.1:4000", "192.0.2.2:22"), "--proto tcp --src 192.0.2.1:4000 --dst 192.0.2.2:22"),
        (packet("tcp", "192.0.2.1:4000", "192.0.2.2:22", flags="ack"),
         "--proto tcp --src 192.0.2.1:4000 --dst 192.0.2.2:22 --flags ack"),
        (packet("udp", "[2001:db8::1]:53", "[2001:db8::2]:53"),
         "--proto udp --src [2001:db8::1]:53 --dst [2001:db8::2]:53"),
        (packet("icmp", "192.0.2.1", "192.0.2.2", icmp="3/1"),
         "--proto icmp --src 192.0.2.1 --dst 192.0.2.2 --icmp 3/1"),
    ],
)  # fmt: skip
def test_a_packet_is_said_as_a_command(found: dict[str, Any], said: str) -> None:
    assert explain_command(found, "") == f"wfpd explain --hook input {said}"
    assert explain_command(found | {"mark": 16}, "eth0") == (
        f"wfpd explain --hook input {said} --interface eth0 --mark 0x10"
    )


def test_what_explain_has_no_words_for_is_no_command() -> None:
    found = packet("udp", "192.0.2.1:9", "192.0.2.2:9")
    assert explain_command(found | {"hook": "postrouting"}, "") is None
    assert explain_command(found | {"bytes": b"", "length": 0}, "") is None
    assert explain_command(found, "eth0; rm") is None


@pytest.mark.parametrize(
    ("protocol", "ends", "size"),
    [("tcp", ("192.0.2.1:9", "192.0.2.2:80"), 40), ("udp", ("192.0.2.1:9", "192.0.2.2:53"), 28),
     ("udp", ("[2001:db8::1]:9", "[2001:db8::2]:53"), 48), ("icmp", ("192.0.2.1", "192.0.2.2"), 28)],
)  # fmt: skip
def test_an_example_shows_headers_and_nothing_of_what_was_said(protocol: str, ends: tuple[str, str], size: int) -> None:
    data = imagine(protocol, *ends, payload=200).packet().data
    for shown in (data, data[:192]):
        assert headers(shown, len(data)) == data[:size]
    assert headers(data[:size], len(data)) == data[:size]


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x45" * 30, b"\x60" + bytes(100)])
def test_an_example_that_is_no_packet_shows_its_first_bytes_at_most(data: bytes) -> None:
    assert data.startswith(headers(data, len(data))) and len(headers(data, len(data))) <= 48


def test_rows_of_several_generations_with_the_same_names_are_one() -> None:
    policy = a_policy([a_filter("no-53", Action.BLOCK, when("ip_destination_port", equal(53)))])
    stage = Stage(snapshot(policy), Flows(16), workers=1)
    data = packet("udp", "192.0.2.1:9", "192.0.2.2:53")["bytes"]
    for now, generation in enumerate((1, 2, 3, 3), 1):
        stage.put(data, "forward", now * 1_000_000, verdict="permit", filter=4, slot=slot(), generation=generation)
    stage.turn()
    assert stage.n_differences == 3
    named = [{"name": "one", "sublayer": "u"}, {"name": "one", "sublayer": "u"}, {"name": "two", "sublayer": "u"}]
    found = report(stage, named, lambda index: "")
    assert [(row["active"]["filter"], row["packets"], row["bytes"]) for row in found["differences"]] == [
        ("one", 2, 2 * len(data)), ("two", 2, 2 * len(data)),
    ]  # fmt: skip
    assert found["differences"][0]["first"] < found["differences"][0]["last"]
    assert found["same"] is False and found["packets"]["would_block"] == 4
    assert report(stage, named[:1], lambda index: "")["differences"][0]["packets"] == 1
