"""Conditions that no box can hold, each as an axis of two values: it is true, or it is not.

A region then says which of them hold, and the verdict is decided.  Some of their combinations no packet
may have, for the conditions may speak of one field: the safe direction of error is to tell of too much.
"""

from libc.stdint cimport uint32_t

from ._space cimport Side
from ._table cimport Snapshot

# Up to `most` (at most MAX_TESTS) tests of both opened and compared sides: a list of (condition, whether the
# new side has it).  Filters get their bits, and are not `partly` any more where every condition has one.
cdef list tests_take(Side* sides, Snapshot old, Snapshot new, unsigned int slot, uint32_t most)
