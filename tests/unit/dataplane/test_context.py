"""What a Python callout sees and may answer."""

from __future__ import annotations

import ipaddress
import pathlib
import sys
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane._replay import Replayer
from wfpd.dataplane._table import Snapshot

PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=9, dport=53))
POLICY = """version: 1
callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed"}]
filters: [{name: one, layer: ipforward_v4, action: {callout: c}}]
"""


def replay(
    tmp_path: pathlib.Path, classify: Any, layer: str = "ipforward", hook: str = "forward"
) -> tuple[dict, Replayer]:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("ipforward", layer))
    policy = load_policy(str(path), trust="warn")
    table = Snapshot(pack(policy), [classify], generation=1, on_error=2, on_malformed=1, on_late=1, flows_full=1)
    replayer = Replayer(table)
    return replayer.visit(PACKET, hook, 1), replayer


def test_values_are_read_by_name_and_an_absent_one_is_none(tmp_path: pathlib.Path) -> None:
    seen: dict[str, Any] = {}

    def classify(c: Any) -> None:
        seen.update(source=c.values["ip_source_address"], port=c.values["ip_destination_port"])
        seen.update(flags=c.values["tcp_flags"], name=c.filter, layer=c.layer, action=c.action, right=c.write_right)
        seen.update(packet=bytes(c.packet), readonly=c.packet.readonly)
        with pytest.raises(KeyError):
            c.values["ip_local_port"]

    result, _ = replay(tmp_path, classify)
    assert seen == {
        "source": ipaddress.ip_address("192.0.2.1"), "port": 53, "flags": None, "name": "one",
        "layer": "ipforward_v4", "action": None, "right": True, "packet": PACKET, "readonly": True,
    }  # fmt: skip
    assert result["reason"] == "no_match"


def test_a_context_is_of_no_use_after_the_call(tmp_path: pathlib.Path) -> None:
    kept: list[Any] = []
    replay(tmp_path, kept.append)
    with pytest.raises(RuntimeError, match="only while"):
        kept[0].permit()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_a_callout_raises_the_packet_gets_a_verdict(
    tmp_path: pathlib.Path, error: type[BaseException]
) -> None:
    def classify(c: Any) -> None:
        raise error(3)

    result, replayer = replay(tmp_path, classify)
    assert (result["verdict"], result["reason"]) == ("block", "error")
    assert replayer.context.errors == {"c": 1}


def test_absorb_where_wfp_does_not_allow_it_is_refused(tmp_path: pathlib.Path) -> None:
    result, _ = replay(tmp_path, lambda c: c.block(absorb=True))
    assert result["reason"] == "error"


def test_absorb_and_a_reply_contradict_each_other(tmp_path: pathlib.Path) -> None:
    for arguments, reason in (({"absorb": True, "reply": "tcp_reset"}, "error"), ({"absorb": True}, "callout")):
        result, _ = replay(tmp_path, lambda c, a=arguments: c.block(**a), "inbound_transport", "input")
        assert result["reason"] == reason


def test_a_packet_view_is_not_copied(tmp_path: pathlib.Path) -> None:
    sizes: list[int] = []
    replay(tmp_path, lambda c: sizes.append(sys.getsizeof(c.packet[4:])))
    assert sizes and sizes[0] < 1000
