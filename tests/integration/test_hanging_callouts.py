"""A callout that hangs in one queue, with the interpreter's lock and without: other queues go on."""

from __future__ import annotations

import pathlib

import pytest

from tests.integration.netns import ROUTER, SERVER, Network, family_of, wait_until
from tests.integration.running import Wfpd

ATTACH = "  - {hook: forward, queues: 0-0}\n  - {hook: input, queues: 1-1}"
CALLOUT = '''
import ctypes, time

class Hangs:
    """For as long as a test would wait."""

    def __init__(self, holds, log):
        self.holds, self.log = holds, log

    def classify(self, c):
        self.say("called")
        if self.holds:
            ctypes.PyDLL(None).usleep(4_000_000)  # A PyDLL's functions keep the lock.
        else:
            time.sleep(4.0)
        self.say("returned")
        c.permit()

    def say(self, what):
        with open(self.log, "a") as log:
            print(what, file=log)

class Spared(Hangs):
    """Nobody chooses a flow for it."""

    conditional_on_flow = True

    def flow_delete(self, f):
        pass
'''
FILTERS = """  - {name: ask, layer: ipforward, action: {callout: hangs}, when: {ip_destination_port: 6000}}
  - {name: blocked, layer: inbound_transport, action: block, when: {ip_protocol: udp, ip_local_port: 5001}}
  - {name: own, layer: inbound_transport, action: permit}
  - {name: flows, layer: ale_auth_recv_accept, action: permit}
  - {name: data, layer: datagram_data, action: {callout: spared}}"""


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("holds", [False, True], ids=["lets the lock go", "keeps the lock"])
def test_a_hanging_callout_stops_no_other_queue(net: Network, tmp_path: pathlib.Path, family: int, holds: bool) -> None:
    """Also one whose filters name a Python callout that is not called, as no flow has its context."""
    wfpd, log = Wfpd(net, tmp_path), tmp_path / "called"
    (tmp_path / "hanging.py").write_text(CALLOUT)
    wfpd.write(
        FILTERS, attach=ATTACH, daemon=f"callout_path: [{tmp_path}]",
        head="callouts: [" + ", ".join(
            f'{{name: {name.lower()}, use: "hanging:{name}", options: {{holds: {str(holds).lower()}, log: {log}}}}}'
            for name in ("Hangs", "Spared")
        ) + "]",
    )  # fmt: skip
    wfpd.start()
    with net.udp_receiver(net.router, 5000, family) as own, net.udp_receiver(net.router, 5001, family) as blocked:
        kind = family_of(SERVER[family])
        with net.client.socket(kind) as sock:
            sock.sendto(b"hang", (SERVER[family], 6000))
            assert wait_until(log.exists)
            for number in range(50):
                sock.sendto(b"%d" % number, (ROUTER[family], 5000 + number % 2))
            assert own.wait_for(25)
            assert log.read_text() == "called\n"
            assert blocked.count == 0
