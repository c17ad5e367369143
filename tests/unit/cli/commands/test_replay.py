import json
import pathlib
import struct

import jsonschema

from tests.unit.cli.answering import GOOD
from wfpd import cli
from wfpd.observe import layers_doc

REPLAYED = """version: 1
filters:
  - {name: accept, layer: ale_auth_recv_accept, action: permit}
  - {name: connect, layer: ale_auth_connect, action: permit, log: true}
  - {name: would, layer: inbound_transport, action: block, mode: audit}
  - {name: no-data, layer: stream_packet, action: block, when: {tcp_flags: {flags_all_set: [psh]}, direction: inbound}}
"""


def test_replay_writes_drops_permits_audit_and_flows_that_share_an_id_and_fit_the_schema(tmp_path, capsys) -> None:
    policy, eve = tmp_path / "p.yaml", tmp_path / "eve.json"
    policy.write_text(REPLAYED)
    capture = pathlib.Path(__file__).parents[3] / "data/captures/zeek/tcp.pcap"
    assert cli.main(["replay", "--policy", str(policy), "--local", "128.232.110.120", "--json", "--eve", str(eve),
                     str(capture)]) == 0  # fmt: skip
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [json.loads(line) for line in eve.read_text().splitlines()]
    validator = jsonschema.Draft202012Validator(
        json.loads((pathlib.Path(layers_doc.__file__).parent / "event_schema.json").read_text())
    )
    for event in found:
        validator.validate(event)
    kinds = [(event["event_type"], event["wfp"]["filter"]) for event in found]
    assert set(kinds) == {("wfp", "connect"), ("wfp", "would"), ("drop", "no-data"), ("flow", "connect")}
    assert kinds[-1] == ("flow", "connect")
    assert len({event["flow_id"] for event in found}) == len({event["community_id"] for event in found}) == 1
    drops = [event["wfp"]["suppressed"] + 1 for event in found if event["event_type"] == "drop"]
    assert sum(drops) == sum(line["verdict"] == "block" for line in lines) > 0
    assert all("pcap_cnt" in event for event in found)
    passed = found[-1]["flow"]["pkts_toserver"] + found[-1]["flow"]["pkts_toclient"]
    assert passed == sum(line["verdict"] == "permit" for line in lines)


def test_replay_warns_once_of_a_link_type_that_is_not_read(tmp_path, capsys) -> None:
    policy, capture = tmp_path / "p.yaml", tmp_path / "c.pcap"
    policy.write_text(GOOD)
    ieee802_11 = 105
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, ieee802_11)
    capture.write_bytes(header + 2 * (struct.pack("<4I", 1, 0, 4, 4) + b"abcd"))
    assert cli.main(["replay", "--json", "--policy", str(policy), str(capture)]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["reason"] for line in said.out.splitlines()] == ["not_ip", "not_ip"]
    assert said.err.count("warning: link type 105 is not read") == 1
