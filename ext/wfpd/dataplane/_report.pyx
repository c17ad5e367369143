"""What was counted and what happened, as plain values for control threads.

Counters are read while their threads go on counting: each number is some recent value, never a torn
one, and two of them may be a packet apart.
"""

import logging
import time

from wfpd.errors import told

from ._arbitrate cimport decision_dict
from ._batch cimport QueueState
from ._context cimport ClassifyContext
from ._stats cimport EventRecord, histogram_dict
from ._types cimport *

logger = logging.getLogger("wfpd.engine")
BURST_SECONDS = 10.0
MOST_FRAMES = 10                    # At either end.
OURS = ("wfpd.dataplane.", "wfpd.callouts.registered", "wfpd.callouts.waiting", "asyncio.")
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_KINDS = ("drop", "wfp", "audit")


cdef dict event_dict(const EventRecord* record):
    return {
        "timestamp_ns": record.timestamp_ns, "generation": record.generation, "kind": _KINDS[record.kind],
        "hook": HOOKS[record.hook] if record.hook < 5 else None, "family": record.family,
        "protocol": record.protocol, "in_interface": record.in_interface, "out_interface": record.out_interface,
        "length": record.length, "suppressed": record.suppressed,
        "bytes": (<const char*>record.bytes)[:record.n_bytes],
    } | decision_dict(&record.decision)


cdef dict queue_dict(const QueueState* queue):
    return {
        "packets": {"permit": queue.packets[<int>ACTION_PERMIT], "block": queue.packets[<int>ACTION_BLOCK]},
        "bytes": {"permit": queue.octets[<int>ACTION_PERMIT], "block": queue.octets[<int>ACTION_BLOCK]},
        "batch": histogram_dict(&queue.batch),
        "id_gaps": queue.ids.gaps, "decided_through": queue.ids.decided_through,
        "receive_truncated": queue.truncated, "malformed_messages": queue.malformed, "strays": queue.strays,
        "verdicts_not_found": queue.not_found, "verdicts_refused": queue.refused, "late": queue.late,
        "parked": queue.parked, "modified": queue.modified,
    }


cdef dict callout_durations(ClassifyContext context):
    return {name: {"count": entry[0], "sum": entry[1] / 1e9, "buckets": list(entry[2])}
            for name, entry in list(context.durations.items())}


def add_counts(total, more):
    """Add numbers, lists of numbers and dicts of either into `total`, in place."""
    for key, value in more.items():
        if isinstance(value, dict):
            add_counts(total.setdefault(key, {}), value)
        elif isinstance(value, list):
            total[key] = [a + b for a, b in zip(total.get(key, [0] * len(value)), value)]
        else:
            total[key] = total.get(key, 0) + value


def own_frames(error):
    """Where the callout was when it raised, innermost last: its own frames and those below, none of wfpd's or asyncio's."""
    trace, found = error.__traceback__, []
    while trace is not None:
        if not trace.tb_frame.f_globals.get("__name__", "").startswith(OURS):
            code = trace.tb_frame.f_code
            found.append(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}')
        trace = trace.tb_next
    return found if len(found) <= 2 * MOST_FRAMES else [
        *found[:MOST_FRAMES], f"  ... {len(found) - 2 * MOST_FRAMES} more", *found[len(found) - MOST_FRAMES:]]


class CalloutFailures:
    """Logs failing callouts: each at once, then at most every ten seconds with what was left out."""

    def __init__(self):
        self._logged = {}           # Callout name -> (time of the last line, not logged since)

    def __call__(self, name, error):
        now = time.monotonic()
        last, left_out = self._logged.get(name, (-BURST_SECONDS, 0))
        if now - last < BURST_SECONDS:
            self._logged[name] = (last, left_out + 1)
            return
        self._logged[name] = (now, 0)
        more = f" ({left_out} more before it)" if left_out else ""
        logger.error("callout %s raised %s%s%s", name, told(error), more, "".join("\n" + one for one in own_frames(error)))
