"""The flow table: which conversations an ALE layer has authorized.

Shared by the workers, sharded by key hash, one short lock a shard.  Entries are copied out and
in, so that no pointer outlives a lock.  Fixed memory: nothing is allocated after creation.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._flow_contexts cimport FlowContexts, FlowContextTable
from ._streams cimport StreamTable, Streams

cdef enum FlowState:
    FLOW_NONE = 0
    FLOW_OPENING = 1                # TCP, handshake not seen to its end: half-open.
    FLOW_ESTABLISHED = 2            # TCP after the handshake.
    FLOW_CLOSING = 3                # TCP after both FINs or an RST.
    FLOW_OTHER = 4                  # Every other protocol.
    FLOW_GROUP = 5                  # To a multicast or broadcast address: any remote end may answer.
    N_FLOW_STATES = 6

cdef enum FlowFlags:
    FLOW_OUTBOUND = 1               # The local end started it.
    FLOW_FIN_LOCAL = 2
    FLOW_FIN_REMOTE = 4
    FLOW_ESTABLISHED_SEEN = 8       # ale_flow_established has been classified.
    FLOW_CUT = 16                   # TCP: what comes of either end is blocked, and its sender reset (_visit_flow.pxi).
    FLOW_STREAM = 32                # It has a state in the table of streams.
    FLOW_TOLD_LOCAL = 64            # Of a cut flow: a packet of the local end was answered by a reset.
    FLOW_TOLD_REMOTE = 128
    FLOW_TOLD_BOTH = 192

cdef enum:
    NO_SIDE = 2                     # The packet was blocked: it does not count.

cdef enum FlowMarks:
    FLOW_BEGINS_IN = 1              # begins[0] is known.
    FLOW_BEGINS_OUT = 2             # begins[1] is known.

cdef enum FlowEnd:                  # Why a flow ended; the first N_EVICTIONS are labels of wfpd_flow_evictions_total.
    END_TIMEOUT = 0                 # Idle too long, or closed and its last timer has run out.
    END_HALF_OPEN = 1               # Made room, before it was ever established.
    END_OLDEST = 2                  # Made room.
    N_EVICTIONS = 3
    END_REUSED = 3                  # Closed, and a new SYN came on its ports.
    END_REAUTHORIZATION = 4         # The changed policy blocks it.
    END_SHUTDOWN = 5                # The daemon stops, or the capture is over.
    N_FLOW_ENDS = 6

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
    uint8_t inbound_group           # 1: the one flow of all inbound multicast and broadcast; no other member but family.
    uint8_t only_cut                # 1: no flow, but that one was cut which is not tracked; local is the lesser end.

cdef struct FlowEntry:
    FlowKey key
    uint64_t id                     # 53 bits, never 0.
    uint64_t first_ns
    uint64_t last_ns
    uint64_t generation             # layer_generation of the authorizing slot.
    uint64_t decided                # Generation of the policy that authorized it.
    uint64_t packets[2]             # 0 from the starter, 1 to it.
    uint64_t octets[2]
    uint32_t filter                 # That authorized it, by its place in the slot; NO_FILTER if none matched.
    uint32_t interface              # Of the first packet: ifindex, in replay the capture's own number.
    uint8_t slot                    # Authorizing layer, NO_SLOT if it had no filters.
    uint8_t state                   # FlowState
    uint16_t flags                  # FlowFlags
    uint8_t reason                  # Reason of the authorization.
    uint8_t icmp_type               # Of the first packet.
    uint8_t marks                   # FlowMarks
    uint8_t cut_slot                # Of a cut flow: the layer that blocked.
    uint32_t begins[2]              # TCP: sequence number of the first byte, inbound and outbound.
    uint32_t cut_filter             # Its filter, by its place in the policy; NO_FILTER if none.
    uint64_t cut_generation         # Of that policy.

# A flow that ended, on its way to whoever writes it down.
cdef struct EndedFlow:
    FlowEntry entry
    uint64_t ended_ns               # By the clock that flows are kept by.
    uint8_t why                     # FlowEnd

cdef struct FlowSlot:
    FlowEntry entry
    uint32_t next                   # Hash chain, or the free list.
    uint32_t newer                  # Age list of the entry's state.
    uint32_t older

cdef struct FlowShard:
    int32_t lock
    uint32_t capacity
    uint32_t used
    uint32_t free                   # Slots given back.
    uint32_t fresh                  # Slots from here on were never used: their memory is untouched.
    uint32_t n_buckets              # Power of two.
    uint32_t newest[N_FLOW_STATES]  # Age lists, one a state: flows of one state time out in the list's order.
    uint32_t oldest[N_FLOW_STATES]
    uint32_t* buckets
    FlowSlot* slots
    uint64_t evictions[N_EVICTIONS]
    EndedFlow* ended                # Ring, written under the lock, read by one consumer.
    uint32_t ended_size             # Power of two; 0: nobody wants to know.
    uint64_t ended_written
    uint64_t ended_read
    uint64_t ended_lost             # The ring was full.

cdef enum:
    GROUP_PLACES = 1024             # Senders to groups that are remembered; a power of two.

cdef struct FlowTable:
    FlowShard* shards
    uint32_t n_shards               # Power of two.
    uint64_t seed[2]
    uint64_t next_id
    uint64_t id_seed
    uint8_t block_when_full         # flows.full: block
    int32_t group_lock
    uint64_t group_until_ns         # No flow of state FLOW_GROUP lives longer than this.
    uint64_t cut_until_ns           # No entry with key.only_cut lives longer than this.
    FlowKey* groups                 # [GROUP_PLACES] The latest flow of each local end that sent to a group.
    FlowContextTable* contexts      # Told of every flow that ends.
    StreamTable* streams            # Of the same owner.

cdef uint64_t flow_hash(const FlowTable* table, const FlowKey* key) noexcept nogil

# Bring nearer what flow_find() and flow_store() will touch: the bucket (stage 0), then its first slot (1),
# then that slot's neighbours in age (2).  Without the lock: what is read may be stale, and is only a hint.
cdef void flow_prefetch(FlowTable* table, uint64_t hash, int stage) noexcept nogil

# Copy the live entry of `key` to `entry`; 0 if there is none (an expired one is removed).
cdef bint flow_find(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t now_ns, FlowEntry* entry) noexcept nogil

# Insert, or bring the stored flow up to what one more packet made of `entry`: another worker may have
# changed it since it was found.  `side` is the index of packets[] and octets[] that the packet counts in, or NO_SIDE.
# 0 if the table is full and may not evict a live flow.
cdef bint flow_store(FlowTable* table, FlowEntry* entry, uint64_t hash, uint64_t now_ns, uint8_t side,
                     uint32_t octets) noexcept nogil

# Whether flow_store() of a new key would find room.
cdef bint flow_has_room(FlowTable* table, uint64_t hash, uint64_t now_ns) noexcept nogil
cdef void flow_add_flags(FlowTable* table, const FlowKey* key, uint64_t hash, uint16_t flags) noexcept nogil
cdef void flow_remove(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t now_ns, FlowEnd why) noexcept nogil

# Whether the flow of `key` is there and has this id.
cdef bint flow_is(FlowTable* table, const FlowKey* key, uint64_t hash, uint64_t id) noexcept nogil

# The packet that was about to make the flow of this id has not made it: its stream and what callouts keep with it end.
cdef void flow_not_made(FlowTable* table, uint64_t id) noexcept nogil

# An id that no flow has: for one that is asked for its id before flow_store() has given it one.
cdef uint64_t flow_new_id(FlowTable* table) noexcept nogil

# The local end of `key`, a flow to a multicast or broadcast address, may be answered by anybody.
cdef void flow_note_group(FlowTable* table, const FlowKey* key, uint64_t now_ns) noexcept nogil

# The flow to a group that an inbound packet may answer, which has `key` if it were a flow of its own.
# `to_group`: it is multicast or broadcast itself, so that its destination is not the local end's address.
cdef bint flow_answered(FlowTable* table, const FlowKey* key, bint to_group, uint64_t now_ns, FlowKey* found) noexcept nogil

# A packet of a cut flow has come or has cut it: `entry` stays as long as one of its state does from now on,
# and closes once both ends were told.
cdef void flow_keep_cut(FlowTable* table, FlowEntry* entry, uint64_t hash, uint64_t now_ns) noexcept nogil

cdef class Flows:
    cdef FlowTable table
    cdef readonly FlowContexts contexts
    cdef readonly Streams streams
    cdef int _make_shard(self, FlowShard* shard, uint32_t capacity, uint32_t ended) except -1
