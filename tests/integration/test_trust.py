"""Who is trusted, as a user meets it: each case that is refused, refused by the program itself.

What the program is shown here from outside, and what others of its tests show closer by (`ELSEWHERE`):

| whom or what | refused |
|---|---|
| policy, include, set file: another owner, writable by group or others | by run; a warning of check |
| the directory of one, or of a link to it, that others may write; a directory of callouts | the same |
| callouts from the working directory | by run and replay; check imports none at all |
| control: a stranger, a role below the method | the connection, the call |
| metrics: another method, long or slow headers, many connections | by status, or by closing |
| state directory: anybody else | mode 0700 |
| names, limits, patterns, captures, code in data, the caller's namespace | `ELSEWHERE` |
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.netns import Network, wait_until
from tests.integration.running import Wfpd
from wfpd.client import InvalidCall
from wfpd.control import connection, limits, peer, protocol
from wfpd.observe.exporter import MAX_CONNECTIONS, MAX_HEADER_BYTES, REQUEST_TIMEOUT

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
PERMIT = "  - {name: all, layer: ipforward, action: permit}"
ELSEWHERE = {
    "names are printable ASCII of at most 128 characters":
        "unit/config/test_filters.py::test_names_are_printable_ascii_of_at_most_128_characters",
    "what came from a packet is escaped": "unit/observe/test_events.py::test_hostile_names_stay_inside_one_ascii_line",
    "every limit is documented": "unit/config/test_limits.py::test_every_limit_is_in_the_documentation",
    "patterns run in linear time": "unit/dataplane/test_table.py::test_a_glob_of_many_stars_over_a_long_text_ends",
    "includes with absurd patterns": "unit/config/test_files.py::test_a_pattern_with_too_many_wildcards_is_refused",
    "a capture that claims an absurd length":
        "unit/test_capture.py::test_an_absurd_length_is_an_error_and_not_an_allocation",
    "the kept state is data, checked": "unit/netfilter/test_kept.py::test_what_no_policy_could_ask_for_is_refused",
    "a long line on the control socket": "unit/control/test_admin.py::test_a_line_over_the_limit_ends_the_connection",
    "silence on the control socket": "unit/control/test_admin.py::test_who_says_nothing_is_disconnected",
    "clients that mean harm": "integration/test_control_hostile.py::"
        "test_one_who_administers_is_answered_and_the_server_stays_within_its_bounds",
    "the caller's namespace": "unit/lab/test_network.py::test_nothing_runs_in_the_callers_own_namespace",
}  # fmt: skip


@pytest.mark.parametrize("case", ELSEWHERE)
def test_what_is_shown_elsewhere_is_there(case: str) -> None:
    path, _, name = ELSEWHERE[case].partition("::")
    assert re.search(rf"^def {name}\b", (ROOT / "tests" / path).read_text(), re.MULTILINE)


def test_the_limits_of_the_control_socket_and_the_metrics_are_documented_as_they_are() -> None:
    control, metrics = ((ROOT / "docs" / name).read_text() for name in ("control.md", "metrics.md"))
    assert f"| a request line | {protocol.MAX_LINE:,} bytes" in control
    assert f"| connections | {limits.MAX_CONNECTIONS} in all, {limits.RESERVED} of them" in control
    assert f"{limits.MAX_OF_USER} of one user" in control
    assert f"| silence before `hello` | {connection.HELLO_TIMEOUT:.0f} s;" in control
    assert f"| a begun line | complete after {connection.LINE_TIMEOUT:.0f} s |" in control
    assert f"disconnected after {connection.WRITE_TIMEOUT:.0f} s" in control
    assert f"{peer.MAX_WAITING:,} notifications or {peer.MAX_WAITING_BYTES // 2**20} MiB" in control
    assert f"{limits.WAITING_BYTES // 2**20} MiB of one user" in control
    assert f"| subscribers of events | {limits.SUBSCRIBERS_OF_USER} of one user" in control
    assert f"{limits.SUBSCRIBERS} in all" in control
    assert f"{limits.CALLS_OF_USER} of one user, {limits.CALLS} in all" in control
    assert f"{limits.SHARE_OF_USER:.0%} of one processor" in control and f"{limits.SHARE:.0%} together" in control
    assert f"at most {MAX_HEADER_BYTES // 1024} KiB within {REQUEST_TIMEOUT:.0f} s" in metrics
    assert f"at most {MAX_CONNECTIONS} connections at once" in metrics


def test_nothing_makes_code_of_data() -> None:
    made = re.compile(
        r"^\s*(import|from) (pickle|marshal|shelve)\b|\byaml\.(load|unsafe_load)\b|(?<![\w.])(eval|exec)\("
    )
    for path in [*(ROOT / "wfpd").rglob("*.py"), *(ROOT / "ext").rglob("*.pyx")]:
        for line in path.read_text().splitlines():
            assert not made.search(line), f"{path}: {line}"


def program(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`wfpd` with the checkout on its path, from any directory."""
    return subprocess.run([sys.executable, "-m", "wfpd", *arguments], capture_output=True, text=True, timeout=60,
                          cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)  # fmt: skip


FILES = """version: 1
include: [conf.d/more.yaml]
sets: {some: {type: port, file: lists/ports.txt}}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A policy of three files."""
    folder = tmp_path / "policy"
    for name, text in (("policy.yaml", FILES), ("conf.d/more.yaml", "filters: []\n"),
                       ("lists/ports.txt", "22\n")):  # fmt: skip
        (folder / name).parent.mkdir(mode=0o755, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    return folder


def spoil_owner(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


SPOILT = {
    "another owner": spoil_owner,
    "writable by the group": lambda path: path.chmod(0o664),
    "writable by others": lambda path: path.chmod(0o646),
    "a directory for everybody": lambda path: path.parent.chmod(0o777),
}


@pytest.mark.root
@pytest.mark.parametrize("which", ["policy.yaml", "conf.d/more.yaml", "lists/ports.txt"])
@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_others_can_change_is_refused_by_run_and_warned_of_by_check(
    net: Network, files: Path, how: str, which: str
) -> None:
    policy = str(files / "policy.yaml")
    assert program("check", policy).returncode == 0
    SPOILT[how](files / which)
    checked = program("check", policy)
    assert checked.returncode == 0 and "run refuses it" in checked.stdout + checked.stderr
    assert program("check", "--strict", policy).returncode == 1
    command = [sys.executable, "-m", "wfpd", "run", "--policy", policy]
    done = net.router.run(command, check=False, timeout=30)
    assert done.returncode == 1, done.stderr
    assert re.search("owned by uid|group or others", done.stderr) and which in done.stderr
    assert "WFPD" not in net.router.rules()


PLANTED = "import pathlib\npathlib.Path({marker!r}).touch()\nclass C:\n    def classify(self, c): pass\n"
CALLS = """version: 1
daemon: {{metrics: "127.0.0.1:9477", control: {{path: {socket}}}, callout_path: [{path}]}}
callouts: [{{name: one, use: "planted:C"}}]
filters: [{{name: ask, layer: ipforward, action: {{callout: one}}}}]
"""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A directory with a module that leaves a mark when it is imported, and a policy elsewhere that names it."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "planted.py").write_text(PLANTED.format(marker=str(tmp_path / "imported")))
    return folder


def calls(tmp_path: Path, path: str = "") -> str:
    policy = tmp_path / "policy.yaml"
    policy.write_text(CALLS.format(socket=tmp_path / "c.sock", path=path))
    policy.chmod(0o644)
    return str(policy)


CAPTURE = str(ROOT / "docs" / "examples" / "gateway.pcap")


@pytest.mark.root
@pytest.mark.parametrize("command", ["run", "replay"])
def test_the_working_directory_is_never_imported_from(
    net: Network, tmp_path: Path, planted: Path, command: str
) -> None:
    more = [CAPTURE] if command == "replay" else []
    done = net.router.call(program, command, "--policy", calls(tmp_path), *more, cwd=planted)
    assert done.returncode == 1 and "planted" in done.stderr, done.stderr
    assert not (tmp_path / "imported").exists()


def test_replay_imports_from_callout_path(tmp_path: Path, planted: Path) -> None:
    done = program("replay", "--policy", calls(tmp_path, str(planted)), CAPTURE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "imported").exists()


def test_check_imports_no_callout_wherever_it_lies(tmp_path: Path, planted: Path) -> None:
    for path in ("", str(planted)):
        assert program("check", calls(tmp_path, path), cwd=planted).returncode == 0
    assert not (tmp_path / "imported").exists()


# ------------------------------------------------------------------------------------ control socket

ASK = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except PermissionError:
    print(json.dumps("no permission")); sys.exit()
f = s.makefile("rw")
answers = []
for n, (method, params) in enumerate([("hello", {"version": 1})] + [(m, {}) for m in sys.argv[2:]]):
    f.write(json.dumps({"jsonrpc": "2.0", "id": n, "method": method, "params": params}) + "\\n"); f.flush()
    line = f.readline()
    if not line:
        break
    answers.append(json.loads(line))
print(json.dumps(answers))
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user may pass through, as /run/wfpd is."""
    folder = Path(f"/run/wfpd-test-{secrets.token_hex(4)}")
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def started(wfpd: Wfpd, reachable: Path, roles: str) -> None:
    wfpd.socket = reachable / "control.sock"
    wfpd.write(PERMIT)
    text = wfpd.policy.read_text()
    wfpd.policy.write_text(text.replace(f"{{path: {wfpd.socket}}}", f"{{path: {wfpd.socket}{roles}}}"))
    wfpd.start()


def as_nobody(wfpd: Wfpd, *methods: str) -> list[dict[str, dict[str, object]]] | str:
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", ASK, str(wfpd.socket), *methods], user=NOBODY, group=NOBODY,
                          extra_groups=[], capture_output=True, text=True, timeout=30, check=True)  # fmt: skip
    answer: list[dict[str, dict[str, object]]] | str = json.loads(done.stdout)
    return answer


GROUP = grp.getgrgid(NOBODY).gr_name


@pytest.mark.root
def test_a_stranger_does_not_reach_the_control_socket(wfpd: Wfpd, reachable: Path) -> None:
    started(wfpd, reachable, "")
    status = wfpd.socket.stat()
    assert stat.S_IMODE(status.st_mode) == 0o660 and status.st_uid == 0
    assert as_nobody(wfpd, "status") == "no permission"
    wfpd.socket.chmod(0o666)  # Were it open to all, the daemon would still ask the kernel who is there.
    hello, *more = as_nobody(wfpd, "status")
    assert isinstance(hello, dict) and "no role" in str(hello["error"]["message"])
    assert all("error" in one for one in more)


@pytest.mark.root
@pytest.mark.parametrize(("role", "reloads"), [("read", False), ("operate", True), ("administer", True)])
def test_a_role_reaches_as_far_as_it_says_and_a_change_is_logged_with_its_author(
    wfpd: Wfpd, reachable: Path, role: str, reloads: bool
) -> None:
    roles = f", read: [{GROUP}]" if role == "read" else f", read: [{GROUP}], {role}: [{GROUP}]"
    started(wfpd, reachable, roles)
    hello, status, reload = as_nobody(wfpd, "status", "reload")
    assert isinstance(hello, dict) and isinstance(status, dict) and isinstance(reload, dict)
    assert hello["result"]["role"] == role and "result" in status
    log = wfpd.log.read_text()
    if reloads:
        assert reload["result"]["successful"] and wfpd.status()["generation"] == 2
        assert re.search(rf"reload by uid {NOBODY} pid \d+: 'done', before enforcing, generation 1, "
                         "after enforcing, generation 2", log), log  # fmt: skip
    else:
        assert "needs the role operate" in str(reload["error"]["message"])
        assert wfpd.status()["generation"] == 1 and "reload by" not in log


@pytest.mark.root
def test_no_call_takes_a_policy_or_a_callout_with_it(wfpd: Wfpd, tmp_path: Path, planted: Path) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    text = calls(planted, str(planted))
    for name in ("policy", "path", "file", "use"):
        with pytest.raises(InvalidCall, match=f"reload has no parameter '{name}'"):
            wfpd.call("reload", **{name: text})
    assert wfpd.status()["generation"] == 1
    assert not (tmp_path / "imported").exists()


@pytest.mark.root
def test_the_state_directory_is_the_daemons_alone(wfpd: Wfpd) -> None:
    (wfpd.folder / "state").mkdir(mode=0o777)
    wfpd.write(PERMIT)
    wfpd.start()
    kept = wfpd.folder / "state" / "words.json"
    assert wait_until(kept.exists)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept.parent, kept)] == [0o700, 0o600]


# ------------------------------------------------------------------------------------------- metrics


def ask(net: Network, request: bytes) -> bytes:
    """One connection to the metrics; what comes back until it ends."""
    with net.router.socket(kind=socket.SOCK_STREAM) as sock, contextlib.suppress(ConnectionError):
        sock.settimeout(15)
        sock.connect(("127.0.0.1", 9477))
        sock.sendall(request)
        answer = b""
        while part := sock.recv(65536):
            answer += part
        return answer
    return b""


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.root
def test_metrics_answer_get_on_loopback_and_nothing_else(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    assert ask(net, GET).startswith(b"HTTP/1.1 200")
    for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"):
        assert ask(net, GET.replace(b"GET", method)).startswith(b"HTTP/1.1 405"), method
    assert ask(net, GET.replace(b"Host: x", b"X: " + b"a" * 2 * MAX_HEADER_BYTES))[:12] in (b"HTTP/1.1 431", b"")
    assert ask(net, GET.replace(b"/metrics", b"/../../etc/passwd")).startswith(b"HTTP/1.1 404")
    with pytest.raises(OSError):
        net.tcp_connect(net.client, 9477, to="10.201.1.1", timeout=1.0).close()


@pytest.mark.root
def test_slow_and_many_scrapers_take_nothing_but_their_own_places(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    with contextlib.ExitStack() as held:
        for _ in range(MAX_CONNECTIONS):
            sock = held.enter_context(net.router.socket(kind=socket.SOCK_STREAM))
            sock.connect(("127.0.0.1", 9477))
            sock.sendall(b"GET /metrics HTTP/1.1\r\nX: ")  # And never the end.
        assert wait_until(lambda: ask(net, GET)[:12] in (b"HTTP/1.1 503", b""))
        with net.udp_receiver(net.server, 5000) as receiver:
            assert net.send_udp(net.client, 200, 64, 5000) == 200
            assert receiver.wait_for(200)
        assert wfpd.status()["enforcing"]
        assert wait_until(lambda: ask(net, GET).startswith(b"HTTP/1.1 200"), 15.0, 0.2)  # Their time is over.
