"""A compiled callout for tests: keeps what it was told, and answers any bytes it is given."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from wfpd.callouts.api cimport (
    WfpdAnswer, WfpdCall, WfpdCallout, call_bytes, call_fragment, call_icmp_echo, call_payload,
    call_transport_header_size, callout_capsule, callout_fill,
)

cdef enum:
    N_ASKED = 96                    # Field ids that are asked for, some of them none.
    N_STEPS = 8

cdef enum Deed:
    SET_CONTEXT = 1
    REMOVE_CONTEXT = 2
    WRITE = 3
    REPLACE = 4
    ASK_WRITABLE = 5
    RESUME = 6
    SET_OF = 7
    REMOVE_OF = 8

cdef struct Step:
    uint8_t deed
    uint32_t where                  # Layer, or offset.
    uint64_t value
    uint32_t n
    uint8_t bytes[2048]
    int status

cdef struct Heard:
    Step steps[N_STEPS]
    uint32_t n_steps
    uint32_t n_calls
    uint32_t n_ended
    uint64_t ended[N_STEPS][2]      # (flow id, context)
    uint8_t stream[4096]
    char provider_context[1024]
    WfpdCall call
    WfpdCall after                  # When the steps were taken.
    WfpdAnswer answer
    uint64_t hi[N_ASKED]
    uint64_t lo[N_ASKED]
    uint8_t present[N_ASKED]
    uint32_t n_payload
    uint8_t payload_fits
    uint32_t transport_header
    bint is_fragment
    uint32_t identification
    uint32_t fragment_offset
    bint more
    bint is_echo
    uint32_t identifier
    uint32_t sequence


cdef void _classify(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef Heard* heard = <Heard*>state
    cdef uint32_t field, size = answer.size
    cdef const uint8_t* payload
    heard.call = call[0]
    for field in range(N_ASKED):
        heard.present[field] = call.value(call, field, &heard.hi[field], &heard.lo[field])
    payload = call_payload(call, &heard.n_payload)
    heard.payload_fits = payload == NULL or call_bytes(call, call.payload_offset, heard.n_payload) == payload
    heard.transport_header = call_transport_header_size(call)
    heard.is_fragment = call_fragment(call, &heard.identification, &heard.fragment_offset, &heard.more)
    heard.is_echo = call_icmp_echo(call, &heard.identifier, &heard.sequence)
    if call.stream_length:
        memcpy(heard.stream, call.stream, min(call.stream_length, <uint32_t>sizeof(heard.stream)))
    if call.provider_context != NULL:
        memcpy(heard.provider_context, call.provider_context, min(call.provider_context_length + 1, 1024))
    heard.n_calls += 1
    for field in range(heard.n_steps):
        _take(call, &heard.steps[field])
    heard.after = call[0]
    answer[0] = heard.answer
    answer.size = size


cdef void _take(const WfpdCall* call, Step* step) noexcept nogil:
    if step.deed == SET_CONTEXT:
        step.status = call.set_flow_context(call, step.where, step.value)
    elif step.deed == REMOVE_CONTEXT:
        step.status = call.remove_flow_context(call, step.where)
    elif step.deed == WRITE:
        step.status = call.write(call, step.where, step.bytes, step.n)
    elif step.deed == REPLACE:
        step.status = call.replace(call, step.bytes, step.n)
    elif step.deed == RESUME:
        step.status = call.resume(call.streams, call.flow_id)
    elif step.deed == SET_OF:
        step.status = call.set_flow_context_of(call, <const char*>step.bytes if step.n else NULL, step.where, step.value)
    elif step.deed == REMOVE_OF:
        step.status = call.remove_flow_context_of(call, <const char*>step.bytes if step.n else NULL, step.where)
    else:
        step.status = call.writable(call)


cdef void _flow_delete(void* state, uint64_t flow_id, uint64_t context) noexcept nogil:
    cdef Heard* heard = <Heard*>state
    if heard.n_ended < N_STEPS:
        heard.ended[heard.n_ended][0], heard.ended[heard.n_ended][1] = flow_id, context
    heard.n_ended += 1


_DEEDS = {"set": SET_CONTEXT, "remove": REMOVE_CONTEXT, "write": WRITE, "replace": REPLACE, "writable": ASK_WRITABLE,
          "resume": RESUME, "set_of": SET_OF, "remove_of": REMOVE_OF}


cdef dict _members(const WfpdCall* call):
    return {
        "size": call.size, "hook": call.hook, "layer": call.layer, "family": call.family, "outbound": call.outbound,
        "action": call.action, "right": call.right, "discard": call.discard, "protocol": call.protocol,
        "captured": call.captured, "original": call.original, "transport_offset": call.transport_offset,
        "payload_offset": call.payload_offset, "payload_length": call.payload_length, "filter": call.filter,
        "filter_context": call.filter_context, "flow_id": call.flow_id, "flow_context": call.flow_context,
        "now_ns": call.now_ns, "stream_offset": call.stream_offset, "stream_length": call.stream_length,
        "stream_direction": call.stream_direction, "stream_flags": call.stream_flags,
        "stream_missed": call.stream_missed, "in_interface": call.in_interface, "out_interface": call.out_interface,
        "compartment": call.compartment, "ale_classify_required": call.ale_classify_required,
        "fragment": call.fragment, "provider_context_length": call.provider_context_length,
        "has_provider_context": call.provider_context != NULL, "injected": call.injected,
    }


cdef class Told:
    """`kind`, `clear_right` and so on: the answer's bytes.  For one thread.

    `steps`: what it does in each call: ("set", layer, context), ("remove", layer, 0), ("write", offset, bytes),
    ("replace", 0, bytes), ("writable", 0, 0), ("resume", 0, 0), ("set_of", layer, (name, context)),
    ("remove_of", layer, (name, 0)); an empty name is NULL.  `keeps`: whether it has a flow_delete.
    """

    cdef Heard heard
    cdef WfpdCallout callout
    cdef readonly object native

    def __cinit__(self, *, steps=(), bint keeps=True, **answer):
        cdef Step* step
        memset(&self.heard, 0, sizeof(Heard))
        self.say(**answer)
        for deed, where, what in steps:
            step = &self.heard.steps[self.heard.n_steps]
            step.deed, step.where = _DEEDS[deed], where
            if isinstance(what, tuple):
                what, step.value = what[0].encode(), what[1]
            if isinstance(what, bytes):
                step.n = len(what)
                memcpy(step.bytes, <const char*>what, min(len(what), sizeof(step.bytes)))
            else:
                step.value = what
            self.heard.n_steps += 1
        callout_fill(&self.callout, _classify, &self.heard)
        if keeps:
            self.callout.flow_delete = _flow_delete
        self.native = callout_capsule(&self.callout)

    def say(self, *, uint8_t kind=0, uint8_t clear_right=0, uint8_t absorb=0, uint8_t reply=0, uint32_t required=0,
            uint32_t enforced=0, uint8_t one_side=0):
        """Answer like this from now on."""
        cdef WfpdAnswer* answer = &self.heard.answer
        answer.kind, answer.clear_right, answer.absorb, answer.reply = kind, clear_right, absorb, reply
        answer.required, answer.enforced, answer.one_side = required, enforced, one_side

    @property
    def statuses(self):
        """What the steps' functions returned in the last call."""
        return [self.heard.steps[i].status for i in range(self.heard.n_steps)]

    @property
    def calls(self):
        """How often it was asked."""
        return self.heard.n_calls

    @property
    def ended(self):
        """(flow id, context) that flow_delete was told, the first few."""
        return [(self.heard.ended[i][0], self.heard.ended[i][1]) for i in range(min(self.heard.n_ended, N_STEPS))]

    def after(self):
        """call() as it was after the steps."""
        return _members(&self.heard.after)

    def call(self) -> dict:
        """The last call's members, pointers left out; `stream` its first 4,096 bytes."""
        return _members(&self.heard.call) | {
            "n_payload": self.heard.n_payload, "payload_fits": bool(self.heard.payload_fits),
            "provider_context": (<const char*>self.heard.provider_context if self.heard.call.provider_context != NULL
                                 else None),
            "stream": (<const char*>self.heard.stream)[:min(self.heard.call.stream_length, sizeof(self.heard.stream))],
        }

    def metadata(self) -> dict:
        """The last call's metadata that are not members, as a Python callout sees them."""
        heard = &self.heard
        return {
            "transport_header_size": heard.transport_header or None,
            "fragment_data": ((heard.identification, heard.fragment_offset, bool(heard.more))
                              if heard.is_fragment else None),
            "icmp_id_and_sequence": (heard.identifier, heard.sequence) if heard.is_echo else None,
        }

    def resume(self) -> bool:
        """Resume the flow of the last call, as a thread without the interpreter's lock does."""
        cdef bint was
        with nogil:
            was = self.heard.call.resume(self.heard.call.streams, self.heard.call.flow_id)
        return was

    def values(self) -> dict:
        """(hi, lo) by field id, of those that have a value."""
        return {field: (self.heard.hi[field], self.heard.lo[field])
                for field in range(N_ASKED) if self.heard.present[field]}


cdef struct Choice:
    uint8_t without                 # The answer's kind where nothing is said.
    uint64_t chosen[10]             # Calls by the kind that was answered.

cdef extern from *:
    """
    #include <stdint.h>
    static inline void wfpd_told_count(uint64_t *at) { __atomic_fetch_add(at, 1, __ATOMIC_RELAXED); }
    static inline uint64_t wfpd_told_counted(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
    """
    void wfpd_told_count(uint64_t* at) noexcept nogil
    uint64_t wfpd_told_counted(const uint64_t* at) noexcept nogil


cdef void _choose(void* state, const WfpdCall* call, WfpdAnswer* answer) noexcept nogil:
    cdef Choice* choice = <Choice*>state
    cdef uint32_t n = call.stream_length
    cdef const uint8_t* data = call.stream if call.streams else call_payload(call, &n)
    answer.kind = data[0] - 48 if n and 48 <= data[0] <= 57 else choice.without
    wfpd_told_count(&choice.chosen[answer.kind])


cdef class Chooses:
    """Answers the kind that the first byte of payload or stream is the digit of, else `without`.  For any threads."""

    cdef Choice choice
    cdef WfpdCallout callout
    cdef readonly object native

    def __cinit__(self, *, uint8_t without=1):
        if without > 9:
            raise ValueError("without: 0 to 9")
        memset(&self.choice, 0, sizeof(Choice))
        self.choice.without = without
        callout_fill(&self.callout, _choose, &self.choice)
        self.native = callout_capsule(&self.callout)

    def chosen(self, uint8_t kind) -> int:
        """How often that was answered."""
        if kind > 9:
            raise ValueError("kind: 0 to 9")
        return wfpd_told_counted(&self.choice.chosen[kind])
