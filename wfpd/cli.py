"""The command line: arguments in, one exit status out; the work is done elsewhere.

Exit: 0 done, 1 the answer is no, 2 usage, 3 could not reach, open or not allowed, 70 a fault of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import re
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wfpd
from wfpd.control import client, protocol
from wfpd.control.protocol import RpcError
from wfpd.errors import CaptureError, ControlError, PolicyError, Problem, UsageError, WfpdError, first_of

if TYPE_CHECKING:
    from wfpd.capture import CapturedPacket
    from wfpd.netfilter.conflicts import Finding

DONE, NO, USAGE, UNREACHABLE, FAULT = 0, 1, 2, 3, 70
DEFAULT_POLICY = "/etc/wfpd/policy.yaml"
_FIRST_STEPS = """\
first steps, none of which touches this machine's traffic:
  wfpd lab                                  watch it decide real packets (root)
  wfpd check policy.yaml                    what is wrong with a policy
  wfpd replay --policy policy.yaml x.pcap   what it decides about a capture
  wfpd COMMAND --help                       more about one command

exit: 0 done, 1 the answer is no, 2 usage, 3 could not reach, open or not
allowed, 70 a fault of wfpd's"""
_FAILED_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
MAX_CHANGE = 30_000
"""Bytes of a change: escaped, it has to fit into one line of the control socket."""
_EXITS = "exit: 0 done, 1 the answer is no, 2 usage, 3 could not reach, open or not allowed, 70 a fault of wfpd's"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    _open_streams()
    arguments = parser().parse_args(argv)
    try:
        status = arguments.command(arguments)
        sys.stdout.flush()
        return int(status)
    except BrokenPipeError:
        _forget_stdout()
        return DONE
    except KeyboardInterrupt:
        return 130
    except WfpdError as error:
        return _say_error(error, arguments.debug)
    except OSError as error:
        if error.errno not in _FAILED_OUTPUT:
            return _report_fault(error, arguments.debug)
        _forget_stdout()
        return _say_error(ControlError(f"the output cannot be written: {error.strerror}"), arguments.debug)
    except Exception as error:
        return _report_fault(error, arguments.debug)


def _open_streams() -> None:
    """A stream that the caller has closed leads nowhere, not into the other or into a file that takes its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _forget_stdout() -> None:
    """The reader is gone: nothing more is written, not even at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _say_error(error: WfpdError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if isinstance(error, PolicyError):
        for problem in error.problems:
            _complain(f"error: {problem}")
    else:
        _complain(f"error: {error.message}" + (f"\n  hint: {error.hint}" if error.hint else ""))
    if error.exit_status == FAULT:
        return _report_fault(error, debug)
    return error.exit_status


def _report_fault(error: Exception, debug: bool) -> int:
    text = "".join(traceback.format_exception(error))
    if debug:
        _complain(text)
    where = "it could not be written down"
    with contextlib.suppress(OSError):
        handle, path = tempfile.mkstemp(prefix="wfpd-report-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"wfpd {wfpd.__version__}\nPython {sys.version}\n{sys.argv!r}\n\n{text}")
        where = f"the report is in {path}"
    _complain(f"wfpd: a fault of wfpd's own ({type(error).__name__}); {where}")
    return FAULT


# ---- arguments


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="show Python tracebacks")  # fmt: skip
    top = argparse.ArgumentParser(
        prog="wfpd", parents=[common], formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_FIRST_STEPS,
        description="The Windows Filtering Platform's policy model for Linux: decides packets by a policy file.",
    )  # fmt: skip
    top.set_defaults(debug=False)
    top.add_argument("--version", action="version", version=f"wfpd {wfpd.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, function: Callable[[argparse.Namespace], int], text: str, more: str = "",
            as_json: bool = False, socket: bool = False) -> argparse.ArgumentParser:  # fmt: skip
        described = f"{text[0].upper()}{text[1:]}. {more}"
        made = commands.add_parser(name, parents=[common], help=text, description=described, epilog=_EXITS)
        made.set_defaults(command=function)
        if as_json:
            made.add_argument("--json", action="store_true", help="print JSON for programs")
        if socket:
            made.add_argument("--socket", default=client.DEFAULT_PATH, metavar="PATH",
                              help="control socket of the daemon (default: %(default)s)")  # fmt: skip
        return made

    _add_local(add)
    _add_remote(add)
    return top


def _add_local(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Commands that need no daemon."""
    run = add(
        "run",
        run_daemon,
        "run the daemon in the foreground",
        "systemctl start wfpd does this for you. Exit 1: bad policy, 3: a queue is taken, or no CAP_NET_ADMIN.",
    )
    run.add_argument("--policy", default=DEFAULT_POLICY, metavar="FILE", help="policy file (default: %(default)s)")
    run.add_argument("--audit", action="store_true", help="permit everything; log and count what would be blocked")
    check = add("check", check_policy, "check a policy file", "Reports every error with its line; changes nothing. "
                "Exit 1: it does not load, or --strict and a lint.",
                as_json=True)  # fmt: skip
    check.add_argument("policy", nargs="?", metavar="FILE", help=f"policy file (default: {DEFAULT_POLICY})")
    check.add_argument("--policy", dest="policy_option", metavar="FILE", help=argparse.SUPPRESS)
    check.add_argument("--strict", action="store_true", help="lints are errors: exit 1")
    check.add_argument("--stats", action="store_true", help="show how large each layer's search table is")
    replay = add("replay", replay_capture, "decide the packets of a capture by a policy",
                 "One line a packet; touches neither the kernel nor the daemon. "
                 "Exit 1: bad policy, or the capture breaks off; 0 whatever the verdicts.", as_json=True)  # fmt: skip
    replay.add_argument("--policy", required=True, metavar="FILE", help="policy file")
    replay.add_argument("--hook", choices=("forward", "input", "output"), default="forward",
                        help="hook that every packet passes (default: %(default)s)")  # fmt: skip
    replay.add_argument("--local", metavar="PREFIX[,PREFIX...]",
                        help="this host's addresses: direction is taken from them instead of --hook")  # fmt: skip
    replay.add_argument("--eve", metavar="FILE", help="also write events in EVE's form")
    replay.add_argument("--checksums", action="store_true", help="verify checksums; a wrong one is malformed")
    replay.add_argument("capture", metavar="CAPTURE", help="pcap or pcapng file")
    _add_explain(add)
    diff = add("diff", compare_policies, "compare two policies by the traffic whose verdict changes",
               "Exact over the values of the fields. Exit 1: some verdict changes, or it is not decided.",
               as_json=True)  # fmt: skip
    diff.add_argument("old", metavar="OLD", help="policy file")
    diff.add_argument("new", metavar="NEW", help="policy file")
    diff.add_argument("--most", type=up_to(10000), default=200, metavar="N",
                      help="regions shown of each layer (default: %(default)s)")  # fmt: skip
    add("layers", show_layers, "list the layers, their fields and what feeds them", as_json=True)
    add("purge", purge_rules, "remove every rule of wfpd from the kernel",
        "The only command that removes rules which on_absent: block left in place. Exit 0 also where there were none.",
        as_json=True)  # fmt: skip
    add("lab", run_lab, "try wfpd on traffic of its own", "Makes network namespaces and removes them again.",
        as_json=True)  # fmt: skip
    bench = add("bench", run_bench, "measure what deciding a packet by a policy costs on this machine",
                "Fills queues in network namespaces of its own and drains them: with the policy, with no filters, and "
                "with an empty netfilterqueue callback. Takes some seconds, needs root, touches no traffic of this "
                "machine, and removes what it made.", as_json=True)  # fmt: skip
    bench.add_argument("--policy", default=DEFAULT_POLICY, metavar="FILE", help="policy file (default: %(default)s)")
    bench.add_argument("--capture", metavar="FILE", help="take the packets of this pcap or pcapng file, over and over "
                       "(default: made-up UDP packets)")  # fmt: skip
    bench.add_argument("--hook", action="append", choices=("input", "forward", "output"),
                       help="measure here; may be repeated (default: the hooks of the policy's attach)")  # fmt: skip
    bench.add_argument("--packets", type=up_to(65536), default=4096, metavar="N",
                       help="packets a round, up to 65536 (default: %(default)s)")  # fmt: skip
    bench.add_argument("--rounds", type=up_to(1000), default=9, metavar="N", help="rounds (default: %(default)s)")


def _add_explain(add: Callable[..., argparse.ArgumentParser]) -> None:
    """`wfpd explain` takes a described packet or one of a capture."""
    made = add("explain", explain_packet, "say why a packet is permitted or blocked",
               "Runs a packet that you describe, or one of a capture, through the policy's own tables and shows every "
               "filter that matched or nearly did. Calls no callout. Exit 0: permitted, 1: blocked.",
               as_json=True, socket=True)  # fmt: skip
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


def _add_remote(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Commands that ask the daemon."""
    add("status", show_status, "show whether wfpd is enforcing its policy, and every loss", "Exit 1: not enforcing.",
        as_json=True, socket=True)  # fmt: skip
    reload = add("reload", reload_policy, "read the policy files again",
                 "Waits and reports. Exit 1: refused, the old policy runs.", as_json=True, socket=True)  # fmt: skip
    reload.add_argument("--confirm", type=seconds, metavar="TIME",
                        help="go back by itself after TIME (60s, 5m) unless `wfpd confirm` comes first")  # fmt: skip
    add("confirm", confirm_policy, "keep the policy of a reload with --confirm",
        "Exit 1: nothing waits to be confirmed.", as_json=True, socket=True)  # fmt: skip
    filters = add("filters", change_filters, "add filters to the running policy, or delete some, at once",
                  "What is added lies beside the policy file and stays over reloads, until it is deleted or the daemon "
                  "ends. Exit 1: refused, nothing has changed.", as_json=True, socket=True)  # fmt: skip
    filters.add_argument("step", choices=("add", "delete"), help="what to do")
    filters.add_argument("what", nargs="+", metavar="FILE|KEY",
                         help="add: one file (- is standard input) with `version: 1` and filters, sublayers, sets, as "
                         "in a policy; delete: keys, as add prints them")  # fmt: skip
    events = add("events", show_events, "follow the daemon's events", as_json=True, socket=True)
    events.add_argument("--follow", action="store_true", help="go on until Ctrl-C (the default)")
    events.add_argument("--count", type=count, metavar="N", help="end after N events")
    events.add_argument("--last", action="store_true", help="show the last block and end; exit 1 if there was none")
    events.add_argument("--reopen", action="store_true", help="make the daemon reopen its event file and end")


def seconds(text: str) -> float:
    """`60s`, `5m`, `1h`, `500ms` or plain seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", text)
    value = float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2] or "s"] if match else 0.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 60s or 5m, at most 24h")
    return value


def count(text: str) -> int:
    """A number, 1 or more."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def up_to(most: int) -> Callable[[str], int]:
    """Reads a number from 1 to `most`."""

    def read(text: str) -> int:
        value = count(text)
        if value > most:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {most}")
        return value

    return read


# ---- commands without a daemon


def _must_open(path: str) -> None:
    """What cannot be opened is status 3, not a bad policy or capture."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ControlError(f"cannot open {path}: {error.strerror}") from error


def _print_json(document: object) -> None:
    print(json.dumps(document, default=str))


def run_daemon(arguments: argparse.Namespace) -> int:
    """`wfpd run`."""
    import logging

    from wfpd.daemon.service import run

    _must_open(arguments.policy)
    logging.basicConfig(level=logging.DEBUG if arguments.debug else logging.INFO, format="%(levelname)s: %(message)s")
    return run(arguments.policy, audit=arguments.audit)


def _problem_json(problem: Problem) -> dict[str, object]:
    return {"file": problem.location.file, "line": problem.location.line, "column": problem.location.column,
            "object": problem.subject, "message": problem.message, "hint": problem.hint,
            "code": problem.code}  # fmt: skip


def check_policy(arguments: argparse.Namespace) -> int:
    """`wfpd check`."""
    from dataclasses import asdict

    from wfpd.checking import check
    from wfpd.observe.table_sizes import describe_tables

    path = arguments.policy or arguments.policy_option or DEFAULT_POLICY
    _must_open(path)
    try:
        checked = check(path, stats=arguments.stats)
    except PolicyError as error:
        if not arguments.json:
            raise
        errors = [_problem_json(problem) for problem in error.problems]
        _print_json({"ok": False, "errors": errors, "lints": [], "rules": None, "others": [], "notes": []})
        return NO
    policy = checked.policy
    failed = arguments.strict and bool(policy.lints)
    if arguments.json:
        _print_json({"ok": not failed, "errors": [], "lints": [_problem_json(p) for p in policy.lints],
                     "filters": len(policy.filters), "hash": policy.hash, "files": policy.files,
                     "rules": checked.rules, "others": [_finding_json(f) for f in checked.others],
                     "notes": checked.notes,
                     **({"tables": [asdict(item) for item in checked.tables]} if arguments.stats else {})})  # fmt: skip
        return NO if failed else DONE
    if checked.rules:
        print(f"rules that `wfpd run` would install:\n{textwrap.indent(checked.rules.rstrip(), '  ')}")
    if arguments.stats:
        print("search tables:", *(f"  {line}" for line in describe_tables(checked.tables)), sep="\n")
    for prefix, lines in (("other", checked.others), ("note", checked.notes), ("lint", policy.lints)):
        for line in lines:
            print(f"{prefix}: {line}")
    print(f"{path}: {'refused (--strict)' if failed else 'ok'}, {len(policy.filters)} engine filters, "
          f"{len(policy.lints)} lints, hash {policy.hash[:12]}")  # fmt: skip
    return NO if failed else DONE


def _finding_json(finding: Finding) -> dict[str, str]:
    return {"kind": finding.kind.value, "where": finding.where, "text": finding.text, "owner": finding.owner,
            "hint": finding.hint}  # fmt: skip


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
            _complain(f"wfpd replay: --local: {error}")
            return USAGE
    _must_open(arguments.policy)
    policy = load_policy(arguments.policy, trust="warn")
    with contextlib.ExitStack() as stack:
        each = None
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

        try:
            packets = _warn_of_links(_capture(arguments.capture))
            return replay.run(policy, packets, hook=arguments.hook, local=local, checksums=arguments.checksums,
                              as_json=arguments.json, each=each)  # fmt: skip
        except CaptureError as error:
            _complain(f"error: {error.message}")
            return NO


def _capture(path: str) -> Iterator[CapturedPacket]:
    from wfpd import replay

    try:
        return replay.read_capture(path)
    except OSError as error:
        raise ControlError(f"cannot open {path}: {error.strerror}") from error


def _warn_of_links(packets: Iterator[CapturedPacket]) -> Iterator[CapturedPacket]:
    """The same packets; one line on stderr for each link type whose packets cannot be told to be IP."""
    from wfpd.capture import SUPPORTED_LINK_TYPES

    said: set[int] = set()
    for packet in packets:
        if packet.link_type not in SUPPORTED_LINK_TYPES and packet.link_type not in said:
            said.add(packet.link_type)
            _complain(f"warning: link type {packet.link_type} is not read: every packet of it counts as not IP")
        yield packet


def explain_packet(arguments: argparse.Namespace) -> int:
    """`wfpd explain`."""
    from wfpd.observe.explain_text import render

    document = _explained_live(arguments) if arguments.live else _explained(arguments)
    if arguments.json:
        _print_json(document)
    else:
        sys.stdout.write(render(document, sys.stdout.isatty() and "NO_COLOR" not in os.environ))
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
        _must_open(path)
        explainer = explaining.Explainer(load_policy(path, trust="warn"), hook=arguments.hook, answers=answers)
        return explainer.explain(packet, **options)
    given = [name for name in ("proto", "src", "dst", "flags", "icmp", "interface") if getattr(arguments, name)]
    if given:
        raise UsageError(f"--{given[0]} describes a packet, and --pcap takes one from a capture")
    try:
        local = None if arguments.local is None else replay.parse_local(arguments.local)
    except ValueError as error:
        raise UsageError(f"--local: {error}") from error
    _must_open(path)
    explainer = explaining.Explainer(load_policy(path, trust="warn"), hook=arguments.hook or "forward", local=local,
                                     answers=answers)  # fmt: skip
    return explainer.explain_nth(_capture(arguments.pcap), arguments.packet or 1, **options)


def _explained_live(arguments: argparse.Namespace) -> dict[str, Any]:
    from wfpd.explaining import parse_answers
    from wfpd.imagined import imagine

    if arguments.pcap is not None or arguments.policy is not None:
        raise UsageError("--live asks the daemon: it takes neither --pcap nor --policy")
    described = _described(arguments)
    imagine(**described)  # What is wrong with it is said here.
    params = {**described, "hook": arguments.hook, "interface": arguments.interface,
              "mark": arguments.mark, "near": arguments.near, "answers": parse_answers(arguments.answer)}  # fmt: skip
    with client.Client(arguments.socket) as connection:
        try:
            found: dict[str, Any] = connection.call("explain", **{k: v for k, v in params.items() if v is not None})
        except RpcError as error:
            hint = str(error.data.get("hint", "")) if isinstance(error.data, dict) else ""
            wrong = UsageError if error.code == protocol.INVALID_PARAMS else ControlError
            raise wrong(f"explain: {error.message}", hint=hint) from error
    return found


def compare_policies(arguments: argparse.Namespace) -> int:
    """`wfpd diff`."""
    from wfpd.comparing import compare, render
    from wfpd.config import load_policy

    for path in (arguments.old, arguments.new):
        _must_open(path)
    old, new = (load_policy(path, trust="warn") for path in (arguments.old, arguments.new))
    document = compare(old, new, arguments.most)
    if arguments.json:
        _print_json(document)
    else:
        sys.stdout.write(render(document))
    return DONE if document["same"] else NO


def show_layers(arguments: argparse.Namespace) -> int:
    """`wfpd layers`."""
    from wfpd.observe import layers_doc

    layers = layers_doc.layers_json()
    if arguments.json:
        _print_json({"layers": layers})
    else:
        print(describe_layers(layers))
    return DONE


def describe_layers(layers: list[dict[str, Any]]) -> str:
    """The table for a person: each layer that packets visit with its fields, then the others with the reason."""
    lines = []
    for layer in layers:
        if not layer["families"] or layer["discard"]:
            continue
        names = " ".join(family["name"] for family in layer["families"])
        lines.append(f"{layer['name']}  ({names}; fed by {' and '.join(layer['hooks'])})")
        if layer["has_twin"]:
            lines.append(f"  discard twin: {layer['name']}_discard, with the same fields")
        if not layer["served"]:
            lines.append(f"  NOT SERVED: {layer['why_not']}")
        for field in layer["fields"]:
            kind = " / ".join(dict.fromkeys(field["type"].values()))
            status = f"{field['status']}: {field['why']}" if field["why"] else field["status"]
            lines.append(f"  {field['name']:<36} {kind:<24} {status}")
        lines.append("")
    lines.append("layers of WFP that nothing here can feed:")
    lines += [f"  {layer['name']:<36} {layer['why_not']}" for layer in layers if not layer["families"]]
    return "\n".join(lines)


def purge_rules(arguments: argparse.Namespace) -> int:
    """`wfpd purge`."""
    from wfpd.netfilter import rules

    removed = rules.purge(rules.Commands())
    if arguments.json:
        _print_json({"removed": removed})
    else:
        print("every rule of wfpd is removed" if removed else "there were no rules of wfpd")
    return DONE


def _root() -> Path:
    return Path(wfpd.__file__).parent.parent


def _environment() -> dict[str, str]:
    """A child finds the wfpd that this one is."""
    return {**os.environ, "PYTHONPATH": str(_root())}


def run_lab(arguments: argparse.Namespace) -> int:
    """`wfpd lab`: another program of the package, in this process's place."""
    rest = ["--json"] if arguments.json else []
    os.execve(sys.executable, [sys.executable, "-P", "-m", "wfpd.lab", *rest], _environment())


def run_bench(arguments: argparse.Namespace) -> int:
    """`wfpd bench`."""
    import signal

    from wfpd.bench import measure
    from wfpd.config import load_policy

    for path in (arguments.policy, *filter(None, [arguments.capture])):
        _must_open(path)
    policy = load_policy(arguments.policy, trust="warn")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Namespaces are removed as after Ctrl-C.
    hooks = tuple(dict.fromkeys(arguments.hook or ()))
    result = measure.measure(policy, measure.Settings(hooks, arguments.capture or "", arguments.packets,
                                                      arguments.rounds))  # fmt: skip
    if arguments.json:
        _print_json({"policy": arguments.policy, **result})
    else:
        print(f"{arguments.policy}: {measure.render(result)}")
    return DONE


# ---- commands that ask the daemon


def _ask(arguments: argparse.Namespace, method: str, **params: object) -> Any:
    with client.Client(arguments.socket) as connection:
        return _call(connection, method, **params)


def _call(connection: client.Client, method: str, **params: object) -> Any:
    """The result.  "Not allowed" is status 3; other refusals are for the caller."""
    try:
        return connection.call(method, **params)
    except RpcError as error:
        if error.code == protocol.REFUSED:
            raise
        raise ControlError(f"{method}: {error.message}") from error


def show_status(arguments: argparse.Namespace) -> int:
    """`wfpd status`."""
    from wfpd.control.status import render_status

    status = _ask(arguments, "status")
    if arguments.json:
        _print_json(status)
    else:
        color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        sys.stdout.write(render_status(status, color))
    return DONE if status["enforcing"] else NO


def reload_policy(arguments: argparse.Namespace) -> int:
    """`wfpd reload`."""
    params = {} if arguments.confirm is None else {"confirm": arguments.confirm}
    try:
        result = _ask(arguments, "reload", **params)
    except RpcError as error:
        return _say_refusal(error, arguments.json)
    if arguments.json:
        _print_json(result)
        return DONE if result["successful"] else NO
    for problem in result["problems"]:
        _complain(f"error: {problem['text']}")
    for text in first_of(lint["text"] for lint in result["lints"]):
        _complain(f"lint: {text}")
    if not result["successful"]:
        _complain(f"refused; the old policy runs (generation {result['generation']})")
        return NO
    print(f"generation {result['generation']}, {result['n_filters']} engine filters, hash {result['hash'][:12]}, "
          f"{result['seconds']:.3f} s")  # fmt: skip
    if result["restart_needed"]:
        print(f"restart needed for {', '.join(result['restart_needed'])}")
    if result["confirm_within"] is not None:
        print(f"rolls back in {result['confirm_within']:g} s unless `wfpd confirm` comes first")
    return DONE


def confirm_policy(arguments: argparse.Namespace) -> int:
    """`wfpd confirm`."""
    try:
        result = _ask(arguments, "confirm")
    except RpcError as error:
        return _say_refusal(error, arguments.json)
    if arguments.json:
        _print_json(result)
    else:
        print(f"generation {result['generation']} stays")
    return DONE


def change_filters(arguments: argparse.Namespace) -> int:
    """`wfpd filters`."""
    try:
        if arguments.step == "delete":
            result = _ask(arguments, "filters.delete", keys=arguments.what)
        else:
            result = _ask(arguments, "filters.add", policy=_change_text(arguments.what))
    except RpcError as error:
        return _say_refusal(error, arguments.json)
    if arguments.json:
        _print_json(result)
        return DONE
    for item in result.get("filters", ()):
        print(f"{item['key']}  {item['layer']}  {item['name']}")
    done = f"{result['deleted']} deleted" if "deleted" in result else f"{len(result['filters'])} engine filters added"
    _complain(f"generation {result['generation']}: {done}")
    return DONE


def _change_text(files: Sequence[str]) -> str:
    """The text of the one file, or of standard input."""
    if len(files) > 1:
        raise ControlError("filters add takes one file", hint="what belongs together is one change")
    if files[0] != "-":
        _must_open(files[0])
    try:
        text = (sys.stdin.buffer.read(MAX_CHANGE + 1) if files[0] == "-" else Path(files[0]).read_bytes()).decode()
    except (UnicodeDecodeError, OSError) as error:
        raise ControlError(f"{files[0]}: is not UTF-8 text") from error
    if len(text) > MAX_CHANGE:
        raise ControlError(f"{files[0]}: a change is at most {MAX_CHANGE:,} bytes",
                           hint="put many filters into the policy file and reload")  # fmt: skip
    return text


def _say_refusal(error: RpcError, as_json: bool) -> int:
    data = error.data if isinstance(error.data, dict) else {}
    if as_json:
        _print_json({"successful": False, "error": error.message, **data})
    else:
        for problem in data.get("problems", ()):
            _complain(f"error: {problem}")
        if not data.get("problems"):
            _complain(f"error: {error.message}" + (f"\n  hint: {data['hint']}" if "hint" in data else ""))
    return NO


def show_events(arguments: argparse.Namespace) -> int:
    """`wfpd events`."""
    with client.Client(arguments.socket) as connection:
        try:
            if arguments.reopen:
                _call(connection, "events.reopen")
                return DONE
            if arguments.last:
                return _show_last(_call(connection, "events.last"), arguments.json)
            following = connection.events()
            _complain("following; from here on every event is shown, Ctrl-C ends")
            for number, event in enumerate(following, 1):
                print(json.dumps(event, separators=(",", ":")) if arguments.json else describe_event(event), flush=True)
                if arguments.count is not None and number >= arguments.count:
                    return DONE
        except RpcError as error:
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
