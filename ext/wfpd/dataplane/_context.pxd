"""The `c` that a Python callout's classify(c) gets, and the guard around the call."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._arbitrate cimport CalloutAnswer
from ._budget cimport CalloutSlot
from ._parking cimport ParkedPacket, Parking
from ._stream_indication cimport StreamIndication
from ._table cimport Snapshot
from ._visit cimport Visitor

cdef enum Clocked:
    CLOCKED_BY_CALL = 0             # A call takes as long as it takes.
    CLOCKED_IN_TIME                 # Who has waited for a coroutine says so.
    CLOCKED_LATE

cdef class ClassifyContext(StreamIndication):
    cdef Parking parking            # Where packets may wait, or None.
    cdef ParkedPacket parked        # What this call has parked, or None.
    cdef ParkedPacket resumed       # With whose answers the visit goes on, or None.
    cdef dict joined                # By flow and filter: the packet whose authorization waits.
    cdef uint32_t replay_room       # Replay: packets that may be parked, and one more; 0: none, ever.
    cdef readonly double late_after # Replay: seconds after which a call is late; 0: live.
    cdef uint8_t clocked            # Replay: Clocked, of this call.
    cdef uint64_t provisional       # Flow id that has a context and that no packet has made yet; 0: none.
    cdef readonly dict errors       # Callout name -> exceptions counted.
    cdef readonly dict durations    # Callout name -> (calls, nanoseconds, buckets of powers of two from 256 ns).
    cdef public object injections   # wfpd.injection.handles.Injections, or None: nothing can be injected.
    cdef public object on_error     # Called as on_error(callout name, exception); a burst is the logger's concern.

    cdef int _release(self) except -1
    cdef ParkedPacket _park(self)
    cdef bint _changed_by_call(self) noexcept
    cdef bytes _authorization(self)
    cdef object _item_named(self, callout)
    cdef bint _is_given(self, CalloutAnswer* answer) except -1
    cdef bint _follows(self, CalloutAnswer* answer) except -1
    cdef int _failed_asked(self, object error, CalloutAnswer* answer) except -1
    cdef int _forget_parked(self) except -1

    # After the visit: a context of a flow that the packet has not made after all ends.
    cdef int settle_flow(self, Visitor* visitor) except -1
    # Or the packet is parked: it lives with its ticket.
    cdef int keep_flow(self, Visitor* visitor, ParkedPacket parked) except -1
    cdef int _modified(self, int status) except -1
    cdef int _take_back(self) except -1
    cdef object _arrived(self)
    cdef object _injecting(self)
    cdef object _past(self)
    cdef uint32_t _link(self) noexcept
    cdef bint _silent(self) noexcept
    cdef bint _passes_own(self, CalloutAnswer* answer) except -1
    cdef bint _answered_without(self, const CalloutSlot* slot, CalloutAnswer* answer) except -1
    cdef bint _inject(self, object item, bytes whole, str direction, bint clone) except -1
    cdef bint _replace(self) except -1
    cdef int _restore(self) except -1
    cdef int _stay_replaced(self) except -1

    # Call the callout that the visitor's arbitration asks for.  GIL held.  Fills `answer`; an
    # exception becomes the filter's on_error answer.  Returns what the callout has parked: its visit is over.
    cdef ParkedPacket call(self, Visitor* visitor, Snapshot snapshot, CalloutAnswer* answer)
