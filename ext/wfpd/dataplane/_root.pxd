"""Root: the policy that snapshots are built from, and what is known of every filter added to it since."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._budget cimport CalloutSlot
from ._counters cimport CounterSlots
from ._part cimport Part
from ._policy cimport ContextText, FilterBrief, PackedFilter
from ._types cimport N_SLOTS

cdef enum:
    ADDED_ROOM = 16384              # Filters that may be added before the base has to be built anew.
    SUBLAYER_ROOM = 256
    CALLOUT_ROOM = 1024

# What a slot holds, as it changes: in the same unit whatever the order of the changes was.
cdef struct SlotContent:
    int32_t count                   # Filters.
    uint64_t hash

# Arrays by filter, sublayer and callout that only ever grow, within the memory they have: a snapshot
# reads what was there when it was published.  Changed under the GIL by one control thread at a time.
cdef class Root:
    cdef readonly Part part         # The base.
    cdef readonly CounterSlots slots
    cdef readonly list callouts     # Callables or None, by callout.
    cdef list calls                 # What is called of each: its `classify`, or itself; of a compiled one when it pends.
    cdef list asks                  # What is called of each where a compiled one asks Python.
    cdef public dict filter_contexts    # By filter: what notify() has set.
    cdef object _provider_contexts  # Name -> data.
    cdef ContextText* context_texts # [n_filters + ADDED_ROOM] As CompiledPolicy.context_texts.
    cdef dict texts_kept            # Their bytes, each once.
    cdef uint32_t n_texted          # Filters below have their texts.
    cdef uint64_t* context_numbers  # [n_filters + ADDED_ROOM] Those of filter_contexts that are 64-bit numbers; or NULL.
    cdef list callout_names
    cdef list sublayer_names
    cdef list places                # (Part, number there) of each added filter, for its name after it is gone.
    cdef dict callout_numbers       # By key.
    cdef dict sublayer_numbers
    cdef FilterBrief* briefs        # [n_ids]
    cdef uint32_t* counter_slots    # [n_ids]
    cdef uint64_t* added_weights    # [n_ids - n_filters]
    cdef uint16_t* sublayer_weights
    cdef uint8_t* registered        # By callout, as CompiledPolicy.callout_registered.
    cdef uint64_t* gone             # Bit i: filter i of the base is removed.
    cdef uint64_t* dynamic          # Bit i: filter i of the base was added to an earlier one.  NULL: none was.
    cdef readonly uint32_t n_filters    # Of the base.
    cdef readonly uint32_t n_ids
    cdef readonly uint32_t n_gone
    cdef SlotContent[N_SLOTS] content   # Of the base, without what is gone.
    cdef uint32_t* fresh            # [n_fresh] Counter slots that no predecessor counts in.
    cdef uint32_t n_fresh
    cdef uint32_t n_begun           # Of those, the first that Engine.swap() has set to 0.
    cdef uint32_t n_held            # Filters whose counter slot this holds.
    cdef bint needs_payload
    cdef bint has_native            # A filter names a compiled callout.
    cdef CalloutSlot* callout_slots # By callout.
    cdef list callouts_kept         # What `callout_slots` points into: (capsule, Watch or None, callable).
    cdef list names_kept            # And their names, as bytes.
    cdef int _allocate(self) except -1
    cdef int _take_callouts(self, list callouts) except -1
    cdef int _take_counters(self, Root previous, tuple added, inherited) except -1
    cdef int _take_dynamic(self, dynamic) except -1
    cdef int _inherit(self, Root previous, tuple added) except -1
    cdef int _hold(self, uint32_t first, uint32_t n) except -1
    cdef tuple place(self, uint32_t index)
    cdef uint32_t _sublayer(self, Part part, uint32_t index) except 0xFFFFFFFF
    cdef uint32_t _callout(self, Part part, uint32_t index, given) except 0xFFFFFFFF
    cdef int _use_callout(self, uint32_t number) except -1
    cdef int _take_texts(self) except -1
    # Count the calls of compiled callouts by each of `n` callers.
    cdef int count_calls(self, uint32_t n) except -1

# A part that was added to a root.  Immutable.
cdef class Added:
    cdef readonly Part part
    cdef object _ids                # Keeps `ids` alive.
    cdef const uint32_t* ids        # [part.n_filters] Numbers in the root.
    cdef uint64_t* gone             # By the part's own number; NULL: none is.
    cdef readonly uint32_t n_gone
    cdef SlotContent[N_SLOTS] content
