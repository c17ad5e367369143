"""Whether a policy would cut off the login that `wfpd check` was typed in.

The connection's packets are imagined and run through the policy's own tables; nothing is sent.  A callout is
never called: where only its answer blocks, nothing is said.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wfpd.dataplane import Snapshot
from wfpd.errors import UsageError
from wfpd.explaining import Explainer
from wfpd.imagined import SOURCE_PORT, Address, Imagined, parse_end
from wfpd.model.fields import TCP_FLAG_BITS
from wfpd.model.policy import Policy
from wfpd.replay import parse_local

SSH_PORT = 22
MOST_PARENTS = 64
_TCP = 6
_SYN, _ACK = TCP_FLAG_BITS["syn"], TCP_FLAG_BITS["ack"]
_SURE = ("filter", "missing_callout", "flow")
"""Reasons of a block that no callout's answer has a part in."""


@dataclass(frozen=True, slots=True)
class Login:
    """Both ends of a connection to this host."""

    client: Address
    client_port: int
    server: Address
    server_port: int

    def __str__(self) -> str:
        return f"the login from {self.client} to {_end(self.server, self.server_port)}"


@dataclass(frozen=True, slots=True)
class CutOff:
    """A packet of the login that the policy blocks."""

    what: str
    layer: str
    filter: str


def _end(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _address_towards(client: Address) -> Address:
    """This host's address that the routing table chooses towards the client; nothing is sent."""
    family = socket.AF_INET if client.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(client), 9))
            return parse_end(probe.getsockname()[0])[0]
        except OSError as error:
            raise UsageError(f"no address of this host leads to {client}: {error.strerror}") from None


def parse_login(text: str) -> Login | None:
    """`none`, or `ADDRESS[:PORT]`: where the login comes from, and the port here.  UsageError if it is neither."""
    if text == "none":
        return None
    client, port = parse_end(text)
    return Login(client, SOURCE_PORT, _address_towards(client), SSH_PORT if port is None else port)


def find_login(environment: Mapping[str, str] | None = None) -> Login | None:
    """The SSH session that this process belongs to, by SSH_CONNECTION or SSH_CLIENT of its own or a parent's
    environment (sudo takes them away); None if there is none."""
    if environment is not None:
        return _login_of(environment)
    found, pid = _login_of(os.environ), os.getppid()
    for _ in range(MOST_PARENTS):
        if found is not None or pid <= 1:
            return found
        try:
            found = _login_of(_environment(pid))
            pid = _parent(pid)
        except (OSError, ValueError):
            return None
    return None


def _environment(pid: int) -> dict[str, str]:
    parts = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    texts = [part.decode("ascii", "replace") for part in parts if part.startswith((b"SSH_CONNECTION=", b"SSH_CLIENT="))]
    return dict(text.split("=", 1) for text in texts)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])


def _login_of(environment: Mapping[str, str]) -> Login | None:
    connection = environment.get("SSH_CONNECTION", "").split()
    with contextlib.suppress(UsageError, ValueError):
        if len(connection) == 4:
            (client, _), (server, _) = (parse_end(connection[at]) for at in (0, 2))
            return _mapped(Login(client, int(connection[1]), server, int(connection[3])))
        client_line = environment.get("SSH_CLIENT", "").split()
        if len(client_line) == 3:
            client, _ = parse_end(client_line[0])
            return _mapped(Login(client, int(client_line[1]), _address_towards(client), int(client_line[2])))
    return None


def _mapped(login: Login) -> Login | None:
    """The same, as packets have it: IPv4 where the session says ::ffff:192.0.2.1.  None where no packet is so."""
    ends = [getattr(end, "ipv4_mapped", None) or end for end in (login.client, login.server)]
    ports = (login.client_port, login.server_port)
    if ends[0].version != ends[1].version or not all(0 < port < 65536 for port in ports):
        return None
    return Login(ends[0], ports[0], ends[1], ports[1])


def cut_off(policy: Policy, snapshot: Snapshot, login: Login) -> CutOff | None:
    """The first packet of the login that is blocked: of the connection that stands, then of a new one."""
    hooks = {a.hook for a in policy.attach if login.server.version in a.families}
    local = parse_local(f"{login.server}/{32 if login.server.version == 4 else 128}")
    for connection, first, answer in (
        ("the connection that stands", _ACK, _ACK),
        ("a new connection", _SYN, _SYN | _ACK),
    ):
        explainer = Explainer(policy, local=local, snapshot=snapshot)
        inbound = Imagined(_TCP, login.client, login.server, login.client_port, login.server_port, first)
        outbound = Imagined(_TCP, login.server, login.client, login.server_port, login.client_port, answer)
        for hook, what, packet in (("input", "", inbound), ("output", "the answer of ", outbound)):
            if hook not in hooks:
                continue
            document = explainer.explain(packet.packet(), near=0)
            decision = document["decision"]
            if (
                decision["verdict"] == "block"
                and document["visits"][-1]["hook"] in hooks
                and decision["reason"] in _SURE
            ):
                return CutOff(what + connection, decision["layer"] or "", decision["filter"] or "")
    return None
