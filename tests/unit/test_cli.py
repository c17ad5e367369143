import json
import os
import pathlib
import struct
import subprocess
import sys
from collections.abc import Iterator

import jsonschema
import pytest

from wfpd import cli
from wfpd.control.admin import AdminServer, Method, Roles
from wfpd.control.protocol import INVALID_PARAMS, REFUSED, Role, RpcError
from wfpd.daemon.asked import PARAMETERS
from wfpd.errors import KernelError
from wfpd.netfilter.commands import Commands
from wfpd.observe import layers_doc
from wfpd.observe.layers_doc import layers_json
from wfpd.observe.record import EventRecord
from wfpd.observe.sinks import Hub

GOOD = "version: 1\nfilters:\n  - {name: a, layer: ipforward, action: block}\n"


class Daemon:
    """What the socket answers."""

    def __init__(self, path: str) -> None:
        self.enforcing = True
        self.why_not: list[str] = []
        self.answer: dict | Exception = {}
        self.asked: list[dict] = []
        self.hub = Hub()
        methods = {"status": Method(Role.READ, lambda params, peer: self.status()),
                   "reload": Method(Role.OPERATE, lambda params, peer: self.reply(params),
                                    parameters=frozenset({"confirm"})),
                   "confirm": Method(Role.OPERATE, lambda params, peer: self.reply(params))}  # fmt: skip
        methods["explain"] = Method(Role.READ, lambda params, peer: self.reply(params), parameters=PARAMETERS)
        methods["events.last"] = Method(Role.READ, lambda params, peer: self.answer)
        self.server = AdminServer(path, methods, Roles(), hub=self.hub)
        self.server.start()

    def status(self) -> dict:
        words = dict.fromkeys(("on_absent", "on_full", "on_late", "on_error", "on_malformed"), "permit")
        reload = {"last_successful": True, "last_success_timestamp": 0, "last_error": "", "confirm_remaining": None}
        return {"version": "0", "pid": 1, "policy": "p", "enforcing": self.enforcing, "audit": False, "generation": 1,
                "hash": "", "uptime_seconds": 1, "hooks": [], "queues": [], "flows": {"used": 0, "max": 1},
                "reload": reload, "words": words, "rules_error": "",
                "why_not": self.why_not}  # fmt: skip

    def reply(self, params) -> dict:
        self.asked.append(dict(params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "c.sock")


@pytest.fixture
def daemon(path: str) -> Iterator[Daemon]:
    daemon = Daemon(path)
    yield daemon
    daemon.server.close()


def reloaded(successful: bool = True, **more: object) -> dict:
    return {"successful": successful, "generation": 2, "hash": "ab" * 32, "seconds": 0.1, "n_filters": 3,
            "problems": [], "lints": [], "restart_needed": [], "confirm_within": None} | more  # fmt: skip


def test_status_is_1_while_not_enforcing_and_3_without_a_daemon(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main(["status", "--socket", path]) == 0
    assert "enforcing" in capsys.readouterr().out
    daemon.enforcing = False
    daemon.why_not = ["queue 3 is not bound"]
    assert cli.main(["status", "--socket", path]) == 1
    assert "not enforcing: queue 3 is not bound\n" in capsys.readouterr().out
    assert cli.main(["status", "--json", "--socket", path]) == 1
    assert json.loads(capsys.readouterr().out)["enforcing"] is False
    assert cli.main(["status", "--socket", path + ".not"]) == 3
    assert "hint:" in capsys.readouterr().err


def test_a_refused_reload_prints_every_error_and_is_1(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(False, problems=[{"text": "p.yaml:3: no such layer"}])
    assert cli.main(["reload", "--socket", path]) == 1
    assert "p.yaml:3: no such layer" in capsys.readouterr().err


def test_a_good_reload_says_what_needs_a_restart(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(restart_needed=["workers"])
    assert cli.main(["reload", "--confirm", "1m", "--socket", path]) == 0
    assert daemon.asked == [{"confirm": 60.0}]
    assert "restart needed for workers" in capsys.readouterr().out


def test_of_many_lints_a_reload_repeats_the_first_and_says_how_many_more(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = reloaded(lints=[{"text": f"p.yaml:{line}: a lint"} for line in range(1, 31)])
    assert cli.main(["reload", "--socket", path]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "lint: p.yaml:1: a lint"
    assert lines[20:] == ["lint: 10 more; `wfpd check` shows all of them"]
    assert cli.main(["reload", "--json", "--socket", path]) == 0
    assert len(json.loads(capsys.readouterr().out)["lints"]) == 30


def test_nothing_to_confirm_is_1(daemon: Daemon, path: str) -> None:
    daemon.answer = RpcError(REFUSED, "no reload waits")
    assert cli.main(["confirm", "--socket", path]) == 1


def test_events_end_after_the_count(daemon: Daemon, path: str, capsys) -> None:
    import threading

    event = {"timestamp": "t", "event_type": "drop", "proto": "TCP", "verdict": {"action": "drop"},
             "wfp": {"reason": "filter", "filter": "telnet"}}  # fmt: skip
    line = json.dumps(event).encode() + b"\n"
    timer = threading.Timer(0.3, daemon.hub.write, (EventRecord(0, "block"), line))
    timer.start()
    assert cli.main(["events", "--follow", "--count", "1", "--socket", path]) == 0
    timer.join()
    out, err = capsys.readouterr()
    assert ("telnet" in out, "following; from here on every event is shown" in err) == (True, True)


def test_a_flow_s_end_and_an_audit_event_are_shown_to_a_person() -> None:
    wfp = {"verdict": "block", "reason": "filter", "layer": "ipforward_v4", "sublayer": "s", "filter": "f"}
    head = {
        "timestamp": "t",
        "proto": "UDP",
        "src_ip": "192.0.2.1",
        "src_port": 9,
        "dest_ip": "192.0.2.2",
        "dest_port": 53,
    }
    totals = {
        "pkts_toserver": 3,
        "bytes_toserver": 90,
        "pkts_toclient": 1,
        "bytes_toclient": 60,
        "state": "new",
    }
    ended = cli.describe_event(head | {"event_type": "flow", "flow": totals, "wfp": wfp | {"end": "timeout"}})
    assert ended == ("t  flow  UDP 192.0.2.1 port 9 -> 192.0.2.2 port 53  new, timeout: 3 packets (90 bytes) there, "
                     "1 (60) back  ipforward_v4 s f")  # fmt: skip
    audited = head | {"event_type": "wfp", "verdict": {"action": "pass"}, "wfp": wfp | {"audit": True}}
    assert cli.describe_event(audited).endswith("audit: would block, filter ipforward_v4 s f")


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
    capture = pathlib.Path(__file__).parents[1] / "data/captures/zeek/tcp.pcap"
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


def test_the_last_block_is_shown_and_none_is_1(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main(["events", "--last", "--socket", path]) == 1
    daemon.answer = {"timestamp": "t", "event_type": "drop", "verdict": {"action": "drop"}, "wfp": {"filter": "telnet"}}
    assert cli.main(["events", "--last", "--socket", path]) == 0
    assert "telnet" in capsys.readouterr().out


def test_check_reports_the_line_and_is_1(tmp_path, capsys) -> None:
    bad = tmp_path / "p.yaml"
    bad.write_text("version: 1\nfilters:\n  - {name: a, layer: nowhere, action: block}\n")
    assert cli.main(["check", str(bad)]) == 1
    assert ":3: " in capsys.readouterr().err
    assert cli.main(["check", "--json", str(bad)]) == 1
    assert json.loads(capsys.readouterr().out)["errors"][0]["line"] == 3


def test_check_of_a_good_policy_is_0(tmp_path, capsys) -> None:
    good = tmp_path / "p.yaml"
    good.write_text(GOOD)
    good.chmod(0o600)
    assert cli.main(["check", "--strict", "--json", str(good)]) == 0
    assert json.loads(capsys.readouterr().out)["filters"] == 2


ATTACHED = "attach:\n  - {hook: forward, queues: 7-8}\n"


@pytest.fixture
def attached(tmp_path) -> str:
    path = tmp_path / "attached.yaml"
    path.write_text(GOOD + ATTACHED)
    path.chmod(0o600)
    return str(path)


def tools(monkeypatch, tmp_path, **bodies: str) -> None:
    """Only these tools are found: shell scripts of the bodies, _ for -."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name, body in bodies.items():
        program = directory / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/called\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setattr("wfpd.checking.Commands", lambda: Commands(search_path=str(directory)))


def test_check_prints_the_rules_and_calls_nothing_that_changes_the_kernel(
    attached: str, monkeypatch, tmp_path, capsys
) -> None:
    tools(monkeypatch, tmp_path, iptables_nft_restore="exit 1", ip6tables_nft_restore="exit 1", iptables_save="true")
    assert cli.main(["check", attached]) == 0
    said = capsys.readouterr().out
    assert "rules that `wfpd run` would install:" in said and "--queue-balance 7:8 --queue-bypass" in said
    assert (tmp_path / "called").read_text() == "iptables_save\n"


def test_check_names_other_users_of_our_mark_bits(attached: str, monkeypatch, tmp_path, capsys) -> None:
    rule = "-A PREROUTING -j MARK --set-xmark 0x100000/0x100000"
    listing = f"printf '%s\\n' '*mangle' ':PREROUTING ACCEPT [0:0]' '{rule}' COMMIT"
    tools(monkeypatch, tmp_path, iptables_save=listing)
    assert cli.main(["check", attached]) == 0
    assert "other: mark: iptables mangle PREROUTING" in capsys.readouterr().out
    assert cli.main(["check", "--json", attached]) == 0
    (other,) = json.loads(capsys.readouterr().out)["others"]
    assert (other["kind"], other["text"]) == ("mark", rule)


def test_check_without_tools_notes_it_and_is_0(attached: str, monkeypatch, tmp_path, capsys) -> None:
    tools(monkeypatch, tmp_path)
    assert cli.main(["check", attached]) == 0
    assert "note: the rules cannot be shown here: neither iptables-nft nor nft" in capsys.readouterr().out
    assert cli.main(["check", "--json", attached]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["rules"], len(found["notes"])) == (True, None, 1)


def test_check_notes_a_tool_that_fails(attached: str, monkeypatch, tmp_path, capsys) -> None:
    tools(monkeypatch, tmp_path, nft="echo not allowed >&2; exit 1")
    assert cli.main(["check", attached]) == 0
    said = capsys.readouterr().out
    assert "queue" in said
    assert "note: other users of the packet path were not all seen: nft: not allowed" in said


def test_check_refuses_attachments_that_cannot_be_planned(tmp_path, capsys) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD + "attach:\n  - {hook: input, backend: nftables}\n  - {hook: output, backend: iptables}\n")
    path.chmod(0o600)
    assert cli.main(["check", str(path)]) == 1
    assert f"{path}:6: " in capsys.readouterr().err
    assert cli.main(["check", "--json", str(path)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["rules"], found["errors"][0]["line"]) == (False, None, 6)


def test_check_without_attach_notes_that_nothing_is_queued(tmp_path, capsys) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    assert cli.main(["check", str(path)]) == 0
    assert "note: there is no attach: no packet would be queued" in capsys.readouterr().out


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


def test_bench_refuses_numbers_that_are_none_or_too_large(tmp_path, capsys) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(GOOD)
    for option in (["--rounds", "0"], ["--packets", "65537"], ["--packets", "many"], ["--hook", "prerouting"]):
        with pytest.raises(SystemExit) as end:
            cli.main(["bench", "--policy", str(policy), *option])
        assert end.value.code == 2
    assert "65537" in capsys.readouterr().err


def test_bench_of_a_bad_policy_is_1_and_of_no_file_3(tmp_path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 2\n")
    assert cli.main(["bench", "--policy", str(policy)]) == 1
    assert cli.main(["bench", "--policy", str(tmp_path / "none.yaml")]) == 3
    policy.write_text(GOOD)
    assert cli.main(["bench", "--policy", str(policy), "--capture", str(tmp_path / "none.pcap")]) == 3


def test_bench_says_that_it_needs_root(tmp_path, monkeypatch, capsys) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(GOOD)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["bench", "--policy", str(policy)]) == 3
    assert "root" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["check"], ["run", "--policy"], ["replay", "x.pcap", "--policy"]])
def test_a_file_that_cannot_be_opened_is_3(command: list[str], tmp_path) -> None:
    pytest.importorskip("wfpd.daemon")
    assert cli.main([*command, str(tmp_path / "absent")]) == 3


def test_layers_are_listed_from_the_schema(capsys) -> None:
    assert cli.main(["layers", "--json"]) == 0
    layers = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert layers["inbound_transport"]["has_twin"]
    fields = {field["name"]: field for field in layers["ipforward"]["fields"]}
    assert fields["ip_ttl"]["status"] == "extension"
    assert (fields["source_sub_interface_index"]["status"], bool(fields["source_sub_interface_index"]["why"])) == (
        "empty", True)  # fmt: skip
    assert all(layer["served"] or layer["why_not"] for layer in layers.values())


def test_the_table_of_layers_names_every_layer_of_the_schema(capsys) -> None:
    assert cli.main(["layers"]) == 0
    table = capsys.readouterr().out
    assert all(layer["name"] in table for layer in layers_json())
    assert "ip_ttl" in table and "empty: " in table


def test_usage_is_2(capsys) -> None:
    for arguments in ([], ["nonsense"], ["reload", "--confirm", "soon"], ["events", "--count", "-1"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2


def test_a_fault_of_ours_is_70_with_a_report_and_no_traceback(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(layers_doc, "layers_json", lambda: 1 // 0)
    assert cli.main(["layers"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (report,) = tmp_path.glob("wfpd-report-*.txt")
    assert "ZeroDivisionError" in report.read_text() and str(report) in said
    assert cli.main(["layers", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_error_on_purpose_has_its_own_status(monkeypatch, capsys) -> None:
    def refuse() -> None:
        raise KernelError("queue 0 is taken", hint="look")

    monkeypatch.setattr(layers_doc, "layers_json", refuse)
    assert cli.main(["layers"]) == 3
    assert capsys.readouterr().err == "error: queue 0 is taken\n  hint: look\n"


def test_a_closed_pipe_is_0_without_a_message() -> None:
    child = subprocess.Popen([sys.executable, "-m", "wfpd", "layers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 0
    child.stderr.close()


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    """`wfpd` in a command line of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = command.replace("wfpd", f"{sys.executable} -m wfpd", 1)
    return subprocess.run(["sh", "-c", line], capture_output=True, env=environment, text=True, check=False)


def test_output_that_cannot_be_written_is_3_and_no_fault_of_ours(tmp_path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    capture = tmp_path / "one.pcap"
    capture.write_bytes(
        struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101, 1, 0, 20, 20)
        + bytes.fromhex("4500001400000000400b000001020304050607ff")
    )
    for command in ("wfpd layers >/dev/full", f"wfpd replay --policy {policy} --eve /dev/full {capture} >/dev/null"):
        done = in_shell(command)
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1] == "error: the output cannot be written: No space left on device"


def test_a_stream_that_the_caller_closed_leads_nowhere(tmp_path) -> None:
    assert in_shell("wfpd layers >&-").returncode == 0
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 2\n")
    done = in_shell(f"wfpd check {policy} 2>&-")
    assert (done.returncode, done.stdout) == (1, "")


def test_times_are_written_with_a_unit() -> None:
    assert [cli.seconds(text) for text in ("60s", "5m", "1h", "500ms", "7")] == [60, 300, 3600, 0.5, 7]


EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples"
HOST = ["explain", "--policy", str(EXAMPLES / "host.yaml")]
SSH = ["--hook", "input", "--proto", "tcp", "--src", "198.51.100.7:1234", "--dst", "203.0.113.10:22"]


def test_explain_is_0_for_a_permit_and_1_for_a_block(capsys) -> None:
    assert cli.main([*HOST, *SSH]) == 1
    assert "near    permit   ssh-from-offices" in capsys.readouterr().out
    permitted = [part.replace("198.51.100.7", "192.0.2.7") for part in SSH]
    assert cli.main([*HOST, *permitted, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["decision"]["filter"], document["packet"]["source_port"]) == ("ssh-from-offices", 1234)


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
    ([*SSH, "--live"], "neither --pcap nor --policy"), (["--pcap", "x.pcap", "--local", "here"], "--local"),
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


def test_diff_is_1_where_a_verdict_changes(tmp_path, capsys) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(GOOD)
    new.write_text(GOOD.replace("block", "permit"))
    assert cli.main(["diff", str(old), str(new)]) == 1
    assert "block -> permit  every packet  (a -> a)" in capsys.readouterr().out
    assert cli.main(["diff", str(old), str(old), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"format": 1, "same": True, "layers": []}
    new.write_text("version: 2\n")
    assert cli.main(["diff", str(old), str(new)]) == 1
    assert cli.main(["diff", str(old), str(tmp_path / "none.yaml")]) == 3
