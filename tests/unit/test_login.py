"""The login that a policy would cut off."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest

from wfpd.config import load_policy
from wfpd.errors import UsageError
from wfpd.explaining import bare_snapshot
from wfpd.login import CutOff, Login, cut_off, find_login, parse_login
from wfpd.model.policy import Policy

CLIENT, SERVER = ipaddress.ip_address("198.51.100.9"), ipaddress.ip_address("203.0.113.10")
LOGIN = Login(CLIENT, 40000, SERVER, 22)


def loaded(tmp_path: Path, filters: str, attach: str = "{hook: input}, {hook: output}") -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\nattach: [{attach}]\ncallouts: [{{name: c, use: 'wfpd.callouts.fixed:Fixed'}}]\n"
                    f"filters:\n{filters}")  # fmt: skip
    return load_policy(str(path), trust="warn")


def told(policy: Policy, login: Login = LOGIN) -> CutOff | None:
    return cut_off(policy, bare_snapshot(policy), login)


def test_both_directions_of_the_connection_that_stands_and_of_a_new_one_are_tried(tmp_path: Path) -> None:
    inbound = "  - {name: a, layer: inbound_transport, action: block, when: {ip_protocol: tcp, ip_local_port: 22}}\n"
    assert told(loaded(tmp_path, inbound)) == CutOff("the connection that stands", "inbound_transport_v4", "a")
    outbound = "  - {name: a, layer: outbound_transport, action: block, when: {ip_protocol: tcp, ip_local_port: 22}}\n"
    assert told(loaded(tmp_path, outbound)) == CutOff(
        "the answer of the connection that stands", "outbound_transport_v4", "a"
    )
    syn = "  - {name: a, layer: inbound_transport, action: block, when: {ip_protocol: tcp, tcp_flags: [syn]}}\n"
    assert told(loaded(tmp_path, syn)) == CutOff("a new connection", "inbound_transport_v4", "a")
    flow = "  - {name: a, layer: ale_auth_recv_accept, action: block, when: {ip_protocol: tcp, ip_local_port: 22}}\n"
    assert told(loaded(tmp_path, flow)) == CutOff("the connection that stands", "ale_auth_recv_accept_v4", "a")


def test_what_does_not_concern_it_is_not_told(tmp_path: Path) -> None:
    other = "  - {name: a, layer: inbound_transport, action: block, when: {ip_protocol: tcp, ip_local_port: 23}}\n"
    assert told(loaded(tmp_path, other)) is None
    mine = "  - {name: a, layer: inbound_transport, action: block, when: {ip_remote_address: 198.51.100.9}}\n"
    assert told(loaded(tmp_path, mine)) is not None
    assert told(loaded(tmp_path, mine, "{hook: output}")) is None
    assert told(loaded(tmp_path, mine, "{hook: input, families: [v6]}")) is None
    asked = "  - {name: a, layer: inbound_transport, action: {callout: c, kind: terminating}}\n"
    assert told(loaded(tmp_path, asked)) is None  # Only its answer would block.
    six = Login(ipaddress.ip_address("2001:db8::9"), 40000, ipaddress.ip_address("2001:db8::10"), 22)
    assert told(loaded(tmp_path, mine), six) is None
    every = "  - {name: a, layer: inbound_transport_v6, action: block}\n"
    assert told(loaded(tmp_path, every), six) == CutOff("the connection that stands", "inbound_transport_v6", "a")


@pytest.mark.parametrize(
    ("environment", "login"),
    [
        ({"SSH_CONNECTION": "198.51.100.9 40000 203.0.113.10 22", "SSH_CLIENT": "192.0.2.1 1 22"}, LOGIN),
        ({"SSH_CONNECTION": "::ffff:198.51.100.9 40000 ::ffff:203.0.113.10 22"}, LOGIN),
        ({"SSH_CLIENT": "127.0.0.9 40000 2222"},
         Login(ipaddress.ip_address("127.0.0.9"), 40000, ipaddress.ip_address("127.0.0.1"), 2222)),
        ({"SSH_CONNECTION": "198.51.100.9 40000 203.0.113.10"}, None),
        ({"SSH_CONNECTION": "198.51.100.9 x 203.0.113.10 22"}, None),
        ({"SSH_CONNECTION": "198.51.100.9 40000 203.0.113.10 70000"}, None),
        ({"SSH_CONNECTION": "198.51.100.9 40000 2001:db8::1 22"}, None),
        ({"SSH_CONNECTION": "nobody 1 nowhere 22"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_session_is_read_from_the_environment(environment: dict[str, str], login: Login | None) -> None:
    assert find_login(environment) == login


def test_a_parents_session_is_found() -> None:
    script = "from wfpd.login import find_login; print(find_login())"
    parent = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], env={'PYTHONPATH': sys.argv[2]})"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", parent, script, root], capture_output=True, text=True, check=True,
                          env={"SSH_CONNECTION": "198.51.100.9 40000 203.0.113.10 22", "PYTHONPATH": root})  # fmt: skip
    assert done.stdout == f"{LOGIN}\n", done.stderr


def test_a_login_is_said_by_hand() -> None:
    assert parse_login("none") is None
    found = parse_login("127.0.0.9:2222")
    assert found is not None and (str(found.server), found.server_port) == ("127.0.0.1", 2222)
    assert (parse_login("127.0.0.9") or LOGIN).server_port == 22
    with pytest.raises(UsageError, match="is no address"):
        parse_login("somewhere")
    with pytest.raises(UsageError, match="no address of this host"):
        parse_login("255.255.255.255")
