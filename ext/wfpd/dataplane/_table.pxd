"""Snapshot: owns and checks the packed policy, and the search tables built from it.

The records are `_policy`'s; whoever needs them may cimport them from here.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from ._policy cimport (
    CompiledPolicy, FilterBrief, PackedAtom, PackedCallout, PackedCondition, PackedFilter, PackedLayer,
    PackedSet, PackedSublayer, PackedTerm, PackedText,
)

# The counter slots in use, shared by a snapshot and its successors.  A slot is free again when the
# last snapshot that counts in it is gone.  Guarded by `lock`: no GIL is needed.
cdef class CounterSlots:
    cdef int32_t lock
    cdef uint32_t* uses             # [size] Snapshots that hold the slot.
    cdef uint32_t* unused           # [n_unused] Slots below `size` that none holds.
    cdef uint32_t n_unused
    cdef readonly uint32_t size     # Slots ever given out; a pool of this many counters is enough.
    cdef uint32_t capacity
    # Hold each of `n` slots; NO_FILTER becomes a free one, which is noted in `fresh` ([n]) too.
    # 0, or -1 without memory: then none is held.
    cdef int hold(self, uint32_t* slots, uint32_t n, uint32_t* fresh, uint32_t* n_fresh) noexcept nogil
    cdef void let_go(self, const uint32_t* slots, uint32_t n) noexcept nogil
    cdef uint32_t _take(self) noexcept nogil
    cdef int _reserve(self, uint32_t n) noexcept nogil

cdef class Snapshot:
    cdef CompiledPolicy policy
    cdef readonly object buffer     # Keeps the packed bytes alive.
    cdef readonly list callouts     # Callables or None, by callout index.
    cdef readonly uint64_t generation
    cdef readonly object info       # Whatever the control side attaches (hash, names); never read here.
    cdef readonly CounterSlots slots
    cdef object _view               # The buffer's export: its memory stays while this lives.
    cdef dict _names                # Strings by index, those that were asked for.
    cdef const PackedText* _strings
    cdef const PackedCallout* _callouts
    cdef uint32_t* _fresh           # [_n_fresh] Counter slots that `previous` did not have.
    cdef uint32_t _n_fresh
    cdef bint _holds_counters       # Of all filters.
    cdef bint counting              # It has been published: its fresh counters have begun at 0.
    cdef int _build(self) except -1
    cdef int _adopt(self, buffer) except -1
    cdef str _name(self, uint32_t index)
    cdef int _resolve_callouts(self) except -1
    cdef int _resolve_counters(self, Snapshot previous) except -1
    cdef const PackedFilter* _filter(self, uint32_t index) except NULL
    cdef unsigned int _slot(self, unsigned int slot) except? 0xFFFF
