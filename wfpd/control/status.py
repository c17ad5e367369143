"""What `wfpd status` says: built by the daemon as data, shown on one screen of 80 columns."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import wfpd
from wfpd.model.policy import Faults
from wfpd.observe.counters import EngineCounters

_RED, _GREEN, _PLAIN = "\x1b[31;1m", "\x1b[32m", "\x1b[0m"
_WORDS = ("on_absent", "on_full", "on_late", "on_error", "on_malformed")


def build_status(
    now: EngineCounters,
    *,
    faults: Faults,
    policy: str,
    rules: Mapping[str, bool],
    why_not: tuple[str, ...] = (),
    confirm_within: float | None = None,
    audit: bool = False,
    uptime: float = 0.0,
) -> dict[str, Any]:
    """`rules`: {attached hook: our rules stand there}; `why_not`: reasons for not enforcing, one line each."""
    reload = now.reload
    return {
        "enforcing": now.enforcing,
        "why_not": list(why_not),
        "audit": audit,
        "version": wfpd.__version__,
        "pid": os.getpid(),
        "uptime": round(uptime, 3),
        "policy": policy,
        "generation": reload.generation,
        "hash": reload.hash,
        "hooks": [
            {"hook": hook, "rules": present, "uninspected": now.uninspected.get(hook, 0)}
            for hook, present in rules.items()
        ],
        "queues": [
            {
                "queue": number, "bound": queue.bound, "length": queue.queue_length, "packets": dict(queue.packets),
                "dropped_full": queue.dropped_full, "dropped_user": queue.dropped_user,
                "socket_drops": queue.socket_drops, "id_gaps": queue.id_gaps, "truncated": queue.receive_truncated,
            }
            for number, queue in sorted(now.queues.items())
        ],
        "uninspected": sum(now.uninspected.values()),
        "flows": {"now": now.flows, "max": now.flows_max},
        "reload": {
            "requests": reload.requests, "successful": reload.last_successful,
            "timestamp": reload.last_success_timestamp, "seconds": reload.last_duration,
            "error": reload.last_error, "confirm_within": confirm_within,
        },
        "words": {word: getattr(faults, word).name.lower() for word in _WORDS}
        | {"late_after": faults.late_after},
    }  # fmt: skip


def render_status(status: Mapping[str, Any], color: bool = False) -> str:
    """The screen; every line at most 80 columns."""
    enforcing = status["enforcing"]
    state = _paint("enforcing" if enforcing else "NOT ENFORCING", _GREEN if enforcing else _RED, color)
    audit = " (audit: everything is permitted)" if status["audit"] else ""
    process = f"pid {status['pid']}   up {_duration(status['uptime'])}"
    lines = [f"wfpd {status['version']}: {state}{audit}"]
    lines += [f"  {reason}" for reason in status["why_not"]]
    lines += [
        f"policy      {status['policy']}",
        f"generation  {status['generation']}   hash {status['hash'][:12]}   {process}",
        f"reload      {_reload(status['reload'])}",
        "words       " + "  ".join(f"{word[3:]} {status['words'][word]}" for word in _WORDS),
        f"flows       {status['flows']['now']} of {status['flows']['max']}",
        "",
        f"{'hook':<12} {'rules':<8} {'uninspected':>12}",
    ]
    for hook in status["hooks"]:
        count = _alarm(hook["uninspected"], 12, color)
        rules = "present" if hook["rules"] else _paint("MISSING", _RED, color)
        lines.append(f"{hook['hook']:<12} {rules:<8} {count}")
    lines += ["", "queue waiting    permitted      blocked lost:full    user  socket   gaps"]
    lines += [_queue(queue, color) for queue in status["queues"]]
    if not all(queue["bound"] for queue in status["queues"]):
        lines.append(_paint("! UNBOUND: nobody decides the packets of this queue", _RED, color))
    return "\n".join(line if "\x1b" in line else line[:80] for line in lines) + "\n"


def _queue(queue: Mapping[str, Any], color: bool) -> str:
    losses = (("dropped_full", 10), ("dropped_user", 8), ("socket_drops", 8), ("id_gaps", 7))
    cells = "".join(_alarm(queue[name], width, color) for name, width in losses)
    packets = queue["packets"]
    number = f"{queue['queue']:>5}" if queue["bound"] else _paint(f"{queue['queue']:>4}!", _RED, color)
    row = f"{number} {queue['length']:>7} {packets['permit']:>12} {packets['block']:>12}"
    return f"{row}{cells}"


def _reload(reload: Mapping[str, Any]) -> str:
    when = reload["timestamp"]
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when else "never"
    if not reload["successful"]:
        text = f"LAST ONE REFUSED ({reload['error']}); last good {text}"
    if reload["confirm_within"] is not None:
        text += f"; rolls back in {reload['confirm_within']:.0f} s unless confirmed"
    return text


def _duration(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}d{hours % 24:02d}h" if hours >= 24 else f"{hours}h{minutes:02d}m{whole:02d}s"


def _alarm(count: int, width: int, color: bool) -> str:
    return _paint(f"{count:>{width}}", _RED, color and count > 0)


def _paint(text: str, code: str, color: bool) -> str:
    return f"{code}{text}{_PLAIN}" if color else text
