"""The compiled side of the callouts that write a few bytes of a header; each answers CONTINUE.

What the write is refused for (a fragment, a source route, a copy that is cut) makes the callout fail: on_error decides.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from wfpd.callouts.api cimport (
    WFPD_FAILED, WFPD_OK, WfpdAnswer, WfpdCall, WfpdCallout, call_bytes, callout_capsule, callout_fill,
)

cdef enum:
    TCP = 6
    SYN = 2
    TCP_HEADER = 20
    END_OF_OPTIONS = 0
    NO_OPERATION = 1
    SEGMENT_SIZE = 2

cdef struct Wanted:
    uint8_t dscp
    uint16_t most[2]                # Bytes of data in a segment: IPv4, IPv6.


cdef void _write(const WfpdCall* call, WfpdAnswer* answer, uint32_t offset, const uint8_t* bytes, uint32_t n) noexcept nogil:
    if call.write(call, offset, bytes, n) != WFPD_OK:
        answer.kind = WFPD_FAILED


cdef void _dscp(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef uint8_t dscp = (<const Wanted*>state).dscp
    cdef const uint8_t* packet = call_bytes(call, 0, 2)
    cdef uint8_t bytes[2]
    if packet == NULL:
        return
    if call.family == 4:
        bytes[0] = <uint8_t>(dscp << 2 | packet[1] & 3)
        if bytes[0] != packet[1]:
            _write(call, answer, 1, bytes, 1)
        return
    bytes[0] = <uint8_t>(packet[0] & 0xF0 | dscp >> 2)
    bytes[1] = <uint8_t>(packet[1] & 0x3F | (dscp & 3) << 6)
    if bytes[0] != packet[0] or bytes[1] != packet[1]:
        _write(call, answer, 0, bytes, 2)


cdef uint32_t _segment_size(const WfpdCall* call) noexcept nogil:
    """Offset of the option's value in a SYN; 0: there is none."""
    cdef uint32_t start = call.transport_offset, at = TCP_HEADER, end
    cdef const uint8_t* tcp = call_bytes(call, start, TCP_HEADER)
    if not call.has_protocol or call.protocol != TCP or start == 0 or tcp == NULL or not tcp[13] & SYN:
        return 0
    end = 4 * (tcp[12] >> 4)
    if call_bytes(call, start, end) == NULL:
        return 0
    while at < end and tcp[at] != END_OF_OPTIONS:
        if tcp[at] == NO_OPERATION:
            at += 1
            continue
        if end - at < 2 or tcp[at + 1] < 2 or tcp[at + 1] > end - at:
            return 0
        if tcp[at] == SEGMENT_SIZE and tcp[at + 1] == 4:
            return start + at + 2
        at += tcp[at + 1]
    return 0


cdef void _clamp(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef uint16_t most = (<const Wanted*>state).most[call.family == 6]
    cdef uint32_t at = _segment_size(call)
    cdef uint8_t bytes[2]
    if at == 0 or (call.packet[at] << 8 | call.packet[at + 1]) <= most:
        return
    bytes[0], bytes[1] = <uint8_t>(most >> 8), <uint8_t>(most & 0xFF)
    _write(call, answer, at, bytes, 2)


cdef class DscpWriter:
    """Writes the DSCP `dscp` (0 to 63) where it is another one, and leaves the ECN bits."""

    cdef Wanted wanted
    cdef WfpdCallout callout
    cdef readonly object native     # The capsule; valid as long as this object.

    def __cinit__(self, uint8_t dscp):
        self.wanted.dscp = dscp
        callout_fill(&self.callout, _dscp, &self.wanted)
        self.native = callout_capsule(&self.callout)


cdef class SegmentClamp:
    """Lowers the maximum segment size option of SYN packets to `v4` or `v6` bytes, by the packet's family."""

    cdef Wanted wanted
    cdef WfpdCallout callout
    cdef readonly object native     # The capsule; valid as long as this object.

    def __cinit__(self, uint16_t v4, uint16_t v6):
        self.wanted.most[0], self.wanted.most[1] = v4, v6
        callout_fill(&self.callout, _clamp, &self.wanted)
        self.native = callout_capsule(&self.callout)
