"""What a Python callout reads of one indication."""

from libc.stdint cimport uint64_t

from ._batch cimport Worker
from ._table cimport Snapshot
from ._visit cimport Visitor

cdef class Indication:
    cdef Visitor* visitor           # NULL outside a call.
    cdef Snapshot snapshot
    cdef Worker* worker             # Whose batch the packet is in; NULL in replay.
    cdef object view                # The packet's memoryview, made when asked for.
    cdef object part                # That of its payload.

    cdef Visitor* _live(self) except NULL
    cdef int _forget_views(self) except -1
    cdef object _meta(self, str name)
    cdef uint64_t _flow(self) except? 0
    cdef object _item(self)
