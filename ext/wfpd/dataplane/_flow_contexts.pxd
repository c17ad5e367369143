"""Values that callouts keep with flows: at most one for each flow, layer and callout."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef enum ContextStatus:
    CONTEXT_OK = 0
    CONTEXT_EXISTS = 1
    CONTEXT_FULL = 2

cdef struct FlowContext:
    uint64_t flow_id
    uint64_t value                  # An integer, or an owned reference to a Python object.
    uint32_t callout                # Registered.number
    uint32_t next                   # Hash chain, the list of what has ended, or the free list.
    uint8_t slot
    uint8_t is_object

cdef struct ContextShard:
    int32_t lock
    uint32_t used                   # Live ones.
    uint32_t ended                  # List: their flow has ended, or they were removed.
    uint32_t free
    uint32_t fresh                  # Records from here on were never used: their memory is untouched.
    uint32_t capacity
    uint32_t n_buckets              # Power of two.
    uint32_t* buckets               # NULL until the first value.
    FlowContext* records

cdef enum:
    CONTEXT_SHARDS = 16

cdef struct FlowContextTable:
    ContextShard shards[CONTEXT_SHARDS]
    uint64_t n                      # Live ones; read without a lock: 0 costs a packet nothing more.
    uint64_t n_ended                # Not yet drained.
    uint64_t refused                # There was no room.
    void* owner                     # The FlowContexts whose member this is.

# The value of an integer context; 0: none.
cdef uint64_t context_find(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout) noexcept nogil

# Whether there is one, of either kind.
cdef bint context_has(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout) noexcept nogil

# Keep `value`; an object's reference passes to the table only where this is CONTEXT_OK.  Needs the GIL for the first.
cdef ContextStatus context_add(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout,
                               uint64_t value, bint is_object) noexcept nogil

# End one context; false if there is none.
cdef bint context_remove(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout) noexcept nogil

# End every context of a flow: called where flows end.
cdef void contexts_flow_ended(FlowContextTable* table, uint64_t flow_id) noexcept nogil

# Whether the compiled callout that `item` is registered as is told of the end of this value, a number.
cdef bint has_native_end(item, value) except -1

cdef class FlowContexts:
    cdef FlowContextTable table
    cdef readonly uint32_t capacity
    cdef readonly dict callouts     # number -> what was registered last under it, while it has contexts.
    cdef list coming                # Of the policy that was published last or is about to be: whose contexts compiled code may set.
    cdef readonly dict errors       # Callout name -> exceptions of flow_delete.
    cdef public object on_error     # Called as on_error(callout name, exception).
    cdef int allocate(self, uint64_t flow_id) except -1
    cdef object of(self, uint64_t flow_id, uint8_t slot, uint32_t callout)
    cdef int _drained(self, const FlowContext* record) except -1
