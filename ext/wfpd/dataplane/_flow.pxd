"""The flow table: which conversations an ALE layer has authorized.

Shared by the workers, sharded by key hash, one short lock a shard.  Entries are copied out and
in, so that no pointer outlives a lock.  Fixed memory: nothing is allocated after creation.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum FlowState:
    FLOW_NONE = 0
    FLOW_OPENING = 1                # TCP, handshake not seen to its end: half-open.
    FLOW_ESTABLISHED = 2            # TCP after the handshake.
    FLOW_CLOSING = 3                # TCP after both FINs or an RST.
    FLOW_OTHER = 4                  # Every other protocol.

cdef enum FlowFlags:
    FLOW_OUTBOUND = 1               # The local end started it.
    FLOW_FIN_LOCAL = 2
    FLOW_FIN_REMOTE = 4
    FLOW_ESTABLISHED_SEEN = 8       # ale_flow_established has been classified.

cdef enum FlowEviction:             # Label `reason` of wfpd_flow_evictions_total.
    EVICTED_TIMEOUT = 0
    EVICTED_HALF_OPEN = 1
    EVICTED_OLDEST = 2
    N_EVICTIONS = 3

# Both ends as the hook sees them: local is the source of an outbound packet.  A loopback
# conversation has two entries, one for each end.
cdef struct FlowKey:
    uint64_t local_hi
    uint64_t local_lo
    uint64_t remote_hi
    uint64_t remote_lo
    uint64_t tunnel                 # Tunnel identity, 0 outside tunnels.
    uint16_t local_port             # ICMP: request type << 8 | code.
    uint16_t remote_port            # ICMP: identifier of an echo.
    uint8_t protocol
    uint8_t family                  # 4 or 6
    uint8_t reserved[2]

cdef struct FlowEntry:
    FlowKey key
    uint64_t id                     # 53 bits, never 0.
    uint64_t first_ns
    uint64_t last_ns
    uint64_t generation             # layer_generation of the authorizing slot.
    uint64_t packets[2]             # 0 from the starter, 1 to it.
    uint64_t octets[2]
    uint32_t filter                 # That authorized it, NO_FILTER if none matched.
    uint8_t slot                    # Authorizing layer, NO_SLOT if it had no filters.
    uint8_t state                   # FlowState
    uint8_t flags                   # FlowFlags
    uint8_t reserved

cdef struct FlowSlot:
    FlowEntry entry
    uint32_t next                   # Hash chain, or the free list.
    uint32_t newer                  # Age list.
    uint32_t older
    uint8_t list                    # Which age list.

cdef struct FlowShard:
    int32_t lock
    uint32_t capacity
    uint32_t used
    uint32_t free                   # Slots given back.
    uint32_t fresh                  # Slots from here on were never used: their memory is untouched.
    uint32_t n_buckets              # Power of two.
    uint32_t newest[2]              # Age lists: 0 half-open and closing, 1 all others.
    uint32_t oldest[2]
    uint32_t* buckets
    FlowSlot* slots
    uint64_t evictions[3]

cdef struct FlowTable:
    FlowShard* shards
    uint32_t n_shards               # Power of two.
    uint64_t seed[2]
    uint64_t next_id
    uint8_t block_when_full         # flows.full: block

cdef uint64_t flow_hash(const FlowTable* table, const FlowKey* key) noexcept nogil

# Copy the live entry of `key` to `entry`; 0 if there is none (an expired one is removed).
cdef bint flow_find(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t now_ns, FlowEntry* entry) noexcept nogil

# Insert or replace.  0 if the table is full and may not evict a live flow.
cdef bint flow_store(FlowTable* table, FlowEntry* entry, uint64_t hash, uint64_t now_ns) noexcept nogil

# Whether flow_store() of a new key would find room.
cdef bint flow_has_room(FlowTable* table, uint64_t hash, uint64_t now_ns) noexcept nogil
cdef void flow_remove(FlowTable* table, const FlowKey* key, uint64_t hash) noexcept nogil

cdef class Flows:
    cdef FlowTable table
    cdef int _make_shard(self, FlowShard* shard, uint32_t capacity) except -1
