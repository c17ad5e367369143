"""What a Python callout reads and answers at the layer `stream`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._arbitrate cimport CalloutAnswer
from ._indication cimport Indication
from ._streams cimport Streams
from ._visit cimport Visitor

# The bytes of one indication.  Views of them may outlive the call: the block is then this object's.
cdef class StreamBytes:
    cdef const uint8_t* data
    cdef uint32_t length
    cdef uint32_t exports           # Views that are not released.
    cdef Streams streams
    cdef uint8_t* block             # NULL: the stream's.
    cdef uint8_t block_class

# An inbound stream that a callout has deferred.
cdef class DeferredStream:
    cdef Streams streams
    cdef readonly uint64_t flow_id

cdef class StreamIndication(Indication):
    cdef CalloutAnswer answer       # Of this call.
    cdef uint32_t enforced          # What enforce() was told in this call.
    cdef StreamBytes stream_bytes   # Of this call, or None.

    cdef Visitor* _streaming(self) except NULL
    cdef int _release_stream(self) except -1
    cdef int _stream_action(self, uint8_t action) except -1
