"""Snapshot: owns and checks the packed policy, and the search tables built from it.

The records are `_policy`'s; whoever needs them may cimport them from here.
"""

from libc.stdint cimport uint32_t, uint64_t

from ._policy cimport (
    CompiledPolicy, FilterBrief, PackedAtom, PackedCallout, PackedCondition, PackedFilter, PackedLayer,
    PackedSet, PackedSublayer, PackedTerm, PackedText,
)

# The counter slots in use, shared by a snapshot and its successors.  A slot is free again when the
# last snapshot that counts in it is gone.  Guarded by the GIL.
cdef class CounterSlots:
    cdef uint32_t* uses             # [size] Snapshots that hold the slot.
    cdef uint32_t* unused           # [n_unused] Slots below `size` that none holds.
    cdef uint32_t n_unused
    cdef readonly uint32_t size     # Slots ever given out; a pool of this many counters is enough.
    cdef uint32_t capacity
    cdef uint32_t take(self) except 0xFFFFFFFF
    cdef int _grow(self) except -1
    cdef void release(self, uint32_t slot) noexcept nogil

cdef class Snapshot:
    cdef CompiledPolicy policy
    cdef readonly object buffer     # Keeps the packed bytes alive.
    cdef readonly list callouts     # Callables or None, by callout index.
    cdef readonly uint64_t generation
    cdef readonly object info       # Whatever the control side attaches (hash, names); never read here.
    cdef readonly CounterSlots slots
    cdef object _view               # The buffer's export: its memory stays while this lives.
    cdef list _names                # Strings by index; None until asked for.
    cdef const PackedText* _strings
    cdef const PackedCallout* _callouts
    cdef tuple _new_slots           # Counter slots that `previous` did not have.
    cdef uint32_t _n_held           # Filters whose counter slot this holds.
    cdef int _build(self) except -1
    cdef int _adopt(self, buffer) except -1
    cdef str _name(self, uint32_t index)
    cdef int _resolve_callouts(self) except -1
    cdef int _resolve_counters(self, Snapshot previous) except -1
    cdef int _make_briefs(self) except -1
    cdef const PackedFilter* _filter(self, uint32_t index) except NULL
    cdef unsigned int _slot(self, unsigned int slot) except? 0xFFFF
