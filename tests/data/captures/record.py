"""Write expected.json: what tshark, an independent reader, sees in these captures."""

from __future__ import annotations

import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent
FIELDS = (
    "frame.time_epoch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport",
    "udp.dstport", "sctp.srcport", "sctp.dstport", "tcp.flags", "tcp.options.mss_val", "tcp.options.wscale.shift",
    "tcp.window_size_value", "icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code", "ip.ttl", "ipv6.hlim",
)  # fmt: skip
WHOLE = ("ip.defragment", "ipv6.defragment", "tcp.desegment_tcp_streams")


def rows_of(path: pathlib.Path) -> list[dict[str, str]]:
    """One row a packet, the fields that it has; the outermost header's where there are several."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]
    for preference in WHOLE:
        command += ["-o", f"{preference}:FALSE"]
    for field in FIELDS:
        command += ["-e", field]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [{name: value for name, value in zip(FIELDS, line.split("|"), strict=True) if value} for line in lines]


def main() -> None:
    paths = sorted(path for path in HERE.glob("*/*") if path.suffix in (".pcap", ".pcapng"))
    document = {str(path.relative_to(HERE)): rows_of(path) for path in paths}
    files = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in rows) + "]"
        for name, rows in document.items()
    ]
    (HERE / "expected.json").write_text("{\n" + ",\n".join(files) + "\n}\n")


if __name__ == "__main__":
    main()
