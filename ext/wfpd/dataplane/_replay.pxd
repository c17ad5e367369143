"""A visit at a time, for what decides packets beside the packet path."""

from libc.stdint cimport uint32_t

from ._cache cimport DecisionCache
from ._context cimport ClassifyContext
from ._flow cimport Flows
from ._host cimport Host
from ._parking cimport ParkedPacket
from ._table cimport Snapshot
from ._visit cimport Trace, TraceRow, VisitInput, Visitor

cdef class Replayer:
    cdef Visitor visitor
    cdef DecisionCache cache
    cdef Trace trace
    cdef list asked                 # Filters whose callouts this visit has called, in order.
    cdef list given                 # What was answered, by them or in their place.
    cdef readonly Snapshot snapshot
    cdef readonly Flows flows
    cdef Host host
    cdef readonly ClassifyContext context
    cdef uint32_t parse_flags
    cdef double late_after
    cdef dict _visit(self, VisitInput* given, answers)
    cdef dict _parked(self, ParkedPacket parked, uint32_t asked)
    cdef int _begin_lists(self, ParkedPacket resume) except -1
    cdef bint _is_late(self, double started) except -1
    cdef dict _explained(self, uint32_t number, uint32_t near)
    cdef tuple _row(self, TraceRow* row)
