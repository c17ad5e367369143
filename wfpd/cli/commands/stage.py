"""`wfpd stage`: what a policy would change, tried beside the running one on the packets that come."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from wfpd.cli.arguments import seconds, up_to
from wfpd.cli.asking import Client, ask, call, connect
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, NO, complain, must_open, print_json
from wfpd.client import CallError, InvalidCall, Refused
from wfpd.errors import ControlError, UsageError

Document = dict[str, Any]

LOOK_SECONDS = 0.5
"""Between two looks while it runs."""
SHOWN = 20
"""Differences that are printed; --json has all."""


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("stage", stage_policy, "try a policy beside the running one, enforcing nothing of it",
                        "The daemon decides the packets that come by both policies and counts what would change. Waits "
                        "for --for or Ctrl-C, prints what was found and ends the trial. Exit 0: nothing would change, "
                        "1: something would, or a callout would have to say.", as_json=True, socket=True)  # fmt: skip
    made.add_argument("file", nargs="?", metavar="FILE", help="policy file, as the daemon sees it")
    made.add_argument("--for", dest="seconds", type=seconds, metavar="TIME",
                      help="how long it is tried at most (10m; default: 1h)")  # fmt: skip
    made.add_argument("--sample", type=up_to(1_000_000), metavar="N", help="one flow in N instead of all")
    made.add_argument("--answer", action="append", default=[], metavar="CALLOUT=KIND",
                      help="what a callout is taken to answer: permit, block or continue; without it its packets are "
                      "not decided")  # fmt: skip
    made.add_argument("--detach", action="store_true", help="do not wait: --status shows it, --stop ends it")
    made.add_argument("--status", action="store_true", help="what was found so far")
    made.add_argument("--stop", action="store_true", help="what was found, and end it")


def stage_policy(arguments: argparse.Namespace) -> int:
    """`wfpd stage`."""
    if (arguments.file is not None) + arguments.status + arguments.stop != 1:
        raise UsageError("wfpd stage takes a policy file, or --status, or --stop")
    if arguments.file is None:
        if arguments.seconds or arguments.sample or arguments.answer or arguments.detach:
            raise UsageError("--for, --sample, --answer and --detach begin a trial", hint="wfpd stage FILE")
        return _show(ask(arguments, "stage.stop" if arguments.stop else "stage.status"), arguments.json)
    must_open(arguments.file)
    with connect(arguments) as connection:
        started = _start(connection, arguments)
        if arguments.detach:
            if arguments.json:
                print_json(started)
            else:
                print(f"{started['path']} is tried for {started['for']:g} s: wfpd stage --status, wfpd stage --stop")
            return DONE
        with _interrupted_by_term():
            try:
                _wait(connection)
            finally:
                with contextlib.suppress(KeyboardInterrupt):
                    found = call(connection, "stage.stop")
    return _show(found, arguments.json)


def _start(connection: Client, arguments: argparse.Namespace) -> Document:
    from wfpd.explaining import parse_answers

    params = {"path": os.path.abspath(arguments.file), "sample": arguments.sample, "for": arguments.seconds,
              "answers": parse_answers(arguments.answer) or None}  # fmt: skip
    try:
        found: Document = connection.call("stage.start", **{k: v for k, v in params.items() if v is not None})
    except Refused:
        raise
    except CallError as error:
        wrong = UsageError if isinstance(error, InvalidCall) else ControlError
        raise wrong(f"stage: {error.message}", hint=error.hint) from error
    return found


@contextlib.contextmanager
def _interrupted_by_term() -> Iterator[None]:
    """SIGTERM ends the trial as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait(connection: Client) -> None:
    """Until its time is over, or Ctrl-C."""
    shows = sys.stderr.isatty()
    with contextlib.suppress(KeyboardInterrupt):
        while (found := call(connection, "stage.status"))["running"]:
            if shows:
                print(f"\r{_progress(found)}\x1b[K", end="", file=sys.stderr, flush=True)
            time.sleep(min(LOOK_SECONDS, max(0.01, found["for"] - found["seconds"])))
    if shows:
        print(file=sys.stderr)


def _progress(found: Document) -> str:
    packets = found["packets"]
    return (f"{found['seconds']:.0f} s of {found['for']:g} s: {packets['compared']} packets compared, "
            f"{packets['would_block']} would be blocked, {packets['would_permit']} permitted")  # fmt: skip


def _show(found: Document, as_json: bool) -> int:
    if as_json:
        print_json(found)
    elif found["path"] is None:
        complain("no policy is staged")
    else:
        print("\n".join(lines(found)))
    return DONE if found.get("same") else NO


def lines(found: Document) -> Iterator[str]:
    """The report for a person."""
    packets, missed, undecided = found["packets"], found["not_compared"], found["not_decided"]
    state = "running" if found["running"] else f"ended ({found['ended']})"
    yield (f"{found['path']}, {found['n_filters']} engine filters, hash {found['hash'][:12]}: {state}, "
           f"{found['seconds']:.0f} s")  # fmt: skip
    sampled = f", 1 flow in {found['sample']}" if found["sample"] > 1 else ""
    yield (f"{packets['seen']} packets seen{sampled}, {packets['compared']} compared: {packets['same']} the same, "
           f"{packets['would_block']} would be blocked, {packets['would_permit']} would be permitted")  # fmt: skip
    if packets["older_flows"]:
        yield (f"{packets['older_flows']} of them belong to connections whose beginning the staged policy has not "
               "seen or would not permit")  # fmt: skip
    for name, count in undecided["callouts"].items():
        yield f"{count} not decided: callout {name} would have to answer (--answer {name}=permit|block|continue)"
    if sum(missed.values()):
        yield (f"{missed['ring_full']} not compared for want of room, {missed['unparsable']} for longer headers than "
               "are kept")  # fmt: skip
    for row in found["differences"][:SHOWN]:
        yield from _difference(row)
    left = len(found["differences"]) - SHOWN
    if left > 0:
        yield f"{left} more pairs of filters: --json has all of them"
    if found["other"]["packets"]:
        yield f"{found['other']['packets']} packets of pairs of filters that were too many to tell apart"
    if found["same"]:
        yield "nothing would change"


def _difference(row: Document) -> Iterator[str]:
    older = f", {row['older_flows']} of connections without their beginning" if row["older_flows"] else ""
    yield ""
    yield f"would {row['verdict']}  {row['packets']} packets, {row['bytes']} bytes{older}"
    for name in ("active", "staged"):
        side = row[name]
        by = " ".join(side[part] for part in ("layer", "sublayer", "filter") if side[part]) or side["reason"]
        yield f"  {name}  {by}"
    example = row["example"]
    yield f"  for example  {example['command'] or example['hook'] + ' ' + example['bytes']}"
