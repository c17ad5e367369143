"""TCP reassembly of one direction: segments in any order to the bytes of the stream.

Pure.  Offsets are 64-bit and count from the first byte after the SYN, or from the first byte seen of a
stream picked up in its middle; sequence numbers are in host order.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    MAX_RANGES = 16                 # Runs of bytes beyond a gap, of one direction.
    N_BLOCK_CLASSES = 14            # Blocks of 4 KiB to 32 MiB, each twice the last.
    NO_FIN = -1

# Blocks of memory that all streams share.  Every member under `lock`.
cdef struct BlockPool:
    int32_t lock
    uint64_t used                   # Bytes given out.
    uint64_t most                   # Bytes that may be.
    uint64_t refused
    void* spare[N_BLOCK_CLASSES]    # Given back, each pointing at the next.
    uint32_t n_spare[N_BLOCK_CLASSES]

# How much one direction may keep, in bytes.
cdef struct HalfLimits:
    uint32_t history                # Decided bytes that retransmissions are compared with.
    uint32_t window                 # Beyond the first byte that is missing.
    uint32_t pending                # In order, and not decided.

cdef struct KnownRange:
    int64_t start
    int64_t end

# What is known of one direction: the bytes from `base` to `next`, and those of `ranges`, all in `buffer`.
cdef struct Half:
    uint8_t* buffer                 # buffer[0] is the byte at `base`; NULL: nothing is kept.
    uint32_t capacity
    uint8_t block_class
    uint8_t started
    uint8_t n_ranges
    uint32_t initial                # Sequence number of offset 0.
    int64_t base
    int64_t next                    # First byte that is missing.
    int64_t decided                 # Moved by the caller: bytes below are of no more use but for comparing.
    int64_t fin                     # Offset at which the stream ends, or NO_FIN.
    KnownRange ranges[MAX_RANGES]   # Above `next`, rising, with gaps between.

cdef struct Segment:
    const uint8_t* data
    uint32_t length
    uint32_t sequence
    uint8_t syn
    uint8_t fin

cdef enum SegmentFacts:
    SEGMENT_NEW = 1                 # Has bytes, or the end, that were not known.
    SEGMENT_INCONSISTENT = 2        # Differs from the first copy, or puts the end elsewhere.
    SEGMENT_OLD = 4                 # Begins before what is kept: that part is not compared.
    SEGMENT_LIMIT = 8               # More than may be kept: nothing of it was taken.
    SEGMENT_AFTER_FIN = 16          # Has bytes behind the end: those were not taken.
    SEGMENT_NEW_SYN = 32            # A SYN that begins another stream: nothing of it was taken.

# The block class that holds so many bytes, N_BLOCK_CLASSES if none does.
cdef uint8_t block_class_of(uint64_t size) noexcept nogil
cdef void pool_free(BlockPool* pool) noexcept nogil

cdef void half_begin(Half* half, uint32_t initial) noexcept nogil
cdef void half_free(Half* half, BlockPool* pool) noexcept nogil

# Give the block away to somebody who reads it still: a copy takes its place.  False if there is no memory: the
# half then has no block, and knows of nothing that was not decided.
cdef bint half_part_with_block(Half* half, BlockPool* pool) noexcept nogil

# Give a block back that half_part_with_block() has left.
cdef void pool_give(BlockPool* pool, uint8_t* block, uint8_t block_class) noexcept nogil

# Where a sequence number lies in the stream; below 0 before its begin.
cdef int64_t half_offset(const Half* half, uint32_t sequence) noexcept nogil

# Take a segment in; the first copy of a byte stays.  `take`: new bytes of an inconsistent segment are taken
# too.  Returns SegmentFacts.
cdef unsigned int half_segment(Half* half, BlockPool* pool, const HalfLimits* limits, const Segment* segment,
                               bint take) noexcept nogil

# The receiver has acknowledged what was not seen here: go on behind it.  Returns the bytes passed over,
# those in order and not decided among them.
cdef int64_t half_skip(Half* half, int64_t to) noexcept nogil

# Whether an RST with this sequence number ends the stream (RFC 5961: exactly the next byte awaited, which
# may be any that is not acknowledged; `acked` as an offset).
cdef bint half_reset_valid(const Half* half, uint32_t sequence, int64_t acked) noexcept nogil
