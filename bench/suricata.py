"""Suricata 7 as a contender: a small root file system that has it, its configuration, and rules by server name."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.peers import ROOT, running
from wfpd.bench.drain import wait_for
from wfpd.bench.network import Ring

PROGRAM = "usr/bin/suricata"
PLACE = ROOT / "build" / "suricata"
"""Where its root file system is kept from one run to the next; 280 MB."""
SECONDS = 600.0
"""For downloading and unpacking it."""
PENDING = 16384
"""Packets in Suricata's hands; it makes its queue four times as long."""
CONFIGURATION = """%YAML 1.1
---
vars: {{address-groups: {{}}, port-groups: {{}}}}
default-log-dir: /wfpd
stats: {{enabled: no}}
outputs: []
logging:
  default-log-level: notice
  outputs: [{{console: {{enabled: yes}}}}]
app-layer:
  protocols:
    tls: {{enabled: yes, detection-ports: {{dp: 443}}}}
max-pending-packets: {pending}
exception-policy: ignore
runmode: workers
nfq: {{mode: accept, batchcount: 20}}
stream: {{memcap: 512mb, checksum-validation: no, inline: yes, reassembly: {{memcap: 512mb}}}}
flow: {{memcap: 512mb, prealloc: 10000}}
detect: {{profile: medium}}
"""


class NoSuricataError(Exception):
    """Suricata 7 cannot be had; the text says why."""


def rules(names: Sequence[str]) -> str:
    """What `TlsNames` does with these entries (`.name.example`), as a rule for each: the flow is dropped."""
    return "".join(
        f'drop tls any any -> any any (msg:"name {number}"; tls.sni; dotprefix; content:"{name}"; nocase; endswith; '
        f"sid:{number}; rev:1;)\n"
        for number, name in enumerate(names, 1)
    )


def version(root: Path) -> str:
    """What the program in a root file system calls itself; NoSuricataError unless it is a 7."""
    done = subprocess.run(["chroot", root, f"/{PROGRAM}", "-V"], capture_output=True, text=True, check=False)
    found = done.stdout.strip().removeprefix("This is Suricata version ")
    if done.returncode or not found.startswith("7."):
        raise NoSuricataError(f"{root} has no Suricata 7: {found or done.stderr.strip()}")
    return found


def own_mirror() -> str:
    """Where this machine's apt has bookworm from; NoSuricataError where it has no such source."""
    argv = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoSuricataError("there is no apt-get, by which Debian's package is found") from None
    for line in done.stdout.splitlines():
        release, _, address = line.partition(" ")
        if release == "bookworm":
            return address
    raise NoSuricataError("apt has no source of bookworm")


def get(root: Path, mirror: str | None) -> str:
    """Make a root file system with Debian's package where there is none; its version.

    `mirror`: an address; None: that of this machine's apt.
    """
    if not (root / PROGRAM).exists():
        if shutil.which("mmdebstrap") is None:
            raise NoSuricataError("mmdebstrap, which fetches Debian's package, is not installed")
        mirror = mirror or own_mirror()
        root.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        packages = "suricata/bookworm-backports,libhtp2/bookworm-backports"
        sources = [f"deb {mirror} {suite} main" for suite in ("bookworm", "bookworm-backports")]
        argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", str(root), *sources]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise NoSuricataError(f"{mirror} did not give the package within {SECONDS:g} s") from None
        if done.returncode:
            shutil.rmtree(root, ignore_errors=True)
            said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
            raise NoSuricataError(f"mmdebstrap from {mirror}: {next((one for one in said if 'E:' in one), said[-1])}")
    return version(root)


@contextlib.contextmanager
def serving(ring: Ring, queue: int, root: Path, names: Sequence[str]) -> Iterator[int]:
    """Suricata in IPS mode at a queue of the gate, one worker; its process."""
    folder = root / "wfpd"
    folder.mkdir(exist_ok=True)
    (folder / "suricata.yaml").write_text(CONFIGURATION.format(pending=PENDING))
    (folder / "names.rules").write_text(rules(names))
    log = folder / "log"
    argv = [
        "chroot",
        str(root),
        f"/{PROGRAM}",
        "-c",
        "/wfpd/suricata.yaml",
        "-S",
        "/wfpd/names.rules",
        "-q",
        str(queue),
    ]
    with log.open("wb") as file, running(ring.gate.netns, argv, stdout=file, stderr=file) as process:
        _ready(ring, queue, process, log)
        yield process.pid


def _ready(ring: Ring, queue: int, process: Any, log: Path) -> None:
    def is_up() -> bool:
        if process.poll() is not None:
            raise NoSuricataError(f"it ended at its start: {log.read_text()[-500:].strip()}")
        return ring.bound(queue) and "ngine started" in log.read_text()

    wait_for(is_up, "the start of Suricata", 60.0)
    complaints = [line for line in log.read_text().splitlines() if line.startswith(("E: ", "W: "))]
    if complaints:
        raise NoSuricataError(f"it does not take our rules: {'; '.join(complaints)[:500]}")
