"""The replay command's own part: hooks by local prefixes, warnings, the summary, broken captures."""

from __future__ import annotations

import io
import json
import pathlib
import sys
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP

from wfpd.capture import CapturedPacket, read_capture
from wfpd.config import load_policy
from wfpd.errors import ActionRefused, CaptureError
from wfpd.model.policy import Policy
from wfpd.replay import Replay, failure, hooks_for, parse_local, run

PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=1, dport=53))


def load(tmp_path: pathlib.Path, text: str) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return load_policy(str(path), trust="warn")


def packets(n: int, *, broken: bool = False) -> Iterator[CapturedPacket]:
    for number in range(1, n + 1):
        yield CapturedPacket(number, number, PACKET, len(PACKET), True, None, 101)
    if broken:
        raise CaptureError("the capture breaks off")


BLOCK = """version: 1
filters:
  - {name: dns, layer: ipforward, action: block, when: {ip_destination_port: 53}}
  - {name: lonely, layer: inbound_transport, action: block}
"""


def test_every_packet_is_one_json_line_and_the_summary_is_on_stderr(tmp_path: pathlib.Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert run(load(tmp_path, BLOCK), packets(3), as_json=True, out=out, err=err) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["packet"] for line in lines] == [1, 2, 3]
    assert "3 packets, 0 permitted, 3 blocked" in err.getvalue().splitlines()[-1]


def test_a_filter_that_nothing_feeds_is_one_warning(tmp_path: pathlib.Path) -> None:
    err = io.StringIO()
    run(load(tmp_path, BLOCK), packets(0), out=io.StringIO(), err=err)
    assert [line for line in err.getvalue().splitlines() if line.startswith("warning")] == [
        'warning: filter "lonely": nothing feeds layer inbound_transport in this run (it is served by the input hook)'
    ]


def test_a_line_is_the_same_to_the_byte_with_its_keys_in_order(tmp_path: pathlib.Path) -> None:
    text = """version: 1
sublayers: [{name: perimeter, weight: 0x9000}]
filters:
  - {name: telnet, layer: ipforward, sublayer: perimeter, action: block, when: {ip_destination_port: 53}}
  - {name: quiet, layer: ipforward_discard, action: permit}
"""
    out = io.StringIO()
    broken = bytes(IP(src="192.0.2.1", dst="198.51.100.2", len=10) / UDP())
    seen = [
        CapturedPacket(1, 1, PACKET, len(PACKET), True, None, 101),
        CapturedPacket(2, 2, broken, len(broken), True, None, 101),
        CapturedPacket(3, 3, b"", 0, False, None, 1),
    ]
    run(load(tmp_path, text), iter(seen), as_json=True, out=out, err=io.StringIO())
    assert out.getvalue().splitlines() == [
        (
            '{"packet": 1, "verdict": "block", "reason": "filter", "layer": "ipforward_v4", "sublayer": "perimeter", '
            '"filter": "telnet", "veto": false, "layers": ['
            '{"layer": "ipforward_v4", "action": "block", "right": "clear", "sublayer": "perimeter", '
            '"filter": "telnet", "callouts": []}, '
            '{"layer": "ipforward_v4_discard", "action": "permit", "right": "set", "sublayer": "universal", '
            '"filter": "quiet", "callouts": [], "discard": true}]}'
        ),
        (
            '{"packet": 2, "verdict": "permit", "reason": "malformed", "layer": null, "sublayer": null, '
            '"filter": null, "veto": false, "layers": [], "malformed": "bad_total_length"}'
        ),
        (
            '{"packet": 3, "verdict": "permit", "reason": "not_ip", "layer": null, "sublayer": null, "filter": null, '
            '"veto": false, "layers": []}'
        ),
    ]


@pytest.mark.parametrize(
    ("hook", "layer", "warned"),
    [
        ("input", "ale_auth_recv_accept", False),
        ("input", "ale_auth_connect", True),
        ("output", "ale_auth_recv_accept", True),
        ("output", "ale_auth_connect", False),
        ("output", "ale_auth_recv_accept_discard", True),
        ("input", "ale_flow_established", False),
        ("output", "ale_flow_established", False),
        ("output", "stream_packet", False),
        ("output", "datagram_data_discard", False),
        ("output", "inbound_ippacket", True),
        ("input", "outbound_icmp_error", True),
        ("forward", "ale_flow_established", True),
    ],
)
def test_a_run_of_one_hook_warns_of_the_layers_of_the_others(
    tmp_path: pathlib.Path, hook: str, layer: str, warned: bool
) -> None:
    err = io.StringIO()
    policy = load(tmp_path, f"version: 1\nfilters:\n  - {{name: a, layer: {layer}, action: permit}}\n")
    run(policy, packets(0), hook=hook, out=io.StringIO(), err=err)
    assert (f"nothing feeds layer {layer} " in err.getvalue()) == warned
    if layer == "ale_flow_established" and warned:
        assert err.getvalue().splitlines()[0].endswith("(it is served by the input and output hooks)")
    err.truncate(0)
    run(policy, packets(0), local=parse_local("192.0.2.0/24"), out=io.StringIO(), err=err)
    assert "warning" not in err.getvalue()


def test_a_capture_that_breaks_off_prints_what_came_before_and_ends_with_1(tmp_path: pathlib.Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert run(load(tmp_path, BLOCK), packets(2, broken=True), as_json=True, out=out, err=err) == 1
    assert len(out.getvalue().splitlines()) == 2 and "breaks off" in err.getvalue()


def test_an_answer_that_is_refused_names_the_callouts_line_not_ours(tmp_path: pathlib.Path) -> None:
    (tmp_path / "refused.py").write_text("class Callout:\n    def classify(self, c):\n        c.block(absorb=True)\n")
    text = """version: 1
daemon: {callout_path: [.]}
callouts: [{name: bad, use: "refused:Callout"}]
filters: [{name: asked, layer: ipforward, action: {callout: bad}}]
"""
    err = io.StringIO()
    run(load(tmp_path, text), packets(1), out=io.StringIO(), err=err)
    assert f"({tmp_path / 'refused.py'}:3)" in err.getvalue()


def test_a_file_that_is_no_capture_is_said_with_its_hint(tmp_path: pathlib.Path) -> None:
    err = io.StringIO()
    (tmp_path / "zeros").write_bytes(bytes(100))
    assert run(load(tmp_path, BLOCK), read_capture(tmp_path / "zeros"), out=io.StringIO(), err=err) == 1
    assert err.getvalue().splitlines()[1:3] == [  # Behind the warning of `lonely`.
        "error: not a capture: unknown magic number 00000000",
        "  hint: wfpd reads pcap and pcapng, not compressed",
    ]


def test_what_a_callout_raised_is_told_with_its_hint_and_whatever_its_repr_does() -> None:
    class Bad(Exception):
        def __repr__(self) -> str:
            raise RuntimeError

    assert failure("c", Bad()) == 'callout "c" raised Bad (its repr() fails)'
    assert failure("c", ActionRefused("no", hint="say so")) == "callout \"c\" raised ActionRefused('no'): say so"


def test_what_a_callout_raises_is_said_once_and_names_the_place(tmp_path: pathlib.Path) -> None:
    text = """version: 1
callouts: [{name: bad, use: "wfpd.callouts.fixed:Fixed", options: {answer: raise}}]
filters: [{name: asked, layer: ipforward, action: {callout: bad}}]
"""
    out, err = io.StringIO(), io.StringIO()
    assert run(load(tmp_path, text), packets(3), as_json=True, out=out, err=err) == 0
    assert {json.loads(line)["reason"] for line in out.getvalue().splitlines()} == {"error"}
    said, summary = err.getvalue().splitlines()
    assert said.startswith("error: callout \"bad\" raised RuntimeError('this callout was told to fail') (")
    assert "fixed.py:" in said and summary.startswith("3 packets")


def interrupting(folder: pathlib.Path, use: str) -> str:
    """A policy whose callout is interrupted by Ctrl-C."""
    (folder / "interrupted_callouts.py").write_text("""
import asyncio, os, signal, threading

class Called:
    def classify(self, c):
        raise KeyboardInterrupt

class WaitedFor:
    async def classify(self, c):
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
        await asyncio.get_running_loop().create_future()
""")
    return f"""version: 1
faults: {{late_after: 1h}}
daemon: {{callout_path: [{folder}]}}
callouts: [{{name: c, use: "interrupted_callouts:{use}"}}]
filters: [{{name: asked, layer: ipforward, action: {{callout: c}}}}]
"""


@pytest.mark.parametrize("use", ["Called", "WaitedFor"])
def test_an_interrupt_ends_the_run_though_it_came_in_a_callout(tmp_path: pathlib.Path, use: str) -> None:
    text = interrupting(tmp_path, use)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(load(tmp_path, text), packets(3), out=io.StringIO(), err=io.StringIO())
    finally:
        sys.modules.pop("interrupted_callouts", None)


@pytest.mark.parametrize(
    ("source", "destination", "hooks"),
    [
        ("192.0.2.1", "192.0.2.2", ("output", "input")),
        ("192.0.2.1", "203.0.113.1", ("output",)),
        ("203.0.113.1", "192.0.2.1", ("input",)),
        ("203.0.113.1", "255.255.255.255", ("input",)),
        ("203.0.113.1", "203.0.113.2", ("forward",)),
    ],
)
def test_local_prefixes_decide_the_hooks(source: str, destination: str, hooks: tuple[str, ...]) -> None:
    assert hooks_for(bytes(IP(src=source, dst=destination) / UDP()), parse_local("192.0.2.0/24,2001:db8::/32")) == hooks


def test_a_local_prefix_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        parse_local("nowhere")


@pytest.mark.parametrize("word", ["permit", "block"])
def test_what_on_malformed_decides_names_no_row(tmp_path: pathlib.Path, word: str) -> None:
    text = f"""version: 1
faults: {{on_malformed: {word}}}
filters: [{{name: p, layer: ipforward, action: permit}}]
"""
    data = bytes(IP(src="192.0.2.1", dst="198.51.100.2", proto=6)) + b"cut"
    out = io.StringIO()
    seen = iter([CapturedPacket(1, 1, data, len(data), True, None, 101)])
    run(load(tmp_path, text), seen, as_json=True, out=out, err=io.StringIO())
    line = json.loads(out.getvalue())
    assert (line["verdict"], line["reason"], line["malformed"]) == (word, "malformed", "truncated_transport")
    assert (line["layer"], line["sublayer"], line["filter"]) == (None, None, None)
    assert [row["action"] for row in line["layers"]] == ["permit"]


def test_the_limits_of_streams_are_those_of_the_policy(tmp_path: pathlib.Path) -> None:
    text = (
        'version: 1\ncallouts: [{name: c, use: "wfpd.callouts.fixed:Fixed", options: {answer: permit}}]\n'
        "filters: [{name: a, layer: stream, action: {callout: c, kind: unknown}}]\n"
    )
    capture = pathlib.Path(__file__).parents[1] / "data" / "streams" / "pcapplusplus" / "one_tcp_stream.pcap"
    for daemon, lost in (("", 0), ("daemon: {streams: {memory: 4095}}\n", 1)):
        replay = Replay(load(tmp_path, text + daemon), hook="input")
        for packet in read_capture(str(capture)):
            replay.decide(packet)
        assert (replay.flows.streams.counters()["lost"] > 0) == lost
