"""What was counted and what happened, as plain values for control threads."""

from ._batch cimport QueueState
from ._context cimport ClassifyContext
from ._stats cimport EventRecord

# One event; `filter` and `callout` are indexes in the snapshot of `generation`.
cdef dict event_dict(const EventRecord* record)

# Everything counted of one queue.
cdef dict queue_dict(const QueueState* queue)

# How long calls of the Python callouts took that a thread has called, by name.
cdef dict callout_durations(ClassifyContext context)
