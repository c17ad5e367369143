"""Ten thousand reloads under traffic; `make soak` only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.integration.netns import Network, wait_until
from tests.integration.running import Wfpd, sending

RELOADS = int(os.environ.get("WFPD_SOAK_RELOADS", "10000"))
WARM = RELOADS // 20
"""Reloads until the memory of a daemon at rest is noted."""
FLOOR_KIB = 4096
"""What an allocator may keep on top, however few the reloads."""


def resident(pid: int) -> int:
    """KiB of memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


@pytest.mark.soak
def test_ten_thousand_reloads_lose_no_packet_and_no_memory(net: Network, tmp_path: Path) -> None:
    wfpd = Wfpd(net, tmp_path)
    one = "  - {name: one, layer: ipforward, action: block, when: {ip_protocol: udp, ip_destination_port: 23}}"
    two = one + "\n  - {name: two, layer: ipforward, action: block, when: {ip_protocol: udp, ip_destination_port: 24}}"
    wfpd.write(one)
    wfpd.start()
    assert wfpd.process is not None
    memory, started = 0, time.monotonic()
    with net.udp_receiver(net.server, 5000) as receiver, sending(net, pause=0.01) as sender:
        for number in range(RELOADS):
            wfpd.write(two if number % 2 == 0 else one)
            assert wfpd.call("reload")["successful"]
            if number == WARM:
                memory = resident(wfpd.process.pid)
            if number % max(1, RELOADS // 10) == 0:
                seconds = time.monotonic() - started
                print(f"{number} reloads, {seconds:.0f} s, {resident(wfpd.process.pid)} KiB", flush=True)
        sent = sender.stop()
        assert receiver.wait_for(sent, 10.0)
    after = resident(wfpd.process.pid)
    print(f"{RELOADS} reloads in {time.monotonic() - started:.0f} s; {sent} packets sent, {receiver.count} received; "
          f"memory {memory} KiB after {WARM} reloads, {after} KiB at the end")  # fmt: skip
    assert after < max(1.2 * memory, memory + FLOOR_KIB)
    assert wait_until(lambda: wfpd.metric("wfpd_policy_generation") == RELOADS + 1)
