"""The interface of compiled callouts for Cython: `from wfpd.callouts.api cimport ...`.

Compile with `include_dirs=[wfpd.callouts.api.include_directory()]`.  `wfpd_callout.h` says what every
member means; docs/callouts-native.md shows a whole package.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from wfpd.callouts.fields cimport *

cdef extern from "wfpd_callout.h" nogil:
    const char* WFPD_CAPSULE
    enum:
        WFPD_CALLOUT_ABI
    enum:
        WFPD_ACTION_NONE
        WFPD_ACTION_PERMIT
        WFPD_ACTION_BLOCK
    enum:
        WFPD_CONTINUE
        WFPD_PERMIT
        WFPD_BLOCK
        WFPD_FAILED
        WFPD_NEED_MORE
        WFPD_DROP_CONNECTION
        WFPD_ALLOW_CONNECTION
        WFPD_DEFER
        WFPD_PEND
        WFPD_ASK_PYTHON
    enum:
        WFPD_FRAGMENT_NONE
        WFPD_FRAGMENT_FIRST
        WFPD_FRAGMENT_LATER
    enum:
        WFPD_REPLY_NONE
        WFPD_REPLY_TCP_RESET
        WFPD_REPLY_ICMP_UNREACHABLE
    enum:
        WFPD_HOOK_PREROUTING
        WFPD_HOOK_INPUT
        WFPD_HOOK_FORWARD
        WFPD_HOOK_OUTPUT
        WFPD_HOOK_POSTROUTING
    enum:
        WFPD_LAYER_INBOUND_IPPACKET
        WFPD_LAYER_INBOUND_TRANSPORT
        WFPD_LAYER_INBOUND_ICMP_ERROR
        WFPD_LAYER_ALE_AUTH_RECV_ACCEPT
        WFPD_LAYER_ALE_FLOW_ESTABLISHED
        WFPD_LAYER_STREAM_PACKET
        WFPD_LAYER_STREAM
        WFPD_LAYER_DATAGRAM_DATA
        WFPD_LAYER_ALE_AUTH_CONNECT
        WFPD_LAYER_OUTBOUND_ICMP_ERROR
        WFPD_LAYER_OUTBOUND_TRANSPORT
        WFPD_LAYER_OUTBOUND_IPPACKET
        WFPD_LAYER_IPFORWARD
        WFPD_LAYER_DISCARD
    enum:
        WFPD_STREAM_EXPEDITED
        WFPD_STREAM_DISCONNECT
        WFPD_STREAM_ABORT
        WFPD_STREAM_NO_MORE_DATA
        WFPD_STREAM_BUFFER_LIMIT
    enum:
        WFPD_OK
        WFPD_REFUSED_NOT_WHOLE
        WFPD_REFUSED_TOO_LONG
        WFPD_REFUSED_LENGTH
        WFPD_REFUSED_IDENTITY
        WFPD_REFUSED_MALFORMED
        WFPD_REFUSED_FRAGMENT
        WFPD_REFUSED_ROUTED
        WFPD_REFUSED_OUTSIDE
        WFPD_REFUSED_NO_BUFFER
        WFPD_REFUSED_PARAMETER
        WFPD_REFUSED_NO_FLOW
        WFPD_REFUSED_EXISTS
        WFPD_REFUSED_FULL
        WFPD_REFUSED_NOT_FOUND
        WFPD_REFUSED_NO_CALLOUT

    ctypedef struct WfpdCall:
        uint32_t size
        uint8_t hook
        uint8_t layer
        uint8_t family
        uint8_t outbound
        uint8_t action
        uint8_t right
        uint8_t discard
        uint8_t has_protocol
        uint8_t protocol
        uint8_t truncated
        const uint8_t* packet
        uint32_t captured
        uint32_t original
        uint32_t transport_offset
        uint32_t payload_offset
        uint32_t payload_length
        uint32_t filter
        uint64_t filter_context
        uint64_t flow_id
        uint64_t flow_context
        uint64_t now_ns
        const uint8_t* stream
        uint64_t stream_offset
        uint32_t stream_length
        uint8_t stream_direction
        uint8_t stream_flags
        void* host
        int (*value)(const WfpdCall* call, uint32_t field, uint64_t* hi, uint64_t* lo) noexcept nogil
        uint32_t stream_missed
        int (*set_flow_context)(const WfpdCall* call, uint32_t layer, uint64_t value) noexcept nogil
        int (*remove_flow_context)(const WfpdCall* call, uint32_t layer) noexcept nogil
        int (*writable)(const WfpdCall* call) noexcept nogil
        int (*write)(const WfpdCall* call, uint32_t offset, const uint8_t* bytes, uint32_t n) noexcept nogil
        int (*replace)(const WfpdCall* call, const uint8_t* bytes, uint32_t n) noexcept nogil
        uint32_t in_interface
        uint32_t out_interface
        uint32_t compartment
        uint8_t ale_classify_required
        uint8_t fragment
        uint64_t streams
        int (*resume)(uint64_t streams, uint64_t flow_id) noexcept nogil
        int (*set_flow_context_of)(const WfpdCall* call, const char* who, uint32_t layer, uint64_t value) noexcept nogil
        int (*remove_flow_context_of)(const WfpdCall* call, const char* who, uint32_t layer) noexcept nogil
        const char* provider_context
        uint32_t provider_context_length
        uint8_t injected

    ctypedef struct WfpdAnswer:
        uint32_t size
        uint8_t kind
        uint8_t clear_right
        uint8_t absorb
        uint8_t reply
        uint32_t required
        uint32_t enforced
        uint8_t one_side

    ctypedef struct WfpdCallout:
        uint32_t abi
        uint32_t size
        void* state
        void (*classify)(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil
        void (*flow_delete)(void* state, uint64_t flow_id, uint64_t context) noexcept nogil

ctypedef void (*ClassifyFunction)(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil
ctypedef void (*FlowDeleteFunction)(void* state, uint64_t flow_id, uint64_t context) noexcept nogil

# Fill in what a class of callouts keeps in itself, with `state` handed to each call.  One that keeps flow contexts
# has a `flow_delete`.
cdef inline void callout_fill(WfpdCallout* callout, ClassifyFunction classify, void* state,
                              FlowDeleteFunction flow_delete=NULL) noexcept:
    callout.abi = WFPD_CALLOUT_ABI
    callout.size = sizeof(WfpdCallout)
    callout.state = state
    callout.classify = classify
    callout.flow_delete = flow_delete

# The attribute `native`.  The capsule does not keep the object alive: wfpd holds on to both.
cdef inline object callout_capsule(WfpdCallout* callout):
    return PyCapsule_New(callout, WFPD_CAPSULE, NULL)

cdef inline void answer_permit(WfpdAnswer* answer, bint clear_right=False) noexcept nogil:
    answer.kind = WFPD_PERMIT
    answer.clear_right = clear_right

cdef inline void answer_block(WfpdAnswer* answer, bint clear_right=False) noexcept nogil:
    answer.kind = WFPD_BLOCK
    answer.clear_right = clear_right

cdef inline void answer_continue(WfpdAnswer* answer) noexcept nogil:
    answer.kind = WFPD_CONTINUE

# A block that sends an answer (WFPD_REPLY_*), or one that hides itself.
cdef inline void answer_refuse(WfpdAnswer* answer, uint8_t reply) noexcept nogil:
    answer.kind = WFPD_BLOCK
    answer.reply = reply

cdef inline void answer_absorb(WfpdAnswer* answer) noexcept nogil:
    answer.kind = WFPD_BLOCK
    answer.absorb = 1

# Layer stream: called again with these bytes and at least `n` more; a permit or block of the first `n` bytes.
cdef inline void answer_need_more(WfpdAnswer* answer, uint32_t n) noexcept nogil:
    answer.kind = WFPD_NEED_MORE
    answer.required = n

cdef inline void answer_enforce(WfpdAnswer* answer, uint32_t n) noexcept nogil:
    answer.enforced = n

cdef inline void answer_drop_connection(WfpdAnswer* answer) noexcept nogil:
    answer.kind = WFPD_DROP_CONNECTION

cdef inline void answer_allow_connection(WfpdAnswer* answer) noexcept nogil:
    answer.kind = WFPD_ALLOW_CONNECTION

# Layer stream: nothing passes until call.resume(call.streams, call.flow_id) of any thread.
cdef inline void answer_defer(WfpdAnswer* answer) noexcept nogil:
    answer.kind = WFPD_DEFER

# The answer comes later: the class says `parks = True`, and its method pended(c, handle) is called.
cdef inline void answer_pend(WfpdAnswer* answer) noexcept nogil:
    answer.kind = WFPD_PEND

# Python answers: the class's method classify(c) is called, with what this call has written and kept in force.
cdef inline void answer_ask_python(WfpdAnswer* answer) noexcept nogil:
    answer.kind = WFPD_ASK_PYTHON

# A field of up to 64 bits, or `absent` where it is EMPTY or not the layer's.
cdef inline uint64_t call_number(const WfpdCall* call, uint32_t field, uint64_t absent) noexcept nogil:
    cdef uint64_t lo = 0
    return lo if call.value(call, field, NULL, &lo) else absent

# `n` bytes of the packet from `offset` on, or NULL where the copy has fewer.
cdef inline const uint8_t* call_bytes(const WfpdCall* call, uint32_t offset, uint32_t n) noexcept nogil:
    if offset > call.captured or n > call.captured - offset:
        return NULL
    return call.packet + offset

# The payload that is in the copy; its length is left in `n` (0 where there is none, and NULL then).
cdef inline const uint8_t* call_payload(const WfpdCall* call, uint32_t* n) noexcept nogil:
    n[0] = 0
    if call.payload_offset == 0 or call.payload_offset >= call.captured:
        return NULL
    n[0] = call.captured - call.payload_offset
    if n[0] > call.payload_length:
        n[0] = call.payload_length
    return call.packet + call.payload_offset if n[0] else NULL

# Bytes of the transport header, 0: unknown.  That of IP with its extension headers has call.transport_offset.
cdef inline uint32_t call_transport_header_size(const WfpdCall* call) noexcept nogil:
    if call.payload_offset == 0 or call.transport_offset == 0:
        return 0
    return call.payload_offset - call.transport_offset

cdef inline uint32_t call_big_endian(const uint8_t* bytes, uint32_t n) noexcept nogil:
    cdef uint32_t i, value = 0
    for i in range(n):
        value = value << 8 | bytes[i]
    return value

# Of a fragment: identification, offset in bytes, and whether more follow.  False: it is none, or the copy is too short.
cdef inline bint call_fragment(const WfpdCall* call, uint32_t* identification, uint32_t* offset,
                               bint* more) noexcept nogil:
    cdef const uint8_t* header = call.packet
    cdef uint32_t at = 40, word
    cdef uint8_t kind
    if call.fragment == WFPD_FRAGMENT_NONE or call.captured < (20 if call.family == 4 else 40):
        return False
    if call.family == 4:
        word = call_big_endian(header + 6, 2)
        identification[0] = call_big_endian(header + 4, 2)
        offset[0] = (word & 0x1FFF) * 8
        more[0] = word & 0x2000 != 0
        return True
    kind = header[6]
    while (kind == 0 or kind == 43 or kind == 60 or kind == 51) and at + 8 <= call.captured:
        word = (header[at + 1] + 2) * 4 if kind == 51 else (header[at + 1] + 1) * 8
        kind = header[at]
        at += word
    if kind != 44 or at + 8 > call.captured:
        return False
    word = call_big_endian(header + at + 2, 2)
    identification[0] = call_big_endian(header + at + 4, 4)
    offset[0] = word & 0xFFF8
    more[0] = word & 1
    return True

# Identifier and sequence number of an ICMP or ICMPv6 echo.  False: it is none, or the copy is too short.
cdef inline bint call_icmp_echo(const WfpdCall* call, uint32_t* identifier, uint32_t* sequence) noexcept nogil:
    cdef const uint8_t* header = call_bytes(call, call.transport_offset, 8)
    if not call.has_protocol or call.transport_offset == 0 or header == NULL:
        return False
    if call.family == 4 and (call.protocol != 1 or (header[0] != 0 and header[0] != 8)):
        return False
    if call.family == 6 and (call.protocol != 58 or (header[0] != 128 and header[0] != 129)):
        return False
    identifier[0] = call_big_endian(header + 4, 2)
    sequence[0] = call_big_endian(header + 6, 2)
    return True
