"""A control server as a process, with methods that are of use to who attacks it: `control_server.py SOCKET ROLE`."""

from __future__ import annotations

import grp
import logging
import os
import resource
import sys
import threading
import time
from typing import Any

from wfpd.control.admin import AdminServer, Method, Peer, Roles
from wfpd.control.protocol import Role
from wfpd.observe.record import EventRecord
from wfpd.observe.sinks import Hub

NOBODY = 65534
SWITCH_INTERVAL = 0.0005
"""As the daemon has it."""
ENDS: list[int] = [0, 0]
"""Connections that asked to be told their end, and those that were."""
LARGE = [{"name": "x" * 100} for _ in range(9000)]


def _burn(seconds: float) -> dict[str, Any]:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        sum(range(1000))
    return {}


def _notify(params: object, peer: Peer) -> dict[str, Any]:
    return {"sent": sum(peer.notify("change", {"text": "x" * 1000}) for _ in range(5000))}


def _wait(params: object, peer: Peer) -> dict[str, Any]:
    ENDS[0] += 1
    peer.at_end(_ended)
    time.sleep(0.5)
    return {}


def _ended() -> None:
    ENDS[1] += 1


def _limit(params: Any, peer: Peer) -> dict[str, Any]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = params["spare"]
    limit = hard if spare is None else len(os.listdir("/proc/self/fd")) - 1 + spare
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return {"limit": limit}


METHODS = {
    "status": Method(Role.READ, lambda params, peer: {"enforcing": True}),
    "large": Method(Role.READ, lambda params, peer: {"objects": LARGE}),
    "slow": Method(Role.READ, lambda params, peer: time.sleep(0.5) or {}),
    "burn": Method(Role.READ, lambda params, peer: _burn(0.05)),
    "notify": Method(Role.READ, _notify),
    "wait": Method(Role.OPERATE, _wait),
    "work": Method(Role.OPERATE, lambda params, peer: _burn(0.05)),
    "ends": Method(Role.ADMINISTER, lambda params, peer: {"asked": ENDS[0], "told": ENDS[1]}),
    "limit": Method(Role.ADMINISTER, _limit, parameters=frozenset({"spare"})),
}


def _events(hub: Hub) -> None:
    line = b'{"event_type":"drop","text":"' + b"x" * 500 + b'"}\n'
    while True:
        for _ in range(10):
            hub.write(EventRecord(0, "block"), line)
        time.sleep(0.01)


def main() -> None:
    """Serve until standard input ends."""
    path, role = sys.argv[1:]
    logging.basicConfig(level="WARNING")
    sys.setswitchinterval(SWITCH_INTERVAL)
    hub = Hub()
    group = grp.getgrgid(NOBODY).gr_name
    server = AdminServer(path, METHODS, Roles(**{role: [group]}), hub=hub, group=group)
    server.start()
    threading.Thread(target=_events, args=(hub,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    server.close()


if __name__ == "__main__":
    main()
