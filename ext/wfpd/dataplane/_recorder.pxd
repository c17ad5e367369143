"""The flight recorder: a worker's last blocks and a sample of its permits, kept for whoever asks later."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._netlink cimport QueuedPacket
from ._parse cimport PacketView
from ._types cimport Decision
from ._visit cimport Trace

cdef enum:
    RECORD_BYTES = 128              # Of the IP packet's head.
    RECORD_ROWS = 10                # A visit has at most seven layers and a twin.
    PERMIT_SAMPLE = 1024            # One permitted packet in so many is recorded.
    PERMITS_SHARE = 4               # Blocks recorded for each permit.
    MOST_RECORDS = 1 << 20

# What two blocks have in common that are told as one.  Compared as bytes: every hole is zero.
cdef struct RecordKey:
    uint64_t source_hi
    uint64_t source_lo
    uint64_t destination_hi
    uint64_t destination_lo
    uint64_t generation             # Of the policy whose filter decided.
    uint32_t filter
    uint16_t source_port            # ICMP: the type,
    uint16_t destination_port       # the code.
    uint8_t slot
    uint8_t reason
    uint8_t hook
    uint8_t family
    uint8_t protocol
    uint8_t would_block
    uint8_t unused[2]

cdef struct RecordRow:
    uint8_t slot
    uint8_t action                  # ActionKind
    uint8_t right                   # 1 set
    uint8_t discard
    uint32_t filter

cdef struct Record:
    RecordKey key
    int64_t timestamp_ns            # CLOCK_REALTIME, of the first packet,
    int64_t last_ns                 # of the last one.
    uint64_t seen_ns                # The last one's receipt, CLOCK_MONOTONIC.
    uint64_t count
    Decision decision
    uint32_t in_interface
    uint32_t out_interface
    uint32_t length                 # IP packet.
    uint16_t n_bytes
    uint16_t n_rows
    RecordRow rows[RECORD_ROWS]
    uint8_t bytes[RECORD_BYTES]

cdef struct RecordSlot:
    uint64_t sequence               # Odd while it is written.
    Record record

cdef struct RecordRing:
    RecordSlot* slots               # NULL: nothing is recorded.
    uint32_t mask                   # Capacity - 1; the capacity is a power of two.
    uint64_t written                # By the worker only.

# One writer, any readers; no lock, no allocation after recorder_create().
cdef struct Recorder:
    RecordRing blocks
    RecordRing permits
    uint64_t* places                # [2 * capacity of blocks] By hash: position + 1 of the block recorded last.
    uint64_t permitted              # Packets, of which one in PERMIT_SAMPLE is recorded.

# The packet that is recorded.
cdef struct Recorded:
    const PacketView* view
    const QueuedPacket* packet
    const Decision* decision
    const Trace* trace
    uint64_t generation
    int64_t real_ns
    uint64_t now_ns                 # CLOCK_MONOTONIC

# Room for `blocks` (rounded up to a power of two; 0: nothing is recorded).  0 or -1.
cdef int recorder_create(Recorder* recorder, uint32_t blocks) noexcept nogil
cdef void recorder_free(Recorder* recorder) noexcept nogil

# A block, or what would be one outside audit mode.  `hash` is that of its flow and filter.
cdef void recorder_block(Recorder* recorder, const Recorded* what, uint64_t hash) noexcept nogil
cdef void recorder_permit(Recorder* recorder, const Recorded* what) noexcept nogil

# Count a permitted packet; whether it is to be given to recorder_permit().
cdef inline bint recorder_samples(Recorder* recorder) noexcept nogil:
    recorder.permitted += 1
    return recorder.permitted & (PERMIT_SAMPLE - 1) == 1 and recorder.permits.slots != NULL

# From any thread: the records whose last packet came at `since_ns` (CLOCK_REALTIME) or later, as dicts.
cdef list recorder_read(Recorder* recorder, int64_t since_ns)

# When the oldest record began, INT64_MAX without one.
cdef int64_t recorder_oldest(const Recorder* recorder) noexcept nogil
cdef dict recorder_counts(const Recorder* recorder)

# Add (generation, filter) of every filter that a record names.
cdef int recorder_filters(const Recorder* recorder, set found) except -1
