"""`wfpd events`: the daemon's events as they happen."""

from __future__ import annotations

import argparse
import json
from typing import Any

from wfpd.cli.arguments import count
from wfpd.cli.asking import call, connect
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, NO, complain
from wfpd.client import CallError
from wfpd.errors import ControlError


def add(commands: Commands) -> None:
    """Add the parser."""
    events = commands.add("events", show_events, "follow the daemon's events", as_json=True, socket=True)
    events.add_argument("--follow", action="store_true", help="go on until Ctrl-C (the default)")
    events.add_argument("--count", type=count, metavar="N", help="end after N events")
    events.add_argument("--last", action="store_true", help="show the last block and end; exit 1 if there was none")
    events.add_argument("--reopen", action="store_true", help="make the daemon reopen its event file and end")


def show_events(arguments: argparse.Namespace) -> int:
    """`wfpd events`."""
    with connect(arguments) as connection:
        try:
            if arguments.reopen:
                call(connection, "events.reopen")
                return DONE
            if arguments.last:
                return _show_last(call(connection, "events.last"), arguments.json)
            following = connection.events()
            complain("following; from here on every event is shown, Ctrl-C ends")
            for number, event in enumerate(following, 1):
                print(json.dumps(event, separators=(",", ":")) if arguments.json else describe_event(event), flush=True)
                if arguments.count is not None and number >= arguments.count:
                    return DONE
        except CallError as error:
            raise ControlError(f"events: {error.message}") from error
    raise ControlError("the daemon ended the connection")


def _show_last(event: dict[str, Any], as_json: bool) -> int:
    if not event and not as_json:
        print("nothing has been blocked")
        return NO
    print(json.dumps(event, separators=(",", ":")) if as_json else describe_event(event))
    return DONE if event else NO


def describe_event(event: dict[str, Any]) -> str:
    """One event for a person."""
    if "callout" in event:
        said = event["callout"]
        return (f"{event['timestamp']}  callout {said['name']} is {said['state']}: {said['slow_calls']} slow calls, "
                f"{said['skipped']} not made, since the start")  # fmt: skip
    ends = [f"{event.get(f'{end}_ip', '?')}" + (f" port {event[f'{end}_port']}" if f"{end}_port" in event else "")
            for end in ("src", "dest")]  # fmt: skip
    found = event.get("wfp", {})
    by = " ".join(str(found[key]) for key in ("layer", "sublayer", "filter") if found.get(key))
    more = f" (and {found['suppressed']} more)" if found.get("suppressed") else ""
    what = event["event_type"] if event["event_type"] == "flow" else event["verdict"]["action"]
    head = f"{event['timestamp']}  {what:<5} {event.get('proto', '?')} {ends[0]} -> {ends[1]}"
    if "flow" in event:
        flow = event["flow"]
        there = f"{flow['pkts_toserver']} packets ({flow['bytes_toserver']} bytes) there"
        back = f"{flow['pkts_toclient']} ({flow['bytes_toclient']}) back"
        return f"{head}  {flow['state']}, {found['end']}: {there}, {back}  {by}".rstrip()
    audit = f"audit: would {found['verdict']}, " if found.get("audit") else ""
    return f"{head}  {audit}{found.get('reason', '')} {by}{more}".rstrip()
