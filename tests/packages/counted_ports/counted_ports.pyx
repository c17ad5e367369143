# cython: language_level=3
"""A callout that blocks UDP and TCP to one port whose payload begins with some bytes, and counts.

Where flows are kept, all that follows of such a flow is blocked too.  What passes gets a DSCP if one is given.
`Chooses` and `OfChosen` are two that work together: one chooses flows, and the other is called for those only.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport strtoul
from libc.string cimport memcmp, memcpy

from wfpd.callouts.api cimport (
    WFPD_FAILED, WFPD_FIELD_IP_DESTINATION_PORT, WFPD_FIELD_IP_LOCAL_PORT, WFPD_FIELD_IP_REMOTE_PORT,
    WFPD_LAYER_INBOUND_TRANSPORT, WFPD_OK, WFPD_REFUSED_NO_FLOW, WfpdAnswer, WfpdCall, WfpdCallout, answer_block, answer_continue, call_number, call_payload,
    callout_capsule, callout_fill,
)

cdef extern from *:
    """
    #include <stdint.h>
    static inline void add_one(uint64_t *at) { __atomic_fetch_add(at, 1, __ATOMIC_RELAXED); }
    """
    void add_one(uint64_t* at) noexcept nogil

cdef struct State:
    uint64_t asked
    uint64_t blocked
    uint64_t ended
    uint64_t port
    uint32_t n_prefix
    int dscp                        # -1: none.
    uint8_t prefix[64]


cdef uint64_t port_of(const WfpdCall* call) noexcept nogil:
    """The destination's port, by the names that the layer has for it."""
    cdef uint64_t known = call_number(call, WFPD_FIELD_IP_DESTINATION_PORT, 0)
    return known or call_number(call, WFPD_FIELD_IP_REMOTE_PORT if call.outbound else WFPD_FIELD_IP_LOCAL_PORT, 0)


cdef void mark(const State* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef uint8_t byte
    answer_continue(answer)
    if state.dscp < 0 or call.family != 4:
        return
    byte = <uint8_t>(state.dscp << 2 | call.packet[1] & 3)
    if call.write(call, 1, &byte, 1) != WFPD_OK:
        answer.kind = WFPD_FAILED


cdef void classify(void* given, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef State* state = <State*>given
    cdef uint32_t n
    cdef const uint8_t* payload = call_payload(call, &n)
    add_one(&state.asked)
    if call.flow_context:
        add_one(&state.blocked)
        answer_block(answer)
        return
    if port_of(call) != state.port or n < state.n_prefix:
        mark(state, call, answer)
        return
    if memcmp(payload, state.prefix, state.n_prefix) == 0:
        add_one(&state.blocked)
        answer_block(answer)
        if call.set_flow_context(call, call.layer, 1) not in (WFPD_OK, WFPD_REFUSED_NO_FLOW):
            answer.kind = WFPD_FAILED
    else:
        mark(state, call, answer)


cdef void flow_delete(void* given, uint64_t flow_id, uint64_t context) noexcept nogil:
    add_one(&(<State*>given).ended)


cdef class CountedPorts:
    """Options: `port`, `prefix` (at most 64 bytes of ASCII), and `dscp` (0 to 63) for what passes over IPv4."""

    modifies = True

    cdef State state
    cdef WfpdCallout callout
    cdef readonly object native

    def __cinit__(self, *, int port, str prefix="", dscp=None):
        cdef bytes text = prefix.encode("ascii")
        if len(text) > sizeof(self.state.prefix):
            raise ValueError("prefix: at most 64 bytes")
        if dscp is not None and not 0 <= dscp <= 63:
            raise ValueError("dscp: 0 to 63")
        self.state.dscp = -1 if dscp is None else dscp
        self.state.port = port
        self.state.n_prefix = len(text)
        memcpy(self.state.prefix, <const char*>text, len(text))
        callout_fill(&self.callout, classify, &self.state, flow_delete)
        self.native = callout_capsule(&self.callout)

    @property
    def counts(self):
        """(asked, blocked, flows that were blocked and have ended)"""
        return self.state.asked, self.state.blocked, self.state.ended


class OfChosen(CountedPorts):
    """The same for flows that a `Chooses` has chosen, all of which it blocks from their second packet on."""

    conditional_on_flow = True


cdef void choose(void* given, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef int status = WFPD_OK
    answer_continue(answer)
    if call.provider_context != NULL and port_of(call) == strtoul(call.provider_context, NULL, 10):
        status = call.set_flow_context_of(call, <const char*>given, WFPD_LAYER_INBOUND_TRANSPORT, 1)
    if status != WFPD_OK:
        answer.kind = WFPD_FAILED


cdef class Chooses:
    """At ale_flow_established: chooses flows to the port that is its filter's provider context, for the callout `target`."""

    needs_payload = False

    cdef bytes target
    cdef WfpdCallout callout
    cdef readonly object native

    def __cinit__(self, *, str target):
        self.target = target.encode("ascii")
        callout_fill(&self.callout, choose, <char*>self.target)
        self.native = callout_capsule(&self.callout)
