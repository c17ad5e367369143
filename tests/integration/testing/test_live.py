"""Callouts in the daemon by the fixture `live_callout`: Python and compiled, at the host and at the router."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from wfpd.callouts.counting import Counting
from wfpd.errors import ControlError, PolicyError, UsageError
from wfpd.netfilter.namespace import path_of
from wfpd.testing.live import CalloutFailed, LiveCallout, root_of, use_of, without

pytestmark = pytest.mark.usefixtures("needs_root")
ROOT = Path(__file__).resolve().parents[3]


class Polite:
    """Blocks a word, resets connections to a port, breaks at another word."""

    def __init__(self, word: str = "no", port: int = 0) -> None:
        self.word, self.port = word.encode(), port

    def classify(self, c: Any) -> None:
        data = bytes(c.payload)
        if data == b"boom":
            raise LookupError("as told")
        if data == self.word or c.values.get("ip_local_port") == self.port:
            c.block(clear_right=True, reply="tcp_reset" if c.values["ip_protocol"] == 6 else None)


@pytest.mark.parametrize("family", [4, 6])
def test_a_callout_decides_real_packets_to_the_server(live_callout: LiveCallout, family: int) -> None:
    live = live_callout(Polite, word="stop", port=5001, layer="inbound_transport")
    assert live.udp(b"hello", 5000, family=family) == b"hello"
    assert live.udp(b"stop", 5000, family=family, timeout=0.3) is None
    assert live.tcp(b"hello", 5000, family=family) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        live.tcp(b"hello", 5001, family=family)
    assert live.calls > 4 and live.errors == 0


def test_a_layer_of_forwarded_packets_is_at_the_router(live_callout: LiveCallout) -> None:
    live = live_callout(Counting, layer="ipforward", when={"ip_protocol": "udp"})
    assert live.udp(b"hello", 5000, reverse=True) == b"hello"
    assert "NFQUEUE" in live.router.rules() and "NFQUEUE" not in live.server.rules()
    (shown,) = live.ask("callouts.list")["objects"]
    assert shown["class"] == "wfpd.callouts.counting:Counting"
    assert live.hits("ask-ipforward") == 2


def test_what_a_callout_raises_fails_the_end_unless_it_is_expected() -> None:
    for on_error in (None, "permit"):
        live = LiveCallout()
        try:
            live(Polite, layer="inbound_transport", on_error=on_error)
            assert (live.udp(b"boom", 5000, timeout=0.5) == b"boom") or on_error is None
            assert live.errors == 1
            if on_error:
                live.check()
            else:
                with pytest.raises(CalloutFailed, match="as told"):
                    live.check()
        finally:
            live.close()


def test_a_policy_file_runs_with_its_callouts_and_what_it_includes(live_callout: LiveCallout, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    (tmp_path / "more.yaml").write_text(
        "version: 1\nfilters: [{name: g, layer: ipforward, action: block, when: {ip_destination_port: 5002}}]\n"
    )
    path.write_text(
        "version: 1\nattach: [{hook: forward}]\ninclude: [more.yaml]\ndaemon: {metrics: 127.0.0.1:1}\n"
        'callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed", options: {answer: block}}]\n'
        "filters: [{name: f, layer: ipforward, action: {callout: c}, when: {ip_destination_port: 5001}}]\n"
    )
    live = live_callout.policy(path)
    assert live.udp(b"x", 5000) == b"x"
    assert live.udp(b"x", 5001, timeout=0.3) is None and live.udp(b"x", 5002, timeout=0.3) is None
    with pytest.raises(UsageError, match="runs already"):
        live.policy(path)
    live.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["more.yaml", "policy.yaml"]


def test_a_policy_in_json_runs_too(live_callout: LiveCallout, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(
        '{"version": 1, "attach": [{"hook": "input"}], "filters": [{"name": "f", "layer": "inbound_transport", '
        '"action": "block", "when": {"ip_local_port": 5001}}]}'
    )
    live = live_callout.policy(path)
    assert live.udp(b"x", 5000) == b"x" and live.udp(b"x", 5001, timeout=0.3) is None


def test_what_is_cut_out_of_a_policy_leaves_the_rest_as_it_stands() -> None:
    text = "# first\nversion: 1\ndaemon:\n  workers: 1\n  # of it\nfilters:\n- {name: a}  # 0x10\nattach: []\n"
    assert without(text, ("daemon", "attach")) == "# first\nversion: 1\nfilters:\n- {name: a}  # 0x10\n"
    assert without('{"version": 1, "daemon": {}}', ("daemon",)) == {"version": 1}
    with pytest.raises(UsageError, match="flow mapping"):
        without("{version: 1}", ("daemon",))


def test_what_cannot_run_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    live = LiveCallout()
    names = [space.name for space in (live.client, live.router, live.server)]
    try:
        with pytest.raises(UsageError, match="takes a class"):
            live(Polite(), layer="ipforward")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="at the top of a module"):
            live(type("Local", (), {"__qualname__": "f.<locals>.Local"}), layer="ipforward")
        with pytest.raises(UsageError, match="one of router"):
            live(Polite, layer="ipforward", at="moon")
        (tmp_path / "a.yaml").write_text("version: 1\nfilters: 5\n")
        with pytest.raises(PolicyError):
            live.policy(tmp_path / "a.yaml")
        with pytest.raises(ControlError, match=r"(?s)status 1.*unexpected keyword"):
            live(Polite, no_such_option=1, layer="ipforward")
    finally:
        live.close()
    assert not any(path_of(name).exists() for name in names)


def test_a_class_is_found_by_its_module() -> None:
    assert use_of(Polite).endswith(":Polite") and use_of(Counting) == "wfpd.callouts.counting:Counting"
    assert Path(root_of(Polite), *Polite.__module__.split(".")).with_suffix(".py") == Path(__file__).resolve()
    assert root_of(type("Lost", (), {"__module__": "no.such.module"})) == ""
    assert Path(root_of(types.SimpleNamespace), "types.py").exists()


def test_a_failure_shows_what_the_daemon_said(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "class Fine:\n    def classify(self, c):\n        pass\n\n"
        "def test_it(live_callout):\n    live_callout(Fine, layer='ipforward')\n    assert not 'this'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "wfpd.testing.plugin", "-c", os.devnull, "--rootdir", str(tmp_path),
         "-p", "no:cacheprovider", str(tmp_path / "test_it.py")],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert "assert not 'this'" in done.stdout and "1 failed in" in done.stdout
    assert "- wfpd: what the daemon said -" in done.stdout and "INFO: wfpd is enforcing (queue 0" in done.stdout
