# cython: language_level=3
"""A callout that blocks UDP and TCP to one port whose payload begins with some bytes, and counts."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from wfpd.callouts.api cimport (
    WFPD_FIELD_IP_DESTINATION_PORT, WfpdAnswer, WfpdCall, WfpdCallout, answer_block, answer_continue, call_number,
    call_payload, callout_capsule, callout_fill,
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
    uint64_t port
    uint32_t n_prefix
    uint8_t prefix[64]


cdef void classify(void* given, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef State* state = <State*>given
    cdef uint32_t n
    cdef const uint8_t* payload = call_payload(call, &n)
    add_one(&state.asked)
    if call_number(call, WFPD_FIELD_IP_DESTINATION_PORT, 0) != state.port or n < state.n_prefix:
        answer_continue(answer)
        return
    if memcmp(payload, state.prefix, state.n_prefix) == 0:
        add_one(&state.blocked)
        answer_block(answer)


cdef class CountedPorts:
    """Options: `port`, and `prefix` (at most 64 bytes of ASCII)."""

    cdef State state
    cdef WfpdCallout callout
    cdef readonly object native

    def __cinit__(self, *, int port, str prefix=""):
        cdef bytes text = prefix.encode("ascii")
        if len(text) > sizeof(self.state.prefix):
            raise ValueError("prefix: at most 64 bytes")
        self.state.port = port
        self.state.n_prefix = len(text)
        memcpy(self.state.prefix, <const char*>text, len(text))
        callout_fill(&self.callout, classify, &self.state)
        self.native = callout_capsule(&self.callout)

    @property
    def counts(self):
        """(asked, blocked)"""
        return self.state.asked, self.state.blocked
