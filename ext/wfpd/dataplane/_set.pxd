"""Membership in a large set of numbers: directories of buckets over its sorted ranges."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    SET_LEVELS = 4                  # Directories on the way to a range.
    SET_SUB = 0x80000000            # Bit of a bucket: the rest is where a directory of its own begins.

# A directory: a run of ranges by their high ends, between the lowest and the highest cut into
# buckets 2 ** shift wide.
cdef struct SetNode:
    uint64_t low_hi                 # The lowest high end, with which bucket 0 begins.
    uint64_t low_lo
    uint64_t high_hi                # The highest high end.
    uint64_t high_lo
    uint32_t first                  # The ranges first .. end - 1.
    uint32_t end
    uint32_t shift
    uint32_t n_buckets
    # uint32_t buckets[n_buckets + 1] follow: the first range that ends in the bucket or after it, or
    # SET_SUB and the place of a node.

# One set.  `pairs` (32 bits) or `quads` (128 bits: hi, lo of both ends) are closed, disjoint and
# ascending; they belong to the packed policy.
cdef struct SetIndex:
    const uint32_t* pairs           # NULL for a set of 128-bit ranges.
    const uint64_t* quads
    uint32_t* words                 # [n_words] Nodes, each with its buckets; NULL: searched by halves.
    uint32_t count                  # Ranges.
    uint32_t n_words

# Make the directories: at most 4 bytes a range of 32 bits, 8 of 128.  0, or -1 when memory ran out;
# set_free() either way.
cdef int set_build(SetIndex* index, const uint32_t* pairs, const uint64_t* quads, uint32_t count) noexcept nogil
cdef void set_free(SetIndex* index) noexcept nogil

# Whether the value lies in one of the ranges.
cdef bint set_has(const SetIndex* index, uint64_t hi, uint64_t lo) noexcept nogil
