import json
import pathlib

import pytest

from tests.unit.cli.answering import Daemon
from wfpd import cli
from wfpd.capture import read_capture
from wfpd.control.protocol import INVALID_PARAMS, REFUSED, RpcError

EXAMPLES = pathlib.Path(__file__).resolve().parents[4] / "docs" / "examples"
HOST = ["explain", "--policy", str(EXAMPLES / "host.yaml")]
SSH = ["--hook", "input", "--proto", "tcp", "--src", "198.51.100.7:1234", "--dst", "203.0.113.10:22"]


def test_explain_is_0_for_a_permit_and_1_for_a_block(capsys) -> None:
    assert cli.main([*HOST, *SSH]) == 1
    assert "near    permit   ssh-from-offices" in capsys.readouterr().out
    permitted = [part.replace("198.51.100.7", "192.0.2.7") for part in SSH]
    assert cli.main([*HOST, *permitted, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["decision"]["filter"], document["packet"]["source_port"]) == ("ssh-from-offices", 1234)


def test_a_policy_or_capture_that_is_wrong_is_no_block(tmp_path: pathlib.Path, capsys) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("version: 1\nfilters: [{name: f}]\n")
    assert cli.main(["explain", "--policy", str(wrong), *SSH]) == 3
    assert "layer is missing" in capsys.readouterr().err
    assert cli.main([*HOST, "--pcap", str(wrong)]) == 3
    assert "not a capture" in capsys.readouterr().err


def test_explain_takes_a_packet_of_a_capture(capsys) -> None:
    capture = ["--pcap", str(EXAMPLES / "host.pcap"), "--local", "203.0.113.10/32,2001:db8:9::10/128"]
    assert cli.main([*HOST, *capture, "--packet", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decision"]["reason"] == "flow"
    assert cli.main([*HOST, *capture]) in (0, 1)
    assert capsys.readouterr().out.startswith("packet 1: ")


def test_explain_shows_as_many_near_misses_as_are_asked_for(capsys) -> None:
    assert cli.main([*HOST, *SSH, "--near", "1", "--json"]) == 1
    (sublayer,) = json.loads(capsys.readouterr().out)["visits"][0]["layers"][0]["sublayers"]
    assert [item["match"] for item in sublayer["filters"]] == ["near", "match"]


@pytest.mark.parametrize(("arguments", "says"), [
    (["--proto", "tcp"], "--hook is missing"), (SSH[:-2], "--dst is missing"), ([*SSH, "--packet", "2"], "--packet"),
    ([*SSH, "--pcap", "x.pcap"], "--proto describes a packet"), ([*SSH, "--answer", "c=maybe"], "no answer"),
    ([*SSH, "--answer", "c=block"], "no callout"), ([*SSH, "--flags", "loud"], "no TCP flag"),
    ([*SSH, "--live"], "it takes no --policy"), (["--pcap", "x.pcap", "--local", "here"], "--local"),
    (["--pcap", str(EXAMPLES / "host.pcap"), "--packet", "9999"], "no packet 9999"),
])  # fmt: skip
def test_explain_is_2_where_it_cannot_be_meant(arguments: list[str], says: str, capsys) -> None:
    assert cli.main([*HOST, *arguments]) == 2
    assert says in capsys.readouterr().err


def test_explain_is_3_where_something_cannot_be_opened(tmp_path, path, capsys) -> None:
    assert cli.main(["explain", "--policy", str(tmp_path / "none.yaml"), *SSH]) == 3
    assert cli.main([*HOST, "--pcap", str(tmp_path / "none.pcap")]) == 3
    assert cli.main(["explain", "--live", "--socket", path, *SSH]) == 3
    assert "cannot open" in capsys.readouterr().err


def test_explain_live_asks_the_daemon(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main([*HOST, *SSH, "--json"]) == 1
    daemon.answer = json.loads(capsys.readouterr().out)
    assert cli.main(["explain", "--live", "--socket", path, *SSH, "--mark", "0x10", "--interface", "eth0"]) == 1
    assert "verdict: block" in capsys.readouterr().out
    assert daemon.asked == [{
        "hook": "input", "protocol": "tcp", "source": "198.51.100.7:1234", "destination": "203.0.113.10:22",
        "payload": 0, "mark": 16, "interface": "eth0", "near": 5, "answers": {},
    }]  # fmt: skip
    for code, status in ((INVALID_PARAMS, 2), (REFUSED, 3)):
        daemon.answer = RpcError(code, "there is no interface 'eth0'")
        assert cli.main(["explain", "--live", "--socket", path, *SSH]) == status
        assert "there is no interface" in capsys.readouterr().err


def test_explain_live_asks_about_a_packet_of_a_capture(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main([*HOST, *SSH, "--json"]) == 1
    daemon.answer = json.loads(capsys.readouterr().out)
    capture = str(EXAMPLES / "host.pcap")
    live = ["explain", "--live", "--socket", path, "--pcap", capture]
    assert cli.main([*live, "--packet", "4", "--hook", "input", "--interface", "eth0"]) == 1
    assert capsys.readouterr().out.startswith("packet 4: ")
    (asked,) = daemon.asked
    packet = list(read_capture(capture))[3]
    assert (asked["data"], asked["length"], asked["hook"]) == (packet.data.hex(), packet.original_length, "input")
    assert not asked.keys() & {"protocol", "source", "payload"} and asked["interface"] == "eth0"
    capsys.readouterr()
    for more, says in ((["--packet", "999"], "no packet 999"), (["--proto", "tcp"], "--proto describes a packet"),
                       (["--local", "192.0.2.1/32"], "--live takes no --local")):  # fmt: skip
        assert cli.main([*live, "--hook", "input", *more]) == 2
        assert says in capsys.readouterr().err
    assert cli.main(live) == 2
    assert "--hook is missing" in capsys.readouterr().err
