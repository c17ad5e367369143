"""The plug-in as a test of somebody else uses it: fixtures, what a failure shows, the end of callouts, proven skips."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.proven import OTHER_USER, need_other_user, need_root, open_directory
from wfpd.testing.plugin import Callouts

ROOT = Path(__file__).resolve().parents[3]
OWN = ("PYTEST_ADDOPTS", "PYTEST_DEBUG_TEMPROOT", "TMPDIR", "TEMP", "TMP")
"""Of the run that this test is part of: its directories may be closed to who runs the inner one."""
HEAD = """
class Port:
    def __init__(self, port=23, layer=""):
        self.port = port
    def classify(self, c):
        if c.values["ip_local_port"] == self.port:
            c.block(reply="tcp_reset")
        if bytes(c.payload) == b"boom":
            raise LookupError("as told")
    def close(self):
        print("closed", self.port)
        if self.port == 99:
            raise LookupError("at the end")
"""


def outcome(folder: Path, text: str, *options: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit status and output of pytest on a file in a directory that is no part of wfpd."""
    path = folder / "test_it.py"
    path.write_text(HEAD + text)
    command = [*before, sys.executable, "-m", "pytest", "-p", "wfpd.testing.plugin", "-p", "no:cacheprovider", "-c",
               os.devnull, "--rootdir", str(folder), *options, str(path)]  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run(command, cwd=folder, env=kept | {"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, timeout=120, check=False)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


class Blocks:
    """Blocks all."""

    def __init__(self, layer: str = "") -> None:
        self.layer = layer

    def classify(self, c: Any) -> None:
        c.block()


def test_the_fixture_makes_callouts_with_their_options(callout: Callouts) -> None:
    run = callout(Blocks, layer="inbound_transport", options={"layer": "mine"})
    assert run.instance.layer == "mine"
    assert run.packet(dport=1).verdict == "block"


def test_a_failure_shows_the_packets_and_why(tmp_path: Path) -> None:
    status, said = outcome(tmp_path, """
def test_it(callout):
    run = callout(Port, layer="inbound_transport")
    assert run.packet(dport=24).verdict == "permit"
    assert run.packet(dport=23).verdict == "permit"
""")  # fmt: skip
    assert status == 1
    assert "wfpd: packets of callout 1" in said
    assert "     1  permit" in said and "reply tcp_reset (asked at inbound_transport_v4)" in said
    assert "match   callout  ask-inbound_transport  answers block" in said
    assert "closed 23" in said


def test_what_a_callout_raises_fails_the_test_with_its_own_lines(tmp_path: Path) -> None:
    status, said = outcome(tmp_path, """
def test_it(callout):
    callout(Port, layer="inbound_transport").packet(dport=24, payload=b"boom")
def test_expected(callout):
    run = callout(Port, layer="inbound_transport", on_error="block")
    assert run.packet(dport=24, payload=b"boom").reason == "error"
def test_end(callout):
    callout(Port, port=99, layer="inbound_transport")
""")  # fmt: skip
    assert status == 1 and "2 passed" in said and "1 failed" in said and "1 error" in said
    assert (
        '>           raise LookupError("as told")' in said and "wfpd/testing/callouts.py" not in said.split("ERROR")[0]
    )
    assert "LookupError: at the end" in said


def test_a_policy_file_is_run_by_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nfilters: [{name: f, layer: inbound_transport, action: block, when: {ip_local_port: 23}}]\n"
    )
    status, said = outcome(tmp_path, """
def test_it(callout):
    assert callout.policy("policy.yaml").packet(dport=23).filter == "f"
""")  # fmt: skip
    assert status == 0, said


LIVE = """
def test_live(live_callout):
    live_callout(Port, layer="inbound_transport")
def test_other():
    pass
"""


def test_live_tests_have_a_marker(tmp_path: Path) -> None:
    status, said = outcome(tmp_path, LIVE, "-m", "not wfpd_live", "--strict-markers")
    assert status == 0 and "1 passed, 1 deselected" in said


@pytest.mark.parametrize("closed", [False, True], ids=["", "closed to others"])
def test_without_root_a_live_test_is_skipped_and_says_why_or_fails_if_it_must_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    need_root()
    need_other_user()
    if closed:  # As where several runs share a directory for temporary files that is another user's.
        tmp_path.chmod(0o700)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setenv("PYTEST_ADDOPTS", f"--basetemp={tmp_path / 'base'}")
    with open_directory() as folder:
        status, said = outcome(folder, LIVE, "-rs", before=OTHER_USER)
        assert status == 0 and "1 passed, 1 skipped" in said and "need root; running as uid 65534" in said
        status, said = outcome(folder, LIVE, "--wfpd-live", before=OTHER_USER)
        assert status == 1 and "--wfpd-live says that this test must run" in said


@pytest.mark.parametrize(
    ("broken", "reason"),
    [("network.IPV6 = Path('/proc/sys/net/ipv9')", "this kernel has no IPv6"),
     ("def fails(*_): raise FileNotFoundError(2, 'as told', '/proc/sys/net/x')\nNamespace.sysctl = fails",
      "here: [Errno 2] as told: '/proc/sys/net/x'"),
     ("Line.why_no_queue = lambda self: 'no NFQUEUE here: as told'", "no NFQUEUE here: as told"),
     ("def build(self): raise KernelError('ip is not installed')\nLine.build = build", "here: ip is not installed")],
)  # fmt: skip
def test_where_no_network_or_queue_can_be_made_it_is_skipped_and_says_why(
    tmp_path: Path, broken: str, reason: str
) -> None:
    need_root()
    (tmp_path / "conftest.py").write_text(
        "from pathlib import Path\nfrom wfpd.errors import KernelError\nfrom wfpd.testing import network\n"
        f"from wfpd.testing.network import Line, Namespace\n{broken}\n"
    )
    status, said = outcome(tmp_path, LIVE, "-rs")
    assert status == 0 and "1 passed, 1 skipped" in said and reason in said
    status, said = outcome(tmp_path, LIVE, "--wfpd-live")
    assert status == 1 and f"{reason}; and --wfpd-live" in said


@pytest.mark.usefixtures("callout")
def test_a_test_that_makes_no_callout_is_none_the_worse(request: pytest.FixtureRequest) -> None:
    assert "callout" in request.fixturenames


def test_no_other_module_imports_pytest() -> None:
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "wfpd").rglob("*.py")
             if re.search(r"^\s*(import|from) pytest\b", path.read_text(), re.MULTILINE)]  # fmt: skip
    assert found == ["wfpd/testing/plugin.py"]
