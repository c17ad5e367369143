"""What `wfpd status` shows of the daemon's answer: one screen of 80 columns."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

_RED, _GREEN, _PLAIN = "\x1b[31;1m", "\x1b[32m", "\x1b[0m"
_WORDS = ("on_absent", "on_full", "on_late", "on_error", "on_malformed")


def render_status(status: Mapping[str, Any], color: bool = False) -> str:
    """The screen; every line at most 80 columns, colours apart."""
    state = _paint("enforcing", _GREEN, color) if status["enforcing"] else _paint("NOT ENFORCING", _RED, color)
    audit = " (audit: everything is permitted)" if status["audit"] else ""
    process = f"pid {status['pid']}   up {_duration(status['uptime_seconds'])}"
    lines = [f"wfpd {status['version']}: {state}{audit}"]
    for reason in reasons(status):
        lines += textwrap.wrap(reason, 78, initial_indent="  ", subsequent_indent="    ")
    lines += [
        f"policy      {status['policy']}",
        f"generation  {status['generation']}   hash {status['hash'][:12]}   {process}",
        *_reload(status["reload"]),
        f"faults      {_words(status['words'])}",
        f"flows       {status['flows']['used']} of {status['flows']['max']}",
        "",
        f"{'hook':<12} {'rules':<10} {'queues':<16} {'uninspected':>12}",
    ]
    for hook in status["hooks"]:
        count = _alarm(hook["uninspected"], 12, color)
        lines.append(f"{hook['hook']:<12} {_rules(hook, color)} {_ranges(hook.get('queues', ())):<16.16} {count}")
    lines += ["", "queue waiting    permitted      blocked lost:full    user  socket   gaps"]
    lines += [_queue(queue, color) for queue in status["queues"]]
    return "\n".join(line if "\x1b" in line else line[:80] for line in lines) + "\n"


def reasons(status: Mapping[str, Any]) -> list[str]:
    """Why it does not enforce and what else a reader must know, a line each."""
    found = [f"{hook['uninspected']} packets passed uninspected at {hook['hook']}"
             for hook in status["hooks"] if hook["uninspected"]]  # fmt: skip
    if "why_not" in status:
        return [f"not enforcing: {reason}" for reason in status["why_not"]] + found
    found += [f"the rules of {hook['hook']} are missing or shadowed: {hook['problem'] or 'not in place'}"
              for hook in status["hooks"] if not hook["rules"] and not _unneeded(hook)]  # fmt: skip
    found += [f"UNBOUND: nobody decides the packets of queue {queue['queue']}"
              for queue in status["queues"] if not queue["bound"]]  # fmt: skip
    if status["rules_error"]:
        found.append(f"the rules cannot be looked at: {status['rules_error']}")
    return found


def _words(words: Mapping[str, str]) -> str:
    """`block: on_absent   permit: on_full, on_late`: at most 68 columns, whatever they are."""
    parts = []
    for choice in ("block", "permit"):
        if names := [word for word in _WORDS if words[word] == choice]:
            parts.append(f"{choice}: {', '.join(names)}")
    return "  ".join(parts)


def _unneeded(hook: Mapping[str, Any]) -> bool:
    return str(hook["problem"]).startswith("no filter needs it")


def _rules(hook: Mapping[str, Any], color: bool) -> str:
    if _unneeded(hook):
        return f"{'not needed':<10}"
    if hook["rules"]:
        return f"{'present':<10}"
    return _paint(f"{'SHADOWED' if hook['problem'] else 'MISSING':<10}", _RED, color)


def _ranges(numbers: Sequence[int]) -> str:
    """`0-3, 8`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def _queue(queue: Mapping[str, Any], color: bool) -> str:
    losses = (("dropped_full", 10), ("dropped_user", 8), ("socket_drops", 8), ("id_gaps", 7))
    cells = "".join(_alarm(queue[name], width, color) for name, width in losses)
    number = f"{queue['queue']:>5}" if queue["bound"] else _paint(f"{queue['queue']:>4}!", _RED, color)
    row = f"{number} {queue['length']:>7} {queue['permitted']:>12} {queue['blocked']:>12}"
    return f"{row}{cells}"


def _reload(reload: Mapping[str, Any]) -> list[str]:
    when = reload["last_success_timestamp"]
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when else "never"
    if reload["confirm_remaining"] is not None:
        text += f"; rolls back in {reload['confirm_remaining']:.0f} s unless confirmed"
    lines = [f"loaded      {text}"]
    if not reload["last_successful"]:
        why = textwrap.shorten(f"LAST REFUSED: {reload['last_error']}", 136, placeholder=" ...")
        lines += textwrap.wrap(why, 80, initial_indent="reload      ", subsequent_indent="            ")
    return lines


def _duration(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}d{hours % 24:02d}h" if hours >= 24 else f"{hours}h{minutes:02d}m{whole:02d}s"


def _alarm(count: int, width: int, color: bool) -> str:
    return _paint(f"{count:>{width}}", _RED, color and count > 0)


def _paint(text: str, code: str, color: bool) -> str:
    return f"{code}{text}{_PLAIN}" if color else text
