"""A compiled callout for tests: keeps what it was told, and answers any bytes it is given."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from wfpd.callouts.api cimport (
    WfpdAnswer, WfpdCall, WfpdCallout, call_bytes, call_payload, callout_capsule, callout_fill,
)

cdef enum:
    N_ASKED = 96                    # Field ids that are asked for, some of them none.

cdef struct Heard:
    WfpdCall call
    WfpdAnswer answer
    uint64_t hi[N_ASKED]
    uint64_t lo[N_ASKED]
    uint8_t present[N_ASKED]
    uint32_t n_payload
    uint8_t payload_fits


cdef void _classify(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef Heard* heard = <Heard*>state
    cdef uint32_t field, size = answer.size
    cdef const uint8_t* payload
    heard.call = call[0]
    for field in range(N_ASKED):
        heard.present[field] = call.value(call, field, &heard.hi[field], &heard.lo[field])
    payload = call_payload(call, &heard.n_payload)
    heard.payload_fits = payload == NULL or call_bytes(call, call.payload_offset, heard.n_payload) == payload
    answer[0] = heard.answer
    answer.size = size


cdef class Told:
    """`kind`, `clear_right`, `absorb`, `reply`: the answer's bytes.  For one thread."""

    cdef Heard heard
    cdef WfpdCallout callout
    cdef readonly object native

    def __cinit__(self, *, uint8_t kind=0, uint8_t clear_right=0, uint8_t absorb=0, uint8_t reply=0):
        memset(&self.heard, 0, sizeof(Heard))
        self.heard.answer.kind, self.heard.answer.clear_right = kind, clear_right
        self.heard.answer.absorb, self.heard.answer.reply = absorb, reply
        callout_fill(&self.callout, _classify, &self.heard)
        self.native = callout_capsule(&self.callout)

    def call(self) -> dict:
        """The last call's members, pointers left out."""
        cdef const WfpdCall* call = &self.heard.call
        return {
            "size": call.size, "hook": call.hook, "layer": call.layer, "family": call.family, "outbound": call.outbound,
            "action": call.action, "right": call.right, "discard": call.discard, "protocol": call.protocol,
            "captured": call.captured, "original": call.original, "transport_offset": call.transport_offset,
            "payload_offset": call.payload_offset, "payload_length": call.payload_length, "filter": call.filter,
            "flow_id": call.flow_id, "now_ns": call.now_ns, "n_payload": self.heard.n_payload,
            "payload_fits": bool(self.heard.payload_fits),
        }

    def values(self) -> dict:
        """(hi, lo) by field id, of those that have a value."""
        return {field: (self.heard.hi[field], self.heard.lo[field])
                for field in range(N_ASKED) if self.heard.present[field]}
