"""The way of decided packets from the workers to a staged policy (_stage)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ._netlink cimport QueuedPacket
from ._parse cimport PacketView
from ._types cimport Decision

cdef enum:
    STAGE_BYTES = 192               # Packet bytes kept: every header that a condition can look at.

# One packet and what the active policy made of it.
cdef struct StageSlot:
    uint64_t received_ns            # CLOCK_MONOTONIC of receipt.
    uint64_t generation             # Of the policy that decided.
    Decision decision
    uint32_t mark
    uint32_t in_interface
    uint32_t out_interface
    uint32_t physical_in
    uint32_t physical_out
    uint32_t original               # Length of the IP packet.
    uint32_t captured               # What the worker had of it.
    uint8_t hook                    # Hook
    uint8_t has_mark
    uint16_t n_bytes
    uint8_t bytes[STAGE_BYTES]      # First bytes of the IP packet.

# Single producer, single consumer; never blocks, never allocates.
cdef struct StageRing:
    StageSlot* slots
    uint64_t written                # By the producer only, as are the next three.
    uint64_t seen                   # Packets that came by.
    uint64_t left_out               # Of flows that are not sampled.
    uint64_t full                   # Packets for which there was no room.
    uint64_t apart[8]               # The consumer's word is on a cache line of its own.
    uint64_t read                   # By the consumer only.
    uint64_t apart_too[8]

# What the workers hold on to during a batch.
cdef struct StageRings:
    StageRing* rings                # [n_rings] One a worker, the last is the parking queue's.
    uint32_t n_rings
    uint32_t mask                   # Slots a ring - 1; a power of two.
    uint32_t sample                 # One flow in so many; 1: all.
    uint64_t seed                   # Which flows those are.

cdef StageRings* stage_rings_create(uint32_t n_rings, uint32_t slots, uint32_t sample,
                                    uint64_t seed) noexcept nogil      # NULL: no memory
cdef void stage_rings_free(StageRings* rings) noexcept nogil

# Keep one decided packet for the staged policy, by worker `index`.  `view` is the packet parsed.
cdef void stage_write(StageRings* rings, uint32_t index, const QueuedPacket* packet, const PacketView* view,
                      const Decision* decision, uint64_t generation, uint64_t received_ns) noexcept nogil

# The consumer's side: how far ring `index` is written, and the slot at a place that is below that.
cdef uint64_t stage_written(const StageRings* rings, uint32_t index) noexcept nogil
cdef const StageSlot* stage_slot(const StageRings* rings, uint32_t index, uint64_t place) noexcept nogil

# Give the ring's oldest slot back.
cdef void stage_pop(StageRings* rings, uint32_t index) noexcept nogil
