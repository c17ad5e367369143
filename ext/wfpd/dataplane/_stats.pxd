"""Counters of one worker and the ring of its events; written by one thread, read by any."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._parse cimport N_PARSE_STATUSES, PacketView
from ._types cimport Decision, N_REASONS, N_SLOTS

cdef enum:
    N_DROP_SLOTS = 65               # The 64 slots, then "no layer".
    HIT_CHUNK = 4096                # Counters a chunk.
    N_HIT_CHUNKS = 1024
    N_BUCKETS = 24                  # Histogram buckets; see bucket_bounds().
    EVENT_BYTES = 96                # Packet bytes kept with an event: the headers.

cdef struct Histogram:
    uint64_t count
    uint64_t sum_ns
    uint64_t buckets[N_BUCKETS]     # Bucket i: up to 2^(i + 8) ns; the last one is unbounded.

cdef struct WorkerStats:
    uint64_t packets[3]             # By ActionKind: 1 permit, 2 block.
    uint64_t octets[3]
    uint64_t drops[N_DROP_SLOTS][N_REASONS]
    uint64_t vetoes[N_SLOTS]
    uint64_t malformed[N_PARSE_STATUSES]
    uint64_t would_block[N_DROP_SLOTS]   # Audit mode of the daemon.
    uint64_t* hits[N_HIT_CHUNKS]    # hits[slot / HIT_CHUNK][slot % HIT_CHUNK]; chunks are made before publishing.
    Histogram batch
    Histogram classify[N_SLOTS]     # Sampled 1 in 1,024 packets.
    uint64_t events_lost

# What the ring holds of one event; everything needed to print it later.
cdef struct EventRecord:
    int64_t timestamp_ns            # CLOCK_REALTIME, of receipt.
    uint64_t generation
    Decision decision
    uint8_t hook
    uint8_t family
    uint8_t protocol
    uint8_t kind                    # 0 drop, 1 wfp: a permit, or what the daemon's audit mode let pass, 2 an audit-mode filter matched
    uint32_t in_interface
    uint32_t out_interface
    uint32_t length                 # IP packet.
    uint32_t suppressed             # Equal drops since the last event sent of this flow and filter.
    uint16_t n_bytes
    uint8_t bytes[EVENT_BYTES]      # First bytes of the IP packet.

cdef inline void stats_hit(WorkerStats* stats, uint32_t counter_slot) noexcept nogil:
    stats.hits[counter_slot // HIT_CHUNK][counter_slot % HIT_CHUNK] += 1

cdef void histogram_add(Histogram* histogram, uint64_t nanoseconds) noexcept nogil

# Make room for counter slots 0 to n - 1; what is counted stays.  0, or -1: no memory or too many.
# Called before a policy that uses them is published; safe beside the counting thread.
cdef int stats_reserve(WorkerStats* stats, uint32_t n) noexcept nogil

# Count from 0 again in these slots, which are reserved and in which nobody counts at present.
cdef void stats_begin(WorkerStats* stats, const uint32_t* slots, uint32_t n) noexcept nogil

cdef class Stats:
    cdef WorkerStats* worker        # Zeroed, with no counter slots reserved.

cdef dict histogram_dict(const Histogram* histogram)
