"""The control socket's `why`: what fits is told with names, and parameters are refused by name."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.control_schema import check_params, check_result
from wfpd.control.protocol import INVALID_PARAMS, RpcError
from wfpd.daemon.recorded import PARAMETERS, why

NOW = 1000.0


def recorded(packet: Any, last: float, **changes: Any) -> dict[str, Any]:
    data = bytes(packet)
    return {
        "timestamp_ns": int((last - 1) * 1e9), "last_ns": int(last * 1e9), "count": 2, "generation": 3,
        "hook": "forward", "family": 4, "protocol": 6, "in_interface": 2, "out_interface": 9, "length": len(data),
        "bytes": data[:128], "verdict": "block", "reason": "filter", "malformed": None, "slot": 24, "filter": 0,
        "callout": None, "veto": False, "absorb": False, "reply": "tcp_reset", "would_block": False, "flow_id": 8,
        "to_server": True, "rows": [(24, "block", "clear", 0, False), (56, "none", "set", None, True)],
    } | changes  # fmt: skip


TELNET = recorded(IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=9, dport=23, flags="S"), 990)
DNS = recorded(IPv6(src="2001:db8::1", dst="2001:db8:1::2") / UDP(sport=5000, dport=53), 995, family=6, filter=1)
PING = recorded(IP(src="192.0.2.1", dst="198.51.100.9") / ICMP(), 980, verdict="permit", filter=None,
                reason="no_match", reply=None, rows=[])  # fmt: skip
WOULD = recorded(IP(src="203.0.113.5", dst="198.51.100.2") / TCP(sport=9, dport=24), 970, verdict="permit",
                 would_block=True)  # fmt: skip
OLD = recorded(IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=9, dport=23), 300)
BROKEN = recorded(b"", 960, family=0, filter=None, reason="malformed", malformed="truncated_ip", slot=None, rows=[])


def daemon(*records: dict[str, Any]) -> Any:
    names = {0: "no-telnet", 1: "no-dns"}
    told = lambda generation, number: {  # noqa: E731
        "filter": names[number], "sublayer": "universal", "sublayer_weight": 0x8000, "callout": None,
    }  # fmt: skip
    oldest = min((one["timestamp_ns"] for one in records), default=None)
    counts = {"kept": len(records), "overwritten": 4, "room": 10, "oldest_ns": oldest}
    engine = SimpleNamespace(
        n_recorders=2, recorder_counts=lambda: counts,
        recorded=lambda number, since: [one for one in records[number::2] if one["last_ns"] >= since],
    )  # fmt: skip
    return SimpleNamespace(engine=engine, records=SimpleNamespace(names=told), generation=5,
                           interface_name=lambda index: {2: "eth0"}.get(index, f"#{index}"))  # fmt: skip


ALL = daemon(PING, TELNET, OLD, DNS, WOULD, BROKEN)


def ask(**parameters: Any) -> dict[str, Any]:
    check_params("why", parameters)
    answer = why(ALL, parameters, NOW)
    check_result("why", answer)
    return answer


def ends(answer: dict[str, Any]) -> list[int]:
    return [int(one["last"]) for one in answer["records"]]


def test_a_record_is_told_with_names() -> None:
    answer = ask(port=23)
    assert answer["records"] == [{
        "first": 989.0, "last": 990.0, "timestamp_ns": 989 * 10**9, "count": 2, "verdict": "block", "audit": False,
        "reason": "filter", "layer": "ipforward_v4", "filter": "no-telnet", "sublayer": "universal",
        "sublayer_weight": 0x8000, "callout": None, "veto": False, "reply": "tcp_reset", "generation": 3,
        "hook": "forward", "in_interface": "eth0", "out_interface": "#9", "flow_id": 8, "length": 40,
        "source": "192.0.2.1", "destination": "198.51.100.2", "protocol": "tcp", "source_port": 9,
        "destination_port": 23, "tcp_flags": "syn",
        "rows": [
            {"layer": "ipforward_v4", "action": "block", "right": "clear", "filter": "no-telnet",
             "sublayer": "universal", "discard": False},
            {"layer": "ipforward_v4_discard", "action": "none", "right": "set", "filter": None, "sublayer": None,
             "discard": True},
        ],
    }]  # fmt: skip
    assert {name: answer[name] for name in ("generation", "kept", "overwritten", "oldest")} == {
        "generation": 5, "kept": 6, "overwritten": 4, "oldest": 299.0,
    }  # fmt: skip


def test_the_newest_come_first_and_only_those_of_the_last_ten_minutes() -> None:
    assert ends(ask()) == [995, 990, 980, 970, 960]
    assert ends(ask(since=800)) == [995, 990, 980, 970, 960, 300]
    assert ends(ask(size=2)) == [995, 990]
    assert ends(ask(size=0)) == []


@pytest.mark.parametrize(
    ("parameters", "found"),
    [({"address": "192.0.2.1"}, [990, 980]), ({"address": "198.51.100.0/24"}, [990, 980, 970]),
     ({"address": "2001:db8::/32"}, [995]), ({"address": "::/0"}, [995]), ({"port": 53}, [995]),
     ({"port": 9}, [990, 970]),
     ({"protocol": "udp"}, [995]), ({"protocol": "1"}, [980]), ({"filter": "no-dns"}, [995]),
     ({"filter": "none"}, []), ({"verdict": "permit"}, [980]), ({"verdict": "block"}, [995, 990, 970, 960]),
     ({"address": "192.0.2.1", "verdict": "block", "port": 23}, [990])],
)  # fmt: skip
def test_what_is_asked_for_is_what_is_told(parameters: dict[str, Any], found: list[int]) -> None:
    assert ends(ask(**parameters)) == found


def test_what_audit_mode_let_pass_is_a_block_that_says_so() -> None:
    (one,) = ask(address="203.0.113.5")["records"]
    assert (one["verdict"], one["audit"]) == ("block", True)


def test_a_packet_without_an_address_has_none() -> None:
    one = ask()["records"][-1]
    assert (one["malformed"], one["layer"], "source" in one) == ("truncated_ip", None, False)


def test_the_heads_come_where_they_are_asked_for() -> None:
    assert base64.b64decode(ask(port=53, bytes=True)["records"][0]["bytes"]) == DNS["bytes"]
    assert "bytes" not in ask(port=53, bytes=False)["records"][0]


@pytest.mark.parametrize(
    "parameters",
    [{"since": 0}, {"since": True}, {"since": "1"}, {"since": float("nan")}, {"since": float("inf")}, {"size": -1},
     {"size": 1001}, {"size": True}, {"bytes": 1}, {"port": 65536}, {"port": "23"}, {"port": True},
     {"address": "host"}, {"address": 5}, {"address": "1" * 300}, {"protocol": 6}, {"protocol": "nonsense"},
     {"protocol": "256"}, {"protocol": "²"}, {"filter": None}, {"filter": "x" * 257}, {"verdict": "drop"},
     {"verdict": ["block"]}],
)  # fmt: skip
def test_a_wrong_parameter_is_named(parameters: dict[str, Any]) -> None:
    with pytest.raises(RpcError, match=str(next(iter(parameters)))[:3] + "|address|protocol") as refused:
        why(ALL, parameters, NOW)
    assert refused.value.code == INVALID_PARAMS
    assert parameters.keys() <= PARAMETERS


def test_an_empty_recorder_has_no_oldest() -> None:
    answer = why(daemon(), {}, NOW)
    check_result("why", answer)
    assert (answer["records"], answer["kept"], answer["oldest"]) == ([], 0, None)
