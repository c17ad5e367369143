"""What `wfpd top` shows: a reading and its rates as lines of a screen, cut to its size."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wfpd.cli import tables
from wfpd.cli.rates import LOSSES, VERDICTS, View

PLAIN, GOOD, BAD, TITLE = "", "green", "bold red", "bold"
"""Styles."""
Line = list[tuple[str, str]]
"""Pieces of text with their styles."""
_LEVELS = " .:-=+*#"
_CUT = "~"
_MAX_QUEUES = 6
"""Queues that a screen of usual height shows."""
_NAME, _LAYER = 20, 25
"""Columns of a filter's name on 80 columns, and of its layer."""


def lines(view: View, width: int, height: int) -> list[Line]:
    """At most `height` lines of at most `width` columns; whatever the size, nothing wider and no error."""
    reading = view.reading
    if reading is None:
        return _cut([[(view.problem or "no reading yet", BAD)]], width, height)
    found = [*_head(view, reading, width), *([] if not view.problem else [[(view.problem, BAD)]]), []]
    n_queues = min(_MAX_QUEUES, max(1, (height - len(found) - 1) // 3))
    found += _queues(view, reading["queues"], n_queues)
    found += [[], *_filters(view, reading, width, max(0, height - len(found) - 2))]
    return _cut(found, width, height)


def text(found: Iterable[Line]) -> str:
    """The lines without their styles."""
    return "\n".join("".join(piece for piece, _ in line).rstrip() for line in found)


def _cut(found: Sequence[Line], width: int, height: int) -> list[Line]:
    return [_cut_line(line, width) for line in found[: max(0, height)]]


def _cut_line(line: Line, width: int) -> Line:
    kept: Line = []
    for piece, style in line:
        shown = tables.cut(tables.harmless(piece), max(0, width), _CUT)
        width -= tables.width_of(shown)
        kept.append((shown, style))
    return kept


def _head(view: View, reading: Mapping[str, Any], width: int) -> list[Line]:
    state = ("enforcing", GOOD) if reading["enforcing"] else ("NOT ENFORCING", BAD)
    clock = time.strftime("%H:%M:%S", time.gmtime(reading["time"]))
    rest = f"   generation {reading['generation']}   up {_duration(reading['time'] - reading['started'])}"
    used = len(f"wfpd: {state[0]}{rest}")
    flows, uninspected = reading["flows"], sum(reading["uninspected"].values())
    vetoes = sum(reading["vetoes"].values())
    return [
        [("wfpd: ", TITLE), state, (rest, PLAIN), (f"{clock + ' UTC':>{max(14, width - used)}}", PLAIN)],
        *[_verdict(view, reading, verdict, max(0, width - 44)) for verdict in VERDICTS],
        [(f"flows {flows['count']:,} of {flows['max']:,}   uninspected ", PLAIN),
         (f"{uninspected:,}", BAD if uninspected else PLAIN), (f"   vetoes {vetoes:,}", PLAIN)],
    ]  # fmt: skip


def _verdict(view: View, reading: Mapping[str, Any], verdict: str, columns: int) -> Line:
    rate = None if view.rates is None else view.rates.packets[verdict]
    numbers = f"{verdict:<6} {_per_second(rate, 11)}/s  total {_count(reading['packets'][verdict], 13)}  "
    return [(numbers, PLAIN), (sparkline(list(view.history[verdict])[-columns:] if columns else []), PLAIN)]


def sparkline(values: Sequence[float]) -> str:
    """One character a value, its height by the largest; only an exact zero is empty."""
    most = max(values, default=0.0)
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[0 if value <= 0 else max(1, round(value / most * top))] for value in values)


def _queues(view: View, queues: Sequence[Mapping[str, Any]], n_lines: int) -> list[Line]:
    """At most so many lines below the title; where not all have room, those that lose or wait most."""
    losses = "".join(f"{name:>10}" for name in ("lost:full", "user", "socket", "gaps"))
    found: list[Line] = [[(f"{'queue':>5} {'waiting':>8} {'permit/s':>11} {'block/s':>11}{losses}", TITLE)]]
    ranked = sorted(queues, key=lambda queue: (-_lost(queue), -queue["length"], queue["queue"]))
    n_shown = len(queues) if len(queues) <= n_lines else n_lines - 1
    found += [_queue(view, queue) for queue in sorted(ranked[:n_shown], key=lambda queue: queue["queue"])]
    if rest := ranked[n_shown:]:
        lost = sum(map(_lost, rest))
        found.append([(f"{len(rest)} more, {sum(queue['length'] for queue in rest):,} waiting, ", PLAIN),
                      (f"{lost:,} lost", BAD if lost else PLAIN)])  # fmt: skip
    return found


def _lost(queue: Mapping[str, Any]) -> int:
    return sum(queue[name] for name in LOSSES)


def _queue(view: View, queue: Mapping[str, Any]) -> Line:
    rate = {} if view.rates is None else view.rates.queues.get(queue["queue"], {})
    number = (f"{queue['queue']:>5}", PLAIN) if queue["bound"] else (f"{queue['queue']:>4}!", BAD)
    losses = [(_count(queue[name], 10), BAD if queue[name] else PLAIN) for name in LOSSES]
    permitted, blocked = (_per_second(rate.get(name), 11) for name in ("permitted", "blocked"))
    return [number, (f" {_count(queue['length'], 8)} {permitted} {blocked}", PLAIN), *losses]


def _filters(view: View, reading: Mapping[str, Any], width: int, n_shown: int) -> list[Line]:
    rates = {} if view.rates is None else view.rates.filters
    ranked = sorted(reading["filters"], key=lambda item: (-rates.get(item["key"], 0.0), -item["hits"], item["name"]))
    name = _NAME + max(0, width - 80)
    head = f"{'filter':<{name}} {'layer':<{_LAYER}} {'action':<6} {'hits/s':>8} {'total':>8} {'last hit':>8}"
    found: list[Line] = [[(head, TITLE)]]
    for item in ranked[:n_shown]:
        rate = rates.get(item["key"])
        action = str(item["action"]).replace("callout_", "")
        cells = [_cell(item["name"], name), _cell(item["layer"], _LAYER), _cell(action, 6), _per_second(rate, 8),
                 _count(item["hits"], 8), f"{_last(item, rate, reading['time']):>8}"]  # fmt: skip
        found.append([(" ".join(cells), PLAIN)])
    if not ranked:
        found.append([("no hits are known", PLAIN)])
    return found


def _cell(found: object, columns: int) -> str:
    return tables.padded(tables.cut(tables.harmless(tables.value(found)), columns, _CUT), columns)


def _last(item: Mapping[str, Any], rate: float | None, now: float) -> str:
    if rate:
        return "now"
    if item["last_hit"] is None:
        return tables.NOTHING if item["hits"] else "never"
    return tables.ago(item["last_hit"], now).replace(" ago", "")


def _count(found: int, columns: int) -> str:
    """A count, shortened to thousands and so on where it would not fit."""
    for size, unit in ((1, ""), (1000, "k"), (10**6, "M"), (10**9, "G"), (10**12, "T"), (10**15, "P"), (10**18, "E")):
        said = f"{found // size:,}{unit}"
        if len(said) < columns:
            return f"{said:>{columns}}"
    return f"{'many':>{columns}}"


def _per_second(rate: float | None, columns: int) -> str:
    if rate is None:
        return f"{tables.NOTHING:>{columns}}"
    return f"{rate:>{columns}.1f}" if 0 < rate < 10 else _count(round(rate), columns)


def _duration(seconds: float) -> str:
    minutes, whole = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}d{hours % 24:02d}h" if hours >= 24 else f"{hours}h{minutes:02d}m{whole:02d}s"
