"""Membership in a large set of numbers: a directory of buckets over its sorted ranges."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SET_INDEXED = 32                # Smaller sets are searched without a directory.
    SET_RANGES_A_BUCKET = 4         # At least, on average; at most twice as many where they are spread evenly.

# One set.  `pairs` (32 bits) or `quads` (128 bits: hi, lo of both ends) are closed, disjoint and
# ascending; they belong to the packed policy.
cdef struct SetIndex:
    const uint32_t* pairs           # NULL for a set of 128-bit ranges.
    const uint64_t* quads
    uint32_t count                  # Ranges.
    uint32_t n_buckets              # 0: no directory.
    uint32_t shift                  # A bucket is 2 ** shift values wide.
    uint32_t reserved
    uint64_t low_hi                 # The first range's low end: where bucket 0 begins.
    uint64_t low_lo
    uint64_t high_hi                # The last range's high end.
    uint64_t high_lo
    uint32_t* first                 # [n_buckets + 1] First range that ends in the bucket or after it.

# Make the directory, at most 1 byte a range.  0, or -1 when memory ran out; set_free() either way.
cdef int set_build(SetIndex* index, const uint32_t* pairs, const uint64_t* quads, uint32_t count) noexcept nogil
cdef void set_free(SetIndex* index) noexcept nogil

# Whether the value lies in one of the ranges.
cdef bint set_has(const SetIndex* index, uint64_t hi, uint64_t lo) noexcept nogil
