"""An indication of the layer `stream`: its bytes, and what may be answered of them (FWPS_STREAM_CALLOUT_IO_PACKET0)."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from ._arbitrate cimport (
    STREAM_ALLOW_CONNECTION, STREAM_DEFER, STREAM_DROP_CONNECTION, STREAM_NEED_MORE, CalloutAnswer,
)
from ._indication cimport Indication
from ._policy cimport CALLOUT_PASSES, FilterBrief
from ._reassembly cimport half_part_with_block, pool_give
from ._streams cimport Streams
from ._types cimport *
from ._visit cimport (
    STREAM_FLAG_BUFFER_LIMIT, STREAM_FLAG_NO_MORE_DATA, STREAM_FLAG_RECEIVE, STREAM_FLAG_RECEIVE_ABORT,
    STREAM_FLAG_RECEIVE_DISCONNECT, STREAM_FLAG_RECEIVE_EXPEDITED, STREAM_FLAG_SEND, STREAM_FLAG_SEND_ABORT,
    STREAM_FLAG_SEND_DISCONNECT, STREAM_FLAG_SEND_EXPEDITED, Visitor,
)

_STREAM_FLAGS = (
    (STREAM_FLAG_RECEIVE, "RECEIVE"), (STREAM_FLAG_RECEIVE_EXPEDITED, "RECEIVE_EXPEDITED"),
    (STREAM_FLAG_RECEIVE_DISCONNECT, "RECEIVE_DISCONNECT"), (STREAM_FLAG_RECEIVE_ABORT, "RECEIVE_ABORT"),
    (STREAM_FLAG_SEND, "SEND"), (STREAM_FLAG_SEND_EXPEDITED, "SEND_EXPEDITED"),
    (STREAM_FLAG_SEND_DISCONNECT, "SEND_DISCONNECT"), (STREAM_FLAG_SEND_ABORT, "SEND_ABORT"),
    (STREAM_FLAG_NO_MORE_DATA, "NO_MORE_DATA"), (STREAM_FLAG_BUFFER_LIMIT, "BUFFER_LIMIT_REACHED"),
)



cdef class StreamBytes:
    """Exports the bytes of an indication, and keeps count of the views."""

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void*>self.data, self.length, 1, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer* buffer):
        self.exports -= 1

    def __dealloc__(self):
        if self.block != NULL:
            pool_give(&self.streams.table.pool, self.block, self.block_class)


cdef class DeferredStream:
    """An inbound stream of which nothing passes; may be kept and resumed by any thread."""

    def __init__(self):
        raise TypeError("a deferred stream comes from a callout's defer()")

    def resume(self) -> bool:
        """Ask the callouts again when the peer sends again, as it does; False if it is resumed or over."""
        return self.streams.resume(self.flow_id, False)


cdef class StreamIndication(Indication):
    """The members of a callout's context that only the layer `stream` serves."""

    cdef Visitor* _streaming(self) except NULL:
        cdef Visitor* visitor = self._live()
        if visitor.stream == NULL:
            raise RuntimeError(f"{self.layer} has no stream; only the layer `stream` does, and not its discard twin")
        return visitor

    cdef int _release_stream(self) except -1:
        """Let the callout's views have the block if it keeps any."""
        cdef StreamBytes given = self.stream_bytes
        cdef Visitor* visitor = self.visitor
        cdef uint8_t* block
        self.stream_bytes = None
        if given.exports == 0:
            given.data = NULL
            given.length = 0
            return 0
        block = visitor.stream.halves[visitor.outbound_stream].half.buffer
        given.block_class = visitor.stream.halves[visitor.outbound_stream].half.block_class
        if not half_part_with_block(&visitor.stream.halves[visitor.outbound_stream].half, &given.streams.table.pool):
            visitor.stream.lost = 1
        given.block = block
        return 0

    @property
    def stream(self):
        """The bytes indicated, read-only, without a copy; empty with a DISCONNECT or ABORT."""
        cdef Visitor* visitor = self._streaming()
        if self.stream_bytes is None:
            self.stream_bytes = StreamBytes.__new__(StreamBytes)
            self.stream_bytes.data = visitor.indication.data
            self.stream_bytes.length = visitor.indication.length if visitor.indication.data != NULL else 0
            self.stream_bytes.streams = <Streams>visitor.flows.streams.owner
        return memoryview(self.stream_bytes) if self.stream_bytes.length else memoryview(b"")

    @property
    def stream_direction(self):
        """'in' for bytes that the local end receives, 'out' for those it sends."""
        return "out" if self._streaming().indication.direction else "in"

    @property
    def stream_offset(self):
        """Offset of the first byte indicated, from the first byte after the SYN or the first that was seen."""
        return self._streaming().indication.offset

    @property
    def stream_flags(self):
        """Names of the flags: RECEIVE, SEND_DISCONNECT, NO_MORE_DATA and so on, as a set."""
        cdef uint32_t flags = self._streaming().indication.flags
        return {name for bit, name in _STREAM_FLAGS if flags & bit}

    @property
    def missed_bytes(self):
        """Bytes that passed this callout by since its last call, because nobody saw them or audit let them through."""
        return self._streaming().indication.missed

    cdef int _stream_action(self, uint8_t action) except -1:
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.answer.stream_action = action
        return 0

    def need_more(self, n=1):
        """Decide nothing: be called again with these bytes and at least `n` more, 1 to 2^32 - 1.

        RuntimeError where there are no more, or no more may be kept.
        """
        cdef uint32_t required, flags = self._streaming().indication.flags
        if flags & (STREAM_FLAG_NO_MORE_DATA | STREAM_FLAG_BUFFER_LIMIT):
            raise RuntimeError("need_more(): NO_MORE_DATA or BUFFER_LIMIT_REACHED is set, a decision is due")
        if not 1 <= n <= 0xFFFFFFFF:
            raise ValueError("need_more(n): n is 1 to 4294967295 bytes")
        required = <uint32_t>n
        self._stream_action(STREAM_NEED_MORE)
        self.answer.required = required

    def enforce(self, n):
        """Let permit() or block() stand for the first `n` bytes only; the rest is indicated again.  0: for all.

        Goes beside the answer, before or after it.
        """
        cdef Visitor* visitor = self._streaming()
        if not 0 <= n <= visitor.indication.length:
            raise ValueError(f"enforce(n): n is 0 to {visitor.indication.length}, the bytes that there are")
        self.enforced = n

    def drop_connection(self):
        """End the connection.  Has an effect only for a filter of the kind `unknown`."""
        self._streaming()
        self._stream_action(STREAM_DROP_CONNECTION)

    def allow_connection(self):
        """Permit this and all that follows, in both directions: this filter does not call again for this flow."""
        self._streaming()
        self._stream_action(STREAM_ALLOW_CONNECTION)

    def defer(self):
        """Decide nothing and let nothing pass, so that nothing is acknowledged, until the handle's resume().

        Returns the handle.  RuntimeError for what is sent, for a callout that says `stream_mode = "pass"` or
        merely inspects, and at the end of the stream.
        """
        cdef Visitor* visitor = self._streaming()
        cdef DeferredStream handle
        cdef const FilterBrief* item = &self.snapshot.policy.briefs[visitor.arbitration.asked]
        if visitor.indication.direction:
            raise RuntimeError("defer(): only what is received can be deferred")
        if (item.action == FILTER_CALLOUT_INSPECTION
                or self.snapshot.policy.callout_registered[item.callout] & CALLOUT_PASSES):
            raise RuntimeError("defer(): packets do not wait for a callout that inspects or passes")
        if visitor.indication.flags & (STREAM_FLAG_NO_MORE_DATA | STREAM_FLAG_BUFFER_LIMIT):
            raise RuntimeError("defer(): NO_MORE_DATA or BUFFER_LIMIT_REACHED is set, a decision is due")
        handle = DeferredStream.__new__(DeferredStream)
        handle.streams = <Streams>visitor.flows.streams.owner
        handle.flow_id = visitor.stream.id
        self._stream_action(STREAM_DEFER)
        return handle
