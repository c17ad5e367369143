"""Ids of the texts that a slot's filters name: what makes a text field a dimension."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ._policy cimport CompiledPolicy

cdef enum:
    TEXT_OTHER = 0xFFFFFFFE     # The id of every text that no filter names; below ABSENT.

cdef struct TextEntry:
    uint32_t hash
    uint32_t id                 # From 1 on; 0: the entry is free.
    uint32_t offset             # Of the text in the policy's bytes.
    uint32_t length

cdef struct TextIds:
    uint16_t field
    uint16_t dimension
    bint folded                 # A filter ignores ASCII case: texts that differ in it only share an id.
    uint32_t n                  # Ids are 1..n, in the order in which filters name the texts.
    uint32_t mask
    TextEntry* entries          # [mask + 1] At most half full.

# Fill `ids` with the texts that the filters first..first+count-1 compare `field` with as a whole (sets
# of more than `most_set` are left out).  0, or -1 when memory ran out; texts_free() either way.
cdef int texts_make(const CompiledPolicy* policy, uint32_t first, uint32_t count, uint16_t field, uint32_t most_set,
                    TextIds* ids) noexcept nogil
cdef void texts_free(TextIds* ids) noexcept nogil

# The id of a text, or TEXT_OTHER.
cdef uint32_t text_id(const TextIds* ids, const CompiledPolicy* policy, const uint8_t* text,
                      uint64_t length) noexcept nogil
