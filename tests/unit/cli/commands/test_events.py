import json

from tests.unit.cli.answering import Daemon
from wfpd import cli
from wfpd.cli.commands.events import describe_event
from wfpd.observe.record import EventRecord


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
    ended = describe_event(head | {"event_type": "flow", "flow": totals, "wfp": wfp | {"end": "timeout"}})
    assert ended == ("t  flow  UDP 192.0.2.1 port 9 -> 192.0.2.2 port 53  new, timeout: 3 packets (90 bytes) there, "
                     "1 (60) back  ipforward_v4 s f")  # fmt: skip
    audited = head | {"event_type": "wfp", "verdict": {"action": "pass"}, "wfp": wfp | {"audit": True}}
    assert describe_event(audited).endswith("audit: would block, filter ipforward_v4 s f")


def test_the_last_block_is_shown_and_none_is_1(daemon: Daemon, path: str, capsys) -> None:
    assert cli.main(["events", "--last", "--socket", path]) == 1
    daemon.answer = {"timestamp": "t", "event_type": "drop", "verdict": {"action": "drop"}, "wfp": {"filter": "telnet"}}
    assert cli.main(["events", "--last", "--socket", path]) == 0
    assert "telnet" in capsys.readouterr().out


def test_a_suspended_callout_is_shown_to_a_person() -> None:
    event = {"timestamp": "now", "event_type": "callout",
             "callout": {"name": "slow", "state": "suspended", "slow_calls": 5, "skipped": 0}}  # fmt: skip
    assert describe_event(event) == "now  callout slow is suspended: 5 slow calls, 0 not made, since the start"
