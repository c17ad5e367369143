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
