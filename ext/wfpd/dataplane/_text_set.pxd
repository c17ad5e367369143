"""Membership in a large set of texts: buckets of their hashes over the sorted texts."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

# A text of the set: where in `bytes` and how long.
cdef packed struct SetText:
    uint32_t offset
    uint32_t length

cdef struct HashedText:
    uint32_t hash
    SetText at                  # Kept here as well: the set's own records would be one cache line more.

# One set.  Texts are sorted and distinct; the set's owner keeps them and hands them in again.
cdef struct TextSet:
    uint32_t* first             # [n_buckets + 1] Where the bucket begins in `entries`; NULL: searched by halves.
    HashedText* entries         # [count] By bucket, in it in the texts' order.
    uint32_t shift              # The bucket is what the hash leaves: 2 ** (32 - shift) of them.

# 14 to 16 bytes a text.  0, or -1 when memory ran out; text_set_free() either way.
cdef int text_set_build(TextSet* found, const SetText* texts, const uint8_t* bytes, uint32_t count) noexcept nogil
cdef void text_set_free(TextSet* found) noexcept nogil
cdef bint text_set_has(const TextSet* found, const SetText* texts, const uint8_t* bytes, uint32_t count,
                       const uint8_t* text, uint64_t length) noexcept nogil

# Of a text, disregarding ASCII case.
cdef uint32_t text_hash(const uint8_t* text, uint64_t length) noexcept nogil
