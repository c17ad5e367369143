"""`wfpd replay`: a capture decided by a policy."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from wfpd.cli.captures import open_capture, warn_of_links
from wfpd.cli.parser import Commands
from wfpd.cli.printing import NO, USAGE, complain, must_open
from wfpd.errors import CaptureError, ControlError


def add(commands: Commands) -> None:
    """Add the parser."""
    replay = commands.add(
        "replay",
        replay_capture,
        "decide the packets of a capture by a policy",
        "One line a packet; touches neither the kernel nor the daemon. "
        "Exit 1: bad policy, or the capture breaks off; 0 whatever the verdicts.",
        as_json=True,
    )
    replay.add_argument("--policy", required=True, metavar="FILE", help="policy file")
    replay.add_argument("--hook", choices=("forward", "input", "output"), default="forward",
                        help="hook that every packet passes (default: %(default)s)")  # fmt: skip
    replay.add_argument("--local", metavar="PREFIX[,PREFIX...]",
                        help="this host's addresses: direction is taken from them instead of --hook")  # fmt: skip
    replay.add_argument("--eve", metavar="FILE", help="also write events in EVE's form")
    replay.add_argument(
        "--write", metavar="FILE", help="also write the packets that pass, as callouts left them, and those they inject"
    )
    replay.add_argument("--checksums", action="store_true", help="verify checksums; a wrong one is malformed")
    replay.add_argument("capture", metavar="CAPTURE", help="pcap or pcapng file")


def replay_capture(arguments: argparse.Namespace) -> int:
    """`wfpd replay`."""
    from wfpd import replay
    from wfpd.config import load_policy
    from wfpd.observe.replay_events import ReplayEvents

    local = None
    if arguments.local is not None:
        try:
            local = replay.parse_local(arguments.local)
        except ValueError as error:
            complain(f"wfpd replay: --local: {error}")
            return USAGE
    must_open(arguments.policy)
    policy = load_policy(arguments.policy, trust="warn")
    with contextlib.ExitStack() as stack:
        each = None
        writer = None
        if arguments.write:
            try:
                writer = replay.PassedWriter(stack.enter_context(open(arguments.write, "wb")))
            except OSError as error:
                raise ControlError(f"cannot open {arguments.write}: {error.strerror}") from error
        if arguments.eve:
            try:
                out = stack.enter_context(open(arguments.eve, "wb"))
            except OSError as error:
                raise ControlError(f"cannot open {arguments.eve}: {error.strerror}") from error
            events = ReplayEvents(out)
            stack.callback(events.close)
            last: list[tuple[replay.Replay, int]] = []

            def finish() -> None:
                for decided, number in last:
                    events.end(decided.ended(number, shutdown=True))

            stack.callback(finish)

            def each(packet: Any, line: dict[str, Any], decided: replay.Replay) -> None:
                name = packet.interface_name or b""
                text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
                events.add(packet.number, packet.timestamp_ns, packet.data, text, line, decided.told)
                events.end(decided.ended(packet.number))
                last[:] = [(decided, packet.number)]

        both = each
        if writer is not None:

            def both(packet: Any, line: dict[str, Any], decided: replay.Replay) -> None:
                writer.add(packet, decided.passed, decided.injected)
                if each is not None:
                    each(packet, line, decided)

        try:
            packets = warn_of_links(open_capture(arguments.capture))
            return replay.run(policy, packets, hook=arguments.hook, local=local, checksums=arguments.checksums,
                              as_json=arguments.json, each=both)  # fmt: skip
        except CaptureError as error:
            complain(f"error: {error.message}")
            return NO
