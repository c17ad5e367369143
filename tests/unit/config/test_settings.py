"""`daemon:`, `faults:` and `attach:`."""

import os

import pytest

from wfpd.model.policy import Attachment, DaemonSettings, Faults, Word

HEAD = "version: 1\n"


def test_defaults_stand_where_nothing_is_said(policies):
    policy = policies.load(HEAD)
    assert policy.daemon == DaemonSettings() and policy.faults == Faults() and policy.attach == ()


def test_every_key_of_daemon_is_read(policies):
    found = policies.load(
        HEAD
        + """\
daemon:
  metrics: "[::1]:9000"
  control: {path: /tmp/c.sock, read: [adm, users], operate: ops, administer: [wheel]}
  flows: {max: 1000, full: block}
  streams: {max: 500, memory: 1000000, pending: 65536, history: 0}
  pended: {max: 9, memory: 5000}
  marks: {mask: 0x0fff0000}
  events: [journald, {file: /var/log/eve.json}]
  callout_path: [/opt/callouts, mine]
  workers: 3
  realtime: false
  metrics_filters: 7
"""
    ).daemon
    assert found == DaemonSettings(
        metrics="[::1]:9000",
        control_path="/tmp/c.sock",
        control_read=("adm", "users"),
        control_operate=("ops",),
        control_administer=("wheel",),
        flows_max=1000,
        flows_full=Word.BLOCK,
        streams_max=500,
        streams_memory=1000000,
        streams_pending=65536,
        streams_history=0,
        pended_max=9,
        pended_memory=5000,
        marks_mask=0x0FFF0000,
        events=({"type": "journald"}, {"type": "file", "path": "/var/log/eve.json"}),
        callout_path=("/opt/callouts", os.path.join(str(policies.folder), "mine")),
        workers=3,
        realtime=False,
        metrics_filters=7,
    )


def test_workers_auto_is_the_cpu_count(policies):
    assert policies.load(HEAD + "daemon: {workers: auto}\n").daemon.workers == 0


@pytest.mark.parametrize(
    "body",
    ["metrics: 9477", "metrics: 127.0.0.1:99999", "metrics: ::1:80", "metrics: example.org:80",
     "control: {path: run/x}",
     "control: {paths: /x}", "flows: {max: 0}", "flows: {full: drop}", "streams: {max: 0}", "streams: {memory: lots}",
     "streams: {pending: 8388609}", "pended: {max: 0}", "pended: {max: 65537}", "pended: {bytes: 5}",
     "marks: {mask: 0xff}", "marks: {mask: 0}",
     "marks: {mask: 0xf0f0f000}", "events: [syslog]", "events: [{fil: x}]", "events: [{file: x}]", "workers: 0",
     "workers: few", "realtime: often", "metrics_filters: -1", "metric: x", "callout_path: [[]]"],
)  # fmt: skip
def test_wrong_settings_are_refused_on_their_line(policies, body):
    problems = policies.errors(HEAD + f"daemon:\n  {body}\n")
    assert all(problem.location.line == 3 for problem in problems)


def test_every_word_of_faults_is_read(policies):
    words = "".join(f"  {name}: block\n" for name in ("on_absent", "on_full", "on_late", "on_error", "on_malformed"))
    found = policies.load(HEAD + "faults:\n" + words + "  late_after: 2s\n").faults
    assert found == Faults(Word.BLOCK, Word.BLOCK, Word.BLOCK, Word.BLOCK, Word.BLOCK, 2.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2.0), ("1m", 60.0), ("1h", 3600.0), ("1500us", 0.0015)]
)
def test_durations(policies, text, seconds):
    assert policies.load(HEAD + f"faults: {{late_after: {text}}}\n").faults.late_after == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["500", "0.5s", "1 s", "-1s", "0s", "2h", "1d", "s"])
def test_what_is_no_duration_is_refused(policies, text):
    assert "late_after" in policies.error(HEAD + f"faults: {{late_after: {text}}}\n").message


@pytest.mark.parametrize("body", ["on_full: drop", "on_fulll: permit", "on_full: [block]"])
def test_wrong_faults_are_refused(policies, body):
    assert policies.error(HEAD + f"faults:\n  {body}\n").location.line == 3


def test_every_key_of_attach_is_read(policies):
    text = HEAD + (
        "attach:\n  - {hook: input, interfaces: [eth0, 'wg*'], families: [v6], queues: 4-7, balance: flows,"
        " backend: nftables, defragment: false}\n  - {hook: output, interfaces: lo, queues: 3}\n"
    )
    first, second = policies.load(text).attach
    assert first == Attachment(
        "input", ("eth0", "wg*"), (6,), (4, 7), "flows", "nftables", False, location=first.location
    )
    assert second.queues == (3, 3) and second.interfaces == ("lo",) and second.families == (4, 6)
    assert (first.location.line, second.location.line) == (3, 4)


@pytest.mark.parametrize(
    "body",
    ["interfaces: [eth0]", "hook: ingress", "hook: input, queues: 3-1", "hook: input, queues: 70000",
     "hook: input, queues: a", "hook: input, queues: 0-999", "hook: input, families: [v5]", "hook: input, families: []",
     "hook: input, balance: cpu", "hook: input, backend: bpf", "hook: input, interfaces: [a/b]",
     "hook: input, interfaces: ['e*h']", "hook: input, interfaces: [sixteencharacter]",
     "hook: input, defragment: maybe", "hook: input, queue: 1"],
)  # fmt: skip
def test_wrong_attachments_are_refused(policies, body):
    assert policies.errors(HEAD + f"attach:\n  - {{{body}}}\n")[0].location.line == 3


@pytest.mark.parametrize(("address", "lints"), [("127.0.0.1:9477", 0), ("localhost:9477", 0), ('"[::1]:9477"', 0),
                                                ("0.0.0.0:9477", 1), ('"[2001:db8::1]:9477"', 1)])  # fmt: skip
def test_metrics_for_others_than_this_host_are_a_lint(policies, address, lints):
    found = policies.load(f"version: 1\ndaemon: {{metrics: {address}}}\n").lints
    assert len(found) == lints and all("whoever reaches" in lint.message for lint in found)
