"""Findings in texts as the tools print them."""

from __future__ import annotations

import json

from wfpd.errors import KernelError
from wfpd.netfilter.conflicts import Finding, Kind, Listings, examine, others, owner_of

MASK = 0xFFF00000

DOCKER = """\
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
:WFPD_FWD_ACT - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A FORWARD -m comment --comment "wfpd forward 12345678" -j WFPD_FWD_ACT
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""

TAILSCALE = """\
*filter
:FORWARD ACCEPT [0:0]
:ts-forward - [0:0]
-A FORWARD -j ts-forward
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
COMMIT
"""


def mangle(*rules: str) -> Listings:
    return Listings(iptables="*mangle\n:FORWARD ACCEPT [0:0]\n" + "\n".join(f"-A FORWARD {rule}" for rule in rules))


def kinds(findings: list[Finding]) -> list[Kind]:
    return [finding.kind for finding in findings]


def test_an_accept_ahead_of_the_act_rules_comes_first_with_its_owner() -> None:
    found = examine(MASK, Listings(iptables=DOCKER))
    assert found[0].kind is Kind.AHEAD
    assert found[0].owner == "Docker"
    assert found[0].text == "-A FORWARD -j DOCKER-FORWARD"
    assert "start wfpd after Docker" in str(found[0])
    assert [finding.where for finding in found[1:]] == ["iptables nat", "iptables filter"]


def test_marks_outside_our_bits_are_no_finding_and_inside_they_are() -> None:
    assert kinds(examine(0xFFF0, Listings(iptables=TAILSCALE))) == [Kind.NEIGHBOUR]
    assert kinds(examine(0xFFF0000, Listings(iptables=TAILSCALE))) == [Kind.MARK, Kind.MARK, Kind.NEIGHBOUR]


def test_a_mask_that_overlaps_the_default_ones_lowest_bits_is_found() -> None:
    found = examine(MASK, Listings(iptables=TAILSCALE))
    assert kinds(found) == [Kind.MARK, Kind.OVERWRITE, Kind.NEIGHBOUR]
    assert "0xfff0" in found[0].hint


def test_every_way_to_use_our_bits_is_found() -> None:
    for rule in (
        "-j MARK --set-xmark 0x100000/0x100000",
        "-j CONNMARK --set-xmark 0x80000000/0xffffffff",
        "-m mark --mark 0x0/0xf0000000 -j DROP",
        "-m connmark --mark 0x100000 -j ACCEPT",
        "-p tcp -j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x100000/0x100000",
    ):
        assert kinds(examine(MASK, mangle(rule))) == [Kind.MARK], rule


def test_writing_the_whole_mark_is_an_overwrite() -> None:
    for rule in (
        "-j MARK --set-xmark 0x1/0xffffffff",
        "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        "-j HMARK --hmark-tuple src,dst --hmark-mod 4",
    ):
        assert kinds(examine(MASK, mangle(rule))) == [Kind.OVERWRITE], rule
    assert examine(MASK, mangle("-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff")) == []


def test_another_queue_rule_is_found_and_ours_is_not() -> None:
    text = (
        "*mangle\n:WFPD_FWD_Q0 - [0:0]\n-A WFPD_FWD_Q0 -j NFQUEUE --queue-num 0\n-A FORWARD -j NFQUEUE --queue-num 0\n"
    )
    (found,) = examine(MASK, Listings(ip6tables=text))
    assert (found.kind, found.where) == (Kind.QUEUE, "ip6tables mangle FORWARD")


def test_routing_by_our_bits_is_found() -> None:
    rules = (
        "0:\tfrom all lookup local\n"
        "32764:\tnot from all fwmark 0xca6c lookup 51820\n"
        "32765:\tfrom all fwmark 0x40000/0xf0000 lookup 52\n"
        "32765:\tfrom all fwmark 0x10000000/0xf0000000 lookup 53\n"
    )
    found = examine(MASK, Listings(rules4=rules))
    assert kinds(found) == [Kind.ROUTE, Kind.OVERWRITE]
    assert found[0].text.endswith("lookup 53")


def rule(*expressions: object, table: str = "fw", family: str = "inet") -> dict[str, object]:
    return {"rule": {"family": family, "table": table, "chain": "f", "expr": list(expressions)}}


MARK = {"meta": {"key": "mark"}}


def nft(*entries: object) -> Listings:
    return Listings(nft_json=json.dumps({"nftables": [{"metainfo": {}}, *entries]}))


def test_nft_rules_that_use_our_bits_are_found() -> None:
    prefix = {"match": {"op": "==", "left": MARK, "right": {"prefix": {"addr": 0x10000000, "len": 4}}}}
    set_bits = {"mangle": {"key": MARK, "value": {"|": [{"&": [MARK, 0xFFFFF]}, 0x300000]}}}
    masked = {"match": {"op": "==", "left": {"&": [{"ct": {"key": "mark"}}, 0xF00000]}, "right": 0}}
    for expression in (prefix, set_bits, masked):
        (found,) = examine(MASK, nft(rule(expression)))
        assert (found.kind, found.where) == (Kind.MARK, "nft inet fw f")


def test_nft_rules_that_write_the_whole_mark_are_overwrites() -> None:
    for value in (5, {"&": [MARK, 0xFF]}, {"ct": {"key": "mark"}}):
        assert kinds(examine(MASK, nft(rule({"mangle": {"key": MARK, "value": value}})))) == [Kind.OVERWRITE]
    keeping = {"mangle": {"key": MARK, "value": {"|": [{"&": [MARK, 0xFFFFFF00]}, 5]}}}
    assert MASK & 0xFFFFFF00 == MASK
    assert examine(MASK, nft(rule(keeping))) == []


def test_our_own_table_and_those_that_iptables_shows_are_left_out() -> None:
    use = {"mangle": {"key": MARK, "value": 0x300000}}
    assert examine(MASK, nft(rule(use, table="wfpd"), rule(use, table="mangle", family="ip"))) == []


def test_flowtables_queues_and_firewalld_are_found_in_nft() -> None:
    found = examine(
        MASK,
        nft(
            {"table": {"family": "inet", "name": "firewalld"}},
            {"flowtable": {"family": "inet", "name": "fast", "table": "fw"}},
            rule({"queue": {"num": 3}}),
        ),
    )
    assert kinds(found) == [Kind.FLOWTABLE, Kind.QUEUE, Kind.NEIGHBOUR]
    assert found[2].owner == "firewalld"


def test_garbage_is_no_finding() -> None:
    assert examine(MASK, Listings("x", "-A", "{", "fwmark", "from all fwmark zz lookup")) == []


def test_an_unknown_chain_has_no_owner() -> None:
    assert owner_of("MYCHAIN") == ("", "")


def test_missing_and_failing_tools_are_passed_over() -> None:
    class Fake:
        def find(self, tool: str) -> str | None:
            return None if tool == "nft" else tool

        def run(self, argv: tuple[str, ...], stdin: str = "") -> str:
            if argv[0] == "ip":
                raise KernelError("ip: no")
            return DOCKER

    assert others(MASK, Fake())[0].kind is Kind.AHEAD  # type: ignore[arg-type]


SHADOWED = """\
*mangle
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:VPN - [0:0]
-A INPUT -p tcp -j ACCEPT
-A FORWARD -j MARK --set-xmark 0x1/0x1
-A FORWARD -j VPN
-A VPN -i tun0 -j ACCEPT
COMMIT
"""


def test_a_rule_ahead_of_where_ours_are_going_to_be_is_found_before_they_are() -> None:
    def ahead(*hooks: str) -> list[tuple[str, str]]:
        found = examine(MASK, Listings(iptables=SHADOWED), hooks)
        return [(one.where, one.text) for one in found if one.kind is Kind.AHEAD]

    assert ahead() == ahead("output") == []
    assert ahead("input") == [("iptables mangle INPUT", "-A INPUT -p tcp -j ACCEPT")]
    assert ahead("forward") == [("iptables mangle FORWARD", "-A FORWARD -j VPN")]
