"""The table of stream states: what reassembly and callouts have come to, by flow id.

Shared by the workers, sharded, one short lock a shard.  Fixed memory but for the blocks, which are capped.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from ._reassembly cimport BlockPool, Half, HalfLimits

cdef enum:
    MAX_STREAM_FILTERS = 8          # Filters with callouts whose own progress is kept, of one direction.
    N_STREAM_SHARDS = 16

# How far one filter's callout has come.
cdef struct StreamFilter:
    uint32_t filter
    uint8_t continued               # Its last answer was no decision: the filters after it are asked.
    int64_t seen                    # It has decided all bytes below.
    int64_t wants                   # It is not asked before this byte is missing.
    uint64_t missed                 # StreamHalf.missed when it was asked last.

cdef struct StreamHalf:
    Half half
    int64_t permitted               # All that do not merely inspect have permitted the bytes below.
    uint8_t busy                    # A worker has it.
    uint8_t deferred                # A callout has asked to wait.
    uint8_t woken                   # It is to go on, said while a worker has the half: before the wait has begun.
    uint8_t fin_told
    uint8_t abort_told
    uint8_t holds                   # Packets wait for a callout of the last pass.
    uint8_t n_filters
    uint64_t missed                 # Bytes that no callout was asked about, in all.
    StreamFilter filters[MAX_STREAM_FILTERS]

cdef struct Stream:
    uint64_t id                     # 0: free.
    uint32_t next                   # In its chain, or the free list.
    uint8_t dead                    # Its flow has ended while a worker had it.
    uint8_t lost                    # Not inspected any more: a limit was met.
    uint8_t acked_known[2]
    uint32_t acked[2]               # By the other side: first byte of the half that it awaits.
    uint8_t n_allowed
    uint32_t allowed[MAX_STREAM_FILTERS]    # Filters whose callouts have allowed the connection.
    uint64_t layer_generation       # Of the slot when `filters` and `allowed` were written.
    StreamHalf halves[2]            # 0 inbound, 1 outbound.

cdef struct StreamShard:
    int32_t lock
    uint32_t used
    uint32_t free
    uint32_t fresh
    uint32_t* buckets
    Stream* streams                 # [capacity of the table / N_STREAM_SHARDS]

cdef enum StreamCount:
    STREAM_BYTES = 0                # Put in order.
    STREAM_INCONSISTENT = 1         # Segments that differ from a first copy.
    STREAM_HELD = 2                 # Packets not passed because their bytes were not decided.
    STREAM_LIMIT = 3                # Segments that did not fit.
    STREAM_LOST = 4                 # Streams that are not inspected any more.
    STREAM_CUT = 5                  # Flows cut, at whatever layer.
    STREAM_SKIPPED = 6              # Bytes that the receiver has and we never saw.
    STREAM_BUSY = 7                 # Packets that met another worker at their direction.
    STREAM_BAD_RESET = 8            # RSTs that end nothing.
    N_STREAM_COUNTS = 9

cdef struct StreamTable

cdef struct StreamTable:
    StreamShard shards[N_STREAM_SHARDS]
    uint32_t each                   # Streams of one shard.
    uint32_t n_buckets              # Of one shard; a power of two.
    HalfLimits limits
    BlockPool pool
    uint64_t counts[N_STREAM_COUNTS]
    void* owner                     # The Streams object, borrowed.
    uint64_t number                 # That no other table of the process has, ever; above 0.
    StreamTable* other              # The next of all that there are.

cdef enum StreamStatus:
    STREAM_READY = 0
    STREAM_NONE = 1                 # There is none.
    STREAM_FULL = 2                 # There is none, and no room for one.
    STREAM_IN_USE = 3               # Another worker has this direction.

# Get hold of one direction until stream_release(); `make` it if it is not there.
cdef StreamStatus stream_acquire(StreamTable* table, uint64_t id, int side, bint make, Stream** found) noexcept nogil
cdef void stream_release(StreamTable* table, Stream* stream, int side) noexcept nogil

# The flow has ended.
cdef void stream_drop(StreamTable* table, uint64_t id) noexcept nogil

# An acknowledgment for direction `side`.
cdef void stream_acked(StreamTable* table, uint64_t id, int side, uint32_t acknowledgment) noexcept nogil

# Remember why the connection was ended, and tell it; false if the stream is not known.

cdef void stream_count(StreamTable* table, StreamCount which, uint64_t n) noexcept nogil

# A callout has asked to wait; in vain if it was told to go on meanwhile.  The caller has the direction.
cdef void stream_defer(StreamTable* table, Stream* stream, int side) noexcept nogil

# Go on with the received direction of a flow of a table by its number; 0: nothing waits, or table or flow is gone.
cdef int stream_resume(uint64_t number, uint64_t id) noexcept nogil

# The progress of a filter; NULL if too many have one.
cdef StreamFilter* stream_filter(StreamHalf* half, uint32_t filter) noexcept nogil
cdef bint stream_is_allowed(const Stream* stream, uint32_t filter) noexcept nogil
cdef void stream_allow(StreamTable* table, Stream* stream, uint32_t filter) noexcept nogil

# Forget what filters of another policy have come to.
cdef void stream_renew(StreamTable* table, Stream* stream, uint64_t layer_generation) noexcept nogil

cdef class Streams:
    cdef StreamTable table
