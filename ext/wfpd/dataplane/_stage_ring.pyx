"""The way of decided packets from the workers to a staged policy.

A worker that decides never waits for the one that compares: where its ring is full the packet is counted and left out.
Flows are sampled, not packets: of a flow that is left out the staged policy knows nothing, of one that is taken it sees
every packet from the first, as it would if it ran.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from ._types cimport *

cdef extern from *:
    """
    static inline uint64_t wfpd_stage_acquire(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void wfpd_stage_release(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
    """
    uint64_t wfpd_stage_acquire(const uint64_t* at) noexcept nogil
    void wfpd_stage_release(uint64_t* at, uint64_t value) noexcept nogil


cdef StageRings* stage_rings_create(uint32_t n_rings, uint32_t slots, uint32_t sample, uint64_t seed) noexcept nogil:
    cdef StageRings* made = <StageRings*>calloc(1, sizeof(StageRings))
    cdef uint32_t size = 2, i
    if made == NULL:
        return NULL
    while size < slots and size < (1 << 24):
        size *= 2
    made.mask = size - 1
    made.sample = sample
    made.seed = seed
    made.rings = <StageRing*>calloc(n_rings, sizeof(StageRing))
    if made.rings == NULL:
        free(made)
        return NULL
    made.n_rings = n_rings
    for i in range(n_rings):
        made.rings[i].slots = <StageSlot*>calloc(size, sizeof(StageSlot))
        if made.rings[i].slots == NULL:
            stage_rings_free(made)
            return NULL
    return made


cdef void stage_rings_free(StageRings* rings) noexcept nogil:
    cdef uint32_t i
    if rings == NULL:
        return
    for i in range(rings.n_rings):
        free(rings.rings[i].slots)
    free(rings.rings)
    free(rings)


cdef inline uint64_t _mix(uint64_t a, uint64_t b) noexcept nogil:
    a = (a ^ b) * <uint64_t>0x9E3779B97F4A7C15
    return a ^ (a >> 29)


cdef bint _is_sampled(const StageRings* rings, const PacketView* view) noexcept nogil:
    """By both ends whichever way the packet goes, so that a flow is taken as a whole or left out as a whole."""
    cdef uint64_t source, target
    if rings.sample <= 1:
        return 1
    source = _mix(_mix(rings.seed ^ view.source_hi, view.source_lo), view.source_port if view.has_ports else 0)
    target = _mix(_mix(rings.seed ^ view.destination_hi, view.destination_lo),
                  view.destination_port if view.has_ports else 0)
    return _mix(source + target, view.protocol) % rings.sample == 0


cdef void stage_write(StageRings* rings, uint32_t index, const QueuedPacket* packet, const PacketView* view,
                      const Decision* decision, uint64_t generation, uint64_t received_ns) noexcept nogil:
    cdef StageRing* ring
    cdef StageSlot* slot
    if index >= rings.n_rings:
        return
    ring = &rings.rings[index]
    ring.seen += 1
    if not _is_sampled(rings, view):
        ring.left_out += 1
        return
    if ring.written - wfpd_stage_acquire(&ring.read) > rings.mask:
        ring.full += 1
        return
    slot = &ring.slots[ring.written & rings.mask]
    slot.received_ns = received_ns
    slot.generation = generation
    slot.decision = decision[0]
    slot.mark = packet.mark
    slot.has_mark = packet.has_mark
    slot.in_interface = packet.in_interface
    slot.out_interface = packet.out_interface
    slot.physical_in = packet.physical_in
    slot.physical_out = packet.physical_out
    slot.original = packet.original
    slot.captured = packet.captured if packet.data != NULL else 0
    slot.hook = packet.hook if packet.hook <= HOOK_POSTROUTING else <uint8_t>HOOK_FORWARD
    slot.n_bytes = <uint16_t>min(slot.captured, <uint32_t>STAGE_BYTES)
    if slot.n_bytes:
        memcpy(slot.bytes, packet.data, slot.n_bytes)
    wfpd_stage_release(&ring.written, ring.written + 1)


cdef uint64_t stage_written(const StageRings* rings, uint32_t index) noexcept nogil:
    return wfpd_stage_acquire(&rings.rings[index].written)


cdef const StageSlot* stage_slot(const StageRings* rings, uint32_t index, uint64_t place) noexcept nogil:
    return &rings.rings[index].slots[place & rings.mask]


cdef void stage_pop(StageRings* rings, uint32_t index) noexcept nogil:
    wfpd_stage_release(&rings.rings[index].read, rings.rings[index].read + 1)
