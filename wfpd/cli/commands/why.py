"""`wfpd why`: why a packet was dropped, though nobody looked when it was."""

from __future__ import annotations

import argparse
import base64
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wfpd.cli.arguments import seconds, target, up_to
from wfpd.cli.asking import connect
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, NO, complain, print_json
from wfpd.cli.tables import ago, harmless
from wfpd.client import CallError, InvalidCall
from wfpd.errors import ControlError, UsageError

Record = Mapping[str, Any]
_ICMP = frozenset({"icmp", "ipv6-icmp", "icmpv6"})
_HOOKS = {"prerouting": "input", "postrouting": "output"}
"""What explain calls them: its packets pass those with them."""


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add(
        "why",
        why,
        "say why packets of late were blocked or permitted",
        "Looks into the daemon's flight recorder: the last blocks and a sample of the permits, with every layer's "
        "result, also those of policies that have been replaced since. Exit 0: something was found, 1: nothing.",
        as_json=True,
        socket=True,
    )
    made.add_argument("of", nargs="?", type=target, default={}, metavar="ADDRESS[:PORT]",
                      help="of either end; also a prefix, [2001:db8::1]:443 or :PORT (default: all)")  # fmt: skip
    made.add_argument("--proto", metavar="NAME", help="only packets of this protocol: tcp, udp, or a number")
    made.add_argument("--filter", metavar="NAME", help="only what this filter decided")
    made.add_argument("--verdict", choices=("block", "permit"), help="only what was blocked, or permitted")
    made.add_argument("--since", type=seconds, default=600.0, metavar="TIME",
                      help="how far to look back, such as 90s or 2h (default: 10m)")  # fmt: skip
    made.add_argument("--limit", type=up_to(1000), default=50, metavar="N",
                      help="at most so many, the newest (default: %(default)s)")  # fmt: skip
    made.add_argument("--pcap", metavar="FILE", help="write the packets' heads there too, as pcapng")


def why(arguments: argparse.Namespace) -> int:
    """`wfpd why`."""
    heads = arguments.pcap is not None or None
    asked = {"protocol": arguments.proto, "filter": arguments.filter, "verdict": arguments.verdict,
             "since": arguments.since, "size": arguments.limit, "bytes": heads}  # fmt: skip
    with connect(arguments) as connection:
        try:
            answer = connection.call("why", **arguments.of, **{k: v for k, v in asked.items() if v is not None})
        except CallError as error:
            wrong = UsageError if isinstance(error, InvalidCall) else ControlError
            raise wrong(f"why: {error.message}", hint=error.hint) from error
    records = answer["records"]
    if arguments.pcap is not None:
        _write(arguments.pcap, records, answer["generation"])
    if arguments.json:
        print_json(answer)
    elif records:
        now = time.time()
        print("\n\n".join("\n".join(_paragraph(one, answer["generation"], now)) for one in records))
    else:
        complain(_nothing(answer))
    return DONE if records else NO


def _nothing(answer: Mapping[str, Any]) -> str:
    oldest = "" if answer["oldest"] is None else f", the oldest of {ago(answer['oldest'], time.time())}"
    return f"nothing recorded fits; {answer['kept']} records are kept{oldest}, {answer['overwritten']} were overwritten"


def _write(path: str, records: Sequence[Record], generation: int) -> None:
    from wfpd.observe.pcapng import Head, write_pcapng

    try:
        with open(path, "wb") as file:
            write_pcapng(file, (
                Head(one["timestamp_ns"], base64.b64decode(one["bytes"]), one["length"],
                     one["in_interface"] or one["out_interface"], f"{_decided(one, generation)}{_times(one)}")
                for one in reversed(records)
            ))  # fmt: skip
    except OSError as error:
        raise ControlError(f"cannot write {path}: {error.strerror}") from error


# ------------------------------------------------------------------------------------- the text


def _paragraph(one: Record, generation: int, now: float) -> Iterator[str]:
    from wfpd.observe.explain_text import layer_line

    yield f"{_clock(one['first'])} ({ago(one['last'], now)}){_times(one)}"
    yield f"  {harmless(_packet(one))}"
    yield f"  {harmless(_decided(one, generation))}"
    for row in one["rows"]:
        yield f"    {harmless(layer_line(row))}"
    again = _explain(one)
    if again is not None:
        yield f"  now: {harmless(again)}"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"


def _times(one: Record) -> str:
    return f", {one['count']} times until {_clock(one['last'])}" if one["count"] > 1 else ""


def _end(one: Record, end: str) -> str:
    address, number = one[end], one.get(f"{end}_port")
    if number is None:
        return str(address)
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"


def _packet(one: Record) -> str:
    if "source" not in one:
        parts = ["a packet that no address can be read of"]
    else:
        parts = [f"{one.get('protocol', 'ip')} {_end(one, 'source')} -> {_end(one, 'destination')}"]
    parts += [one["tcp_flags"]] if "tcp_flags" in one else []
    parts += [f"type {one['icmp_type']} code {one['icmp_code']}"] if "icmp_type" in one else []
    parts.append(f"{one['length']} bytes")
    ways = [f"in by {one['in_interface']}"] if one["in_interface"] else []
    ways += [f"out by {one['out_interface']}"] if one["out_interface"] else []
    return ", ".join([*parts, " ".join([f"hook {one['hook']}", *ways])])


def _decided(one: Record, generation: int) -> str:
    """Who decided, where and when."""
    said = {"block": "blocked", "permit": "permitted"}[one["verdict"]]
    said = f"would be {said}, let pass by audit mode" if one["audit"] else said
    where = f" at {one['layer']}" if one["layer"] else ""
    by = ""
    if one["filter"] is not None:
        by = f" by filter {one['filter']} of sublayer {one['sublayer']} ({one['sublayer_weight']:#x})"
    elif one["reason"] in ("filter", "callout", "veto"):
        by = " by a filter whose name is not known any more"
    reason = "" if one["reason"] == "filter" else f", reason {one['reason']}"
    reason += f" ({one['malformed']})" if "malformed" in one else ""
    reason += f", callout {one['callout']}" if one["callout"] else ""
    reason += f", reply {one['reply']}" if one["reply"] else ""
    now = "" if one["generation"] == generation else f" (now {generation})"
    return f"{said}{where}{by}{reason}, generation {one['generation']}{now}"


def _explain(one: Record) -> str | None:
    """The command that asks what would become of the packet now; None where explain cannot describe it."""
    protocol, hook = one.get("protocol"), _HOOKS.get(one["hook"], one["hook"])
    if protocol is None or hook is None or "source" not in one:
        return None
    words = ["wfpd", "explain", "--live", "--hook", hook, "--proto", protocol, "--src", _end(one, "source"), "--dst",
             _end(one, "destination")]  # fmt: skip
    if protocol in ("tcp", "udp") and "source_port" not in one:
        return None
    if "tcp_flags" in one:
        if "0x" in one["tcp_flags"]:
            return None
        words += ["--flags", one["tcp_flags"].replace("+", ",")]
    if protocol in _ICMP:
        if "icmp_type" not in one:
            return None
        words += ["--icmp", f"{one['icmp_type']}/{one['icmp_code']}"]
    interface = one["out_interface"] if hook == "output" else one["in_interface"]
    words += ["--interface", interface] if interface and not interface.startswith("#") else []
    return shlex.join(words)
