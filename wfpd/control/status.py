"""What `wfpd status` shows of the daemon's answer: one screen of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

_RED, _GREEN, _PLAIN = "\x1b[31;1m", "\x1b[32m", "\x1b[0m"
_WORDS = ("on_absent", "on_full", "on_late", "on_error", "on_malformed")


def render_status(status: Mapping[str, Any], color: bool = False) -> str:
    """The screen; every line at most 80 columns, colours apart."""
    state = _paint("enforcing", _GREEN, color) if status["enforcing"] else _paint("NOT ENFORCING", _RED, color)
    audit = " (audit: everything is permitted)" if status["audit"] else ""
    process = f"pid {status['pid']}   up {_duration(status['uptime_seconds'])}"
    words = " ".join(f"{word[3:]}={status['words'][word]}" for word in _WORDS)
    lines = [f"wfpd {status['version']}: {state}{audit}"]
    lines += [f"  {reason}" for reason in reasons(status)]
    lines += [
        f"policy      {status['policy']}",
        f"generation  {status['generation']}   hash {status['hash'][:12]}   {process}",
        f"reload      {_reload(status['reload'])}",
        f"words       {words}",
        f"flows       {status['flows']['used']} of {status['flows']['max']}",
        "",
        f"{'hook':<12} {'rules':<10} {'uninspected':>12}",
    ]
    for hook in status["hooks"]:
        count = _alarm(hook["uninspected"], 12, color)
        lines.append(f"{hook['hook']:<12} {_rules(hook, color)} {count}")
    lines += ["", "queue waiting    permitted      blocked lost:full    user  socket   gaps"]
    lines += [_queue(queue, color) for queue in status["queues"]]
    return "\n".join(line if "\x1b" in line else line[:80] for line in lines) + "\n"


def reasons(status: Mapping[str, Any]) -> list[str]:
    """What a reader must know, a line each; why it does not enforce only where the status lacks `why_not`."""
    found = [f"{hook['uninspected']} packets passed uninspected at {hook['hook']}"
             for hook in status["hooks"] if hook["uninspected"]]  # fmt: skip
    if "why_not" in status:
        return found
    found += [f"the rules of {hook['hook']} are missing or shadowed: {hook['problem'] or 'not in place'}"
              for hook in status["hooks"] if not hook["rules"] and not _unneeded(hook)]  # fmt: skip
    found += [f"UNBOUND: nobody decides the packets of queue {queue['queue']}"
              for queue in status["queues"] if not queue["bound"]]  # fmt: skip
    if status["rules_error"]:
        found.append(f"the rules cannot be looked at: {status['rules_error']}")
    return found


def _unneeded(hook: Mapping[str, Any]) -> bool:
    return str(hook["problem"]).startswith("no filter needs it")


def _rules(hook: Mapping[str, Any], color: bool) -> str:
    if _unneeded(hook):
        return f"{'not needed':<10}"
    return f"{'present':<10}" if hook["rules"] else _paint(f"{'MISSING':<10}", _RED, color)


def _queue(queue: Mapping[str, Any], color: bool) -> str:
    losses = (("dropped_full", 10), ("dropped_user", 8), ("socket_drops", 8), ("id_gaps", 7))
    cells = "".join(_alarm(queue[name], width, color) for name, width in losses)
    number = f"{queue['queue']:>5}" if queue["bound"] else _paint(f"{queue['queue']:>4}!", _RED, color)
    row = f"{number} {queue['length']:>7} {queue['permitted']:>12} {queue['blocked']:>12}"
    return f"{row}{cells}"


def _reload(reload: Mapping[str, Any]) -> str:
    when = reload["last_success_timestamp"]
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when else "never"
    if not reload["last_successful"]:
        text = f"LAST REFUSED ({reload['last_error']}); last good {text}"
    if reload["confirm_remaining"] is not None:
        text += f"; rolls back in {reload['confirm_remaining']:.0f} s unless confirmed"
    return text


def _duration(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}d{hours % 24:02d}h" if hours >= 24 else f"{hours}h{minutes:02d}m{whole:02d}s"


def _alarm(count: int, width: int, color: bool) -> str:
    return _paint(f"{count:>{width}}", _RED, color and count > 0)


def _paint(text: str, code: str, color: bool) -> str:
    return f"{code}{text}{_PLAIN}" if color else text
