"""`wfpd explain --live`: the running daemon says of a described packet what it then does with a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.integration.netns import CLIENT4, ROUTER_CLIENT4, Network
from tests.integration.running import Wfpd

ATTACH = "  - {hook: input, queues: 0-0}"
FILTERS = """
  - {name: from-client, layer: ale_auth_recv_accept, action: permit, weight: 9,
     when: {ip_protocol: udp, ip_local_port: 5001, ip_remote_address: {none_of: [198.51.100.1]}}}
  - {name: rest, layer: ale_auth_recv_accept, action: block, weight: 1, when: {ip_protocol: udp}}
"""


def asked(wfpd: Wfpd, port: int, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and document of a datagram from the client to the router."""
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "explain", "--live", "--socket", str(wfpd.socket), "--hook", "input", "--proto",
         "udp", "--src", f"{CLIENT4}:4000", "--dst", f"{ROUTER_CLIENT4}:{port}", "--json", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_what_it_says_is_what_happens_and_asking_leaves_no_trace(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(FILTERS, attach=ATTACH)
    wfpd.start()
    before = wfpd.status()
    permitted, blocked = asked(wfpd, 5001, "--interface", "c0"), asked(wfpd, 5002, "--interface", "c0")
    assert (permitted[0], permitted[1]["decision"]["filter"]) == (0, "from-client")
    assert (blocked[0], blocked[1]["decision"]["filter"]) == (1, "rest")
    near = blocked[1]["visits"][0]["layers"][0]["sublayers"][0]["filters"][0]
    assert near["failed"] == {"field": "ip_local_port", "wants": "5001", "has": "5002"}
    after = wfpd.status()
    assert after["flows"]["used"] == before["flows"]["used"] == 0
    assert [queue["blocked"] for queue in after["queues"]] == [0]
    with net.udp_receiver(net.router, 5001) as heard, net.udp_receiver(net.router, 5002) as unheard:
        with net.client.socket(family=2) as sock:
            for port in (5002, 5001):
                sock.sendto(b"x", (ROUTER_CLIENT4, port))
        assert heard.wait_for(1) and unheard.count == 0


def test_after_a_reload_it_speaks_of_the_new_policy(wfpd: Wfpd) -> None:
    wfpd.write(FILTERS, attach=ATTACH)
    wfpd.start()
    assert asked(wfpd, 5002)[1]["generation"] == wfpd.status()["generation"]
    wfpd.write(FILTERS.replace("5001", "5002"), attach=ATTACH)
    assert wfpd.call("reload")["successful"]
    status, document = asked(wfpd, 5002)
    assert (status, document["generation"]) == (0, wfpd.status()["generation"])
