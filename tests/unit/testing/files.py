"""A policy and files of tests for it, for the tests of `wfpd test`."""

from __future__ import annotations

from pathlib import Path

from wfpd.testing.cases import Case, Suite
from wfpd.testing.reading import read_suites
from wfpd.testing.running import Result, Runner, SuiteResult

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
POLICY = """\
version: 1
sublayers: [{name: first, weight: 0x9000}]
callouts:
  - {name: watch, use: "wfpd.callouts.fixed:Fixed", options: {answer: block}}
  - {name: broken, use: "no_such_module:Class"}
filters:
  - {name: web, layer: ipforward, action: permit, when: {ip_protocol: tcp, ip_destination_port: [80, 443]}}
  - {name: tcp, layer: ipforward, action: block, weight: {range: 0}, when: {ip_protocol: tcp}}
  - {name: asks, layer: ipforward, sublayer: first, action: {callout: watch, kind: unknown}, when: {ip_protocol: udp}}
  - {name: noted, layer: ipforward, action: block, mode: audit, when: {ip_protocol: gre}}
  - {name: ssh, layer: ale_auth_recv_accept, action: permit, when: {ip_local_port: 22}}
  - {name: in, layer: ale_auth_recv_accept, action: block, weight: {range: 0}}
"""
HEAD = """\
version: 1
policy: policy.yaml
defaults: {hook: forward, proto: tcp, src: 192.0.2.1, dst: 198.51.100.2:80}
cases:
"""


def write(directory: Path, cases: str, policy: str = POLICY, head: str = HEAD) -> str:
    """The path of a test file beside its policy."""
    (directory / "policy.yaml").write_text(policy)
    path = directory / "a.test.yaml"
    path.write_text(head + cases)
    return str(path)


def suite(directory: Path, cases: str, policy: str = POLICY, head: str = HEAD) -> Suite:
    (found,) = read_suites([write(directory, cases, policy, head)], None)
    return found


def case(directory: Path, text: str) -> Case:
    """The only case of a file."""
    (found,) = suite(directory, f"  - {{name: it, {text}}}\n").cases
    return found


def ran(directory: Path, cases: str, coverage: bool = False, policy: str = POLICY) -> tuple[SuiteResult, Runner]:
    runner = Runner(coverage=coverage)
    return runner.run(suite(directory, cases, policy)), runner


def result(directory: Path, text: str, policy: str = POLICY) -> Result:
    """What became of the only case."""
    found, _ = ran(directory, f"  - {{name: it, {text}}}\n", policy=policy)
    (one,) = found.results
    return one
