"""Two policies by their verdicts: regions in words, the filters that decide them, and what is not decided."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from wfpd.capture import read_capture
from wfpd.comparing import compare, render, say_part
from wfpd.config import load_policy
from wfpd.model.fields import FIELD
from wfpd.model.policy import Word
from wfpd.replay import parse_local

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WHOLE = (0, 2**32 - 1)
SSH = "  - {name: ssh, layer: ipforward, action: block, when: {ip_protocol: tcp, ip_destination_port: 22}}\n"
REST = "  - {name: rest, layer: ipforward, action: permit}\n"


def compared(tmp_path: Path, old: str, new: str, most: int = 200) -> dict[str, Any]:
    policies = []
    for name, text in (("old", old), ("new", new)):
        path = tmp_path / f"{name}.yaml"
        path.write_text("version: 1\nfilters:\n" + text)
        policies.append(load_policy(str(path), trust="warn"))
    return compare(policies[0], policies[1], most)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
def test_a_policy_is_the_same_as_itself(name: str) -> None:
    policy = load_policy(str(EXAMPLES / f"{name}.yaml"), trust="warn")
    assert compare(policy, policy) == {"format": 1, "same": True, "layers": []}
    assert render(compare(policy, policy)) == "the policies have the same filters\nthe verdicts are the same\n"


def test_a_region_names_the_filters_that_decide_it(tmp_path: Path) -> None:
    document = compared(tmp_path, SSH + REST, SSH.replace("22}", "[22, 23]}") + REST)
    v4, v6 = document["layers"]
    assert (v4["layer"], v6["layer"], document["same"]) == ("ipforward_v4", "ipforward_v6", False)
    assert v4["changed"] == ["ssh"] and not v4["added"] and v4["complete"]
    (witness,) = [region.pop("witness") for region in v4["regions"]]
    assert v4["regions"] == [{"old": "permit", "new": "block", "old_filter": "rest", "new_filter": "ssh",
                              "conditions": [],
                              "where": {"ip_protocol": "tcp", "ip_destination_port": "23"}}]  # fmt: skip
    v4["regions"][0]["witness"] = witness
    assert (witness["confirmed"], witness["old"], witness["new"]) == (True, "permit", "block")
    assert witness["command"].endswith("--proto tcp --src 192.0.2.1:50000 --dst 198.51.100.2:23")
    assert render(document).splitlines()[:4] == [
        "ipforward_v4:", "  changed  ssh",
        "  permit -> block  ip_protocol tcp, ip_destination_port 23  (rest -> ssh)",
        f"    confirmed, permit -> block: {witness['command']}",
    ]  # fmt: skip
    assert render(document).endswith("THE VERDICTS DIFFER, or it is not decided\n")


def test_filters_may_change_and_no_verdict(tmp_path: Path) -> None:
    document = compared(tmp_path, SSH, SSH + REST)
    assert document["same"] and [layer["added"] for layer in document["layers"]] == [["rest"], ["rest"]]
    assert render(document).startswith("ipforward_v4:\n  added    rest\n  no packet's verdict changes here\n")


def test_a_condition_that_no_box_can_hold_is_part_of_a_region(tmp_path: Path) -> None:
    by_glob = SSH.replace("ip_protocol: tcp", "interface_name: {glob: 'e*'}")
    document = compared(tmp_path, REST, by_glob + REST)
    (region,) = document["layers"][0]["regions"]
    assert (region["old"], region["new"], region["new_filter"], document["same"]) == ("permit", "block", "ssh", False)
    assert region["conditions"] == [{"field": "interface_name", "wants": 'glob "e*"', "holds": True}]
    assert '  permit -> block  ip_destination_port 22, interface_name glob "e*"  (rest -> ssh)\n' in render(document)
    assert "confirmed, permit -> block: wfpd explain" in render(document) and "--interface e\n" in render(document)
    behind = render(compared(tmp_path, by_glob + REST.replace("permit", "block"), by_glob + REST))
    assert ', not (interface_name glob "e*")  (rest -> rest)\n    confirmed, block -> permit: ' in behind


def test_what_only_a_callout_knows_is_both_verdicts_and_not_the_same(tmp_path: Path) -> None:
    asks = SSH.replace("action: block", "action: {callout: c}")
    callouts = 'callouts: [{name: c, use: "no_such_module:Class"}]\n'
    document = compared(tmp_path, REST, asks + REST + callouts)
    (region,) = document["layers"][0]["regions"]
    assert (region["old"], region["new"], region["new_filter"], document["same"]) == ("permit", None, None, False)
    assert "  permit -> permit or block  ip_protocol tcp, ip_destination_port 22  (rest -> -)\n" in render(document)


def test_too_many_regions_are_said_to_be(tmp_path: Path) -> None:
    many = SSH.replace("22}", f"[{', '.join(str(port) for port in range(1, 30, 2))}]}}")
    document = compared(tmp_path, REST, many + REST, most=3)
    assert [layer["complete"] for layer in document["layers"]] == [False, False]
    assert "  and more: there are more regions than are shown\n" in render(document)
    none = compared(tmp_path, REST, many + REST, most=0)
    assert not none["same"] and len(none["layers"]) == 2


def test_the_example_in_the_docs_is_what_is_printed(tmp_path: Path) -> None:
    host = (EXAMPLES / "host.yaml").read_text()
    changed = tmp_path / "new.yaml"
    changed.write_text(host.replace("ip_remote_port: 25}", "ip_remote_port: [25, 587]}"))
    old, new = (load_policy(str(path), trust="warn") for path in (EXAMPLES / "host.yaml", changed))
    example = (EXAMPLES.parent / "explain.md").read_text().split("```\n")[3]
    assert example.startswith("ale_auth_connect_v4:") and render(compare(old, new)).startswith(example)


def test_what_no_words_describe_is_shown_as_bytes_and_what_no_packet_confirms_with_the_reason(tmp_path: Path) -> None:
    rare = SSH.replace("ip_destination_port: 22", 'ip_ttl: 3, packet_mark: 9, interface_name: "a b", ip_length: 200')
    text = render(compared(tmp_path, REST, rare + REST))
    assert '    confirmed, permit -> block: a packet through forward, mark 0x9, interface "a b", bytes 450000c8' in text
    assert "00 and zeros up to 200\n" in text
    other = render(compared(tmp_path, REST, SSH.replace("ip_destination_port: 22", "source_interface_index: 9") + REST))
    assert "    not confirmed: no packet carries source_interface_index: it is the host's to say\n" in other


def test_a_capture_is_weighed_beside_the_regions(tmp_path: Path) -> None:
    old = load_policy(str(EXAMPLES / "gateway.yaml"), trust="warn")
    new = dataclasses.replace(old, filters=tuple(item for item in old.filters if item.name != "no-other-tcp"))
    document = compare(old, new, packets=read_capture(str(EXAMPLES / "gateway.pcap")))
    assert (document["same"], document["capture"]["changed"], document["capture"]["unchanged"]) == (False, 1, 6)
    assert "capture: the verdict of 1 of 7 packets changes (40 of 257 bytes)\n" in render(document)
    same = compare(old, old, packets=read_capture(str(EXAMPLES / "gateway.pcap")))
    assert same["same"] and same["capture"]["changes"] == []


def test_a_capture_that_changes_or_breaks_off_is_not_the_same(tmp_path: Path) -> None:
    old = load_policy(str(EXAMPLES / "hardened.yaml"), trust="warn")
    new = dataclasses.replace(old, faults=dataclasses.replace(old.faults, on_malformed=Word.PERMIT))
    packets = read_capture(str(EXAMPLES / "hardened.pcap"))
    document = compare(old, new, packets=packets, local=parse_local("203.0.113.10"))
    assert not document["layers"] and document["capture"]["changed"] == 1 and not document["same"]
    (tmp_path / "cut.pcap").write_bytes((EXAMPLES / "hardened.pcap").read_bytes()[:-1])
    assert not compare(old, old, packets=read_capture(str(tmp_path / "cut.pcap")))["same"]


def test_the_weighed_example_in_the_docs_is_what_is_printed(tmp_path: Path) -> None:
    changed = tmp_path / "new.yaml"
    changed.write_text((EXAMPLES / "gateway.yaml").read_text().replace("source_port: [80, 443]", "source_port: 443"))
    old, new = (load_policy(str(path), trust="warn") for path in (EXAMPLES / "gateway.yaml", changed))
    example = (EXAMPLES.parent / "explain.md").read_text().split("```\n")[5]
    assert example.startswith("capture:")
    assert example in render(compare(old, new, packets=read_capture(str(EXAMPLES / "gateway.pcap"))))


def test_a_region_everywhere_is_every_packet(tmp_path: Path) -> None:
    assert "block -> permit  every packet  (rest -> rest)" in render(
        compared(tmp_path, REST.replace("permit", "block"), REST)
    )


@pytest.mark.parametrize(("field", "family", "told", "says"), [
    ("ip_protocol", 4, ([(6, 6)], False), "tcp"), ("ip_destination_port", 4, ([(1, 9)], True), "1-9 or empty"),
    ("ip_destination_port", 4, ([], True), "empty"), ("flags", 4, ([WHOLE], False), "any value"),
    ("ip_source_address", 4, ([(0x0A000000, 0x0AFFFFFF)], False), "10.0.0.0/8"),
    ("ip_source_address", 6, ([(0, 0), (0, 0), (1, 1), WHOLE], False), "::1:0:0/96"),
    ("ip_source_address", 6, ([(0, 1), (5, 5), WHOLE, WHOLE], False),
     "32-bit words 0x0-0x1 0x5 0x0-0xffffffff 0x0-0xffffffff"),
    ("interface_name", 4, ([b"eth0", b"lo"], False), '"eth0", "lo"'),
    ("interface_name", 4, ([None, b"eth0"], True), 'none_of ["eth0"] or empty'),
])  # fmt: skip
def test_a_part_of_a_region_has_words(field: str, family: int, told: Any, says: str) -> None:
    assert say_part(FIELD[field], family, told) == says
