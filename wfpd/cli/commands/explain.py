"""`wfpd explain`: why a packet is permitted or blocked."""

from __future__ import annotations

import argparse
import itertools
import sys
from typing import Any

from wfpd.cli.arguments import count, up_to
from wfpd.cli.asking import connect
from wfpd.cli.captures import open_capture
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DEFAULT_POLICY, DONE, NO, UNREACHABLE, colored, must_open, print_json
from wfpd.client import CallError, InvalidCall
from wfpd.errors import CaptureError, ControlError, PolicyError, UsageError


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add(
        "explain",
        explain_packet,
        "say why a packet is permitted or blocked",
        "Runs a packet that you describe, or one of a capture, through the policy's own tables and shows every "
        "filter that matched or nearly did. Calls no callout. Exit 0: permitted, 1: blocked, 3: not decided, for the "
        "policy or capture is wrong or cannot be opened.",
        as_json=True,
        socket=True,
    )
    made.add_argument("--policy", metavar="FILE", help=f"policy file (default: {DEFAULT_POLICY})")
    made.add_argument("--live", action="store_true", help="ask the daemon: the tables and the host as they are now")
    made.add_argument("--hook", choices=("forward", "input", "output"), help="hook that the packet passes")
    made.add_argument("--proto", metavar="NAME", help="a described packet: tcp, udp, icmp, another name, or a number")
    for name, what in (("--src", "source"), ("--dst", "destination")):
        made.add_argument(name, metavar="ADDRESS[:PORT]", help=f"its {what}; [2001:db8::1]:443")
    made.add_argument("--flags", metavar="FLAG[,FLAG...]", help="its TCP flags (default: syn)")
    made.add_argument("--icmp", metavar="TYPE[/CODE]", help="its ICMP type, by name or number (default: echo_request)")
    made.add_argument("--payload", type=up_to(1400), default=0, metavar="N", help="bytes behind its headers")
    made.add_argument("--interface", metavar="NAME", help="interface it comes in by, or leaves by at output")
    made.add_argument("--mark", type=lambda text: int(text, 0), metavar="N", help="the mark it has")
    made.add_argument("--pcap", metavar="CAPTURE", help="take the packet from a capture instead")
    made.add_argument("--packet", type=count, default=None, metavar="N",
                      help="which packet of it; the packets before it make its flows (default: 1)")  # fmt: skip
    made.add_argument("--local", metavar="PREFIX[,PREFIX...]",
                      help="with --pcap, this host's addresses: the hook is taken from them")  # fmt: skip
    made.add_argument("--near", type=up_to(100), default=5, metavar="N",
                      help="near misses shown of each sublayer (default: %(default)s)")  # fmt: skip
    made.add_argument("--answer", action="append", default=[], metavar="CALLOUT=KIND",
                      help="what a callout is taken to answer: permit, block or continue (the default)")  # fmt: skip


def explain_packet(arguments: argparse.Namespace) -> int:
    """`wfpd explain`."""
    from wfpd.observe.explain_text import render

    try:
        document = _explained_live(arguments) if arguments.live else _explained(arguments)
    except (PolicyError, CaptureError) as error:
        error.exit_status = UNREACHABLE  # 1 is that the packet is blocked.
        raise
    if arguments.json:
        print_json(document)
    else:
        sys.stdout.write(render(document, colored()))
    return NO if document["decision"]["verdict"] == "block" else DONE


def _described(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the arguments say of the packet.  UsageError where something is missing or too much."""
    missing = [name for name in ("hook", "proto", "src", "dst") if getattr(arguments, name) is None]
    if missing:
        raise UsageError(f"--{missing[0]} is missing", hint="--hook, --proto, --src and --dst are needed, or --pcap")
    if arguments.packet is not None or arguments.local is not None:
        raise UsageError("--packet and --local speak of a capture", hint="--pcap CAPTURE")
    return {"protocol": arguments.proto, "source": arguments.src, "destination": arguments.dst,
            "flags": arguments.flags, "icmp": arguments.icmp, "payload": arguments.payload}  # fmt: skip


def _explained(arguments: argparse.Namespace) -> dict[str, Any]:
    from wfpd import explaining, replay
    from wfpd.config import load_policy
    from wfpd.imagined import imagine

    path = arguments.policy or DEFAULT_POLICY
    answers = explaining.parse_answers(arguments.answer)
    options = {"near": arguments.near, "mark": arguments.mark}
    if arguments.pcap is None:
        packet = imagine(**_described(arguments)).packet(arguments.interface or "")
        must_open(path)
        explainer = explaining.Explainer(load_policy(path, trust="warn"), hook=arguments.hook, answers=answers)
        return explainer.explain(packet, **options)
    _check_alone(arguments, "interface")
    try:
        local = None if arguments.local is None else replay.parse_local(arguments.local)
    except ValueError as error:
        raise UsageError(f"--local: {error}") from error
    must_open(path)
    explainer = explaining.Explainer(load_policy(path, trust="warn"), hook=arguments.hook or "forward", local=local,
                                     answers=answers)  # fmt: skip
    return explainer.explain_nth(open_capture(arguments.pcap), arguments.packet or 1, **options)


def _check_alone(arguments: argparse.Namespace, *more: str) -> None:
    """A packet of a capture is not described besides."""
    given = [name for name in ("proto", "src", "dst", "flags", "icmp", *more) if getattr(arguments, name)]
    if given:
        raise UsageError(f"--{given[0]} describes a packet, and --pcap takes one from a capture")


def _captured(arguments: argparse.Namespace) -> dict[str, Any]:
    """The packet of the capture, as the daemon is asked about it."""
    from wfpd.explaining import MOST_DATA

    _check_alone(arguments)
    if arguments.hook is None:
        raise UsageError("--hook is missing", hint="the one that the packet is to pass")
    if arguments.local is not None:
        raise UsageError("--live takes no --local", hint="--hook says which one the packet passes")
    number = arguments.packet or 1
    packet = next(itertools.islice(open_capture(arguments.pcap), number - 1, None), None)
    if packet is None:
        raise UsageError(f"the capture has no packet {number}")
    if not packet.is_ip:
        raise UsageError(f"packet {number} is not IP")
    return {"data": packet.data[:MOST_DATA].hex(), "length": packet.original_length}


def _explained_live(arguments: argparse.Namespace) -> dict[str, Any]:
    from wfpd.explaining import parse_answers
    from wfpd.imagined import imagine

    if arguments.policy is not None:
        raise UsageError("--live asks the daemon, which has a policy: it takes no --policy")
    if arguments.pcap is None:
        described = _described(arguments)
        imagine(**described)  # What is wrong with it is said here.
    else:
        described = _captured(arguments)
    params = {**described, "hook": arguments.hook, "interface": arguments.interface,
              "mark": arguments.mark, "near": arguments.near, "answers": parse_answers(arguments.answer)}  # fmt: skip
    with connect(arguments) as connection:
        try:
            found: dict[str, Any] = connection.call("explain", **{k: v for k, v in params.items() if v is not None})
        except CallError as error:
            wrong = UsageError if isinstance(error, InvalidCall) else ControlError
            raise wrong(f"explain: {error.message}", hint=error.hint) from error
    found["packet"]["number"] = found["decision"]["packet"] = arguments.packet or 1
    return found
