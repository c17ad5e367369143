"""Snapshot: one policy in the form that packets are decided by."""

from libc.stdint cimport uint32_t, uint64_t

from ._part cimport Part
from ._policy cimport (
    CompiledPolicy, FilterBrief, PackedAtom, PackedCallout, PackedCondition, PackedFilter, PackedLayer,
    PackedSet, PackedSublayer, PackedTerm, PackedText,
)
from ._root cimport Root
from ._types cimport FieldValues, N_SLOTS

cdef class Snapshot:
    cdef CompiledPolicy policy
    cdef readonly Root root
    cdef readonly tuple added       # Added: the parts beside the base.
    cdef readonly uint64_t generation
    cdef readonly object info       # Whatever the control side attaches (hash, names); never read here.
    cdef PackedLayer[N_SLOTS] layers
    cdef CompiledPolicy* parts      # [len(added)] Theirs, with what is gone of them.
    cdef uint64_t* gone             # What policy.gone points to.
    cdef uint32_t n_live            # Filters.
    cdef uint32_t n_callouts_known
    cdef int _take(self, tuple added) except -1
    cdef int _take_part(self, uint32_t at) except -1
    cdef const PackedFilter* _filter(self, uint32_t index) except NULL
    cdef unsigned int _slot(self, unsigned int slot) except? 0xFFFF

# Fill `vector` from values by field name; the list keeps the texts' memory.
cdef list _fill_values(FieldValues* vector, dict values, unsigned int is_v6)
