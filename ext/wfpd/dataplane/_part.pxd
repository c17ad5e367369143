"""Part: one packed policy, checked, with the search tables of its filters."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._policy cimport (
    CompiledPolicy, PackedAtom, PackedCallout, PackedCondition, PackedFilter, PackedLayer, PackedSet, PackedSublayer,
    PackedTerm, PackedText,
)

# Immutable.  `policy` has records, sets and tables; what a snapshot adds (counters, words, callables) is 0.
cdef class Part:
    cdef CompiledPolicy policy
    cdef readonly object buffer     # Keeps the packed bytes alive.
    cdef object _view               # The buffer's export: its memory stays while this lives.
    cdef dict _names                # Strings by index, those that were asked for.
    cdef const PackedText* strings
    cdef uint32_t n_strings
    cdef const PackedCallout* callouts
    cdef uint32_t* key_table        # Filters by key, open addressing, number + 1; NULL until asked for.
    cdef uint64_t key_mask
    cdef int _adopt(self, buffer) except -1
    cdef int _build(self) except -1
    cdef int _index_keys(self) except -1
    # The first filter of this key (16 bytes) that is not in the map `gone` (NULL: none is), or NO_FILTER.
    cdef uint32_t find(self, const uint8_t* key, const uint64_t* gone) except 0xFFFFFFFE
    cdef str name(self, uint32_t index)
    cdef const PackedFilter* filter(self, uint32_t index) except NULL
