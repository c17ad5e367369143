"""The packed policy as the packet path sees it, and whether a filter's conditions hold."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ._budget cimport CalloutSlot
from ._set cimport SetIndex
from ._text_set cimport SetText, TextSet
from ._types cimport FILTER_BLOCK, FILTER_PERMIT, FLAG_AUDIT, FieldValues, N_SLOTS

cdef enum:                          # wfpd.model.conditions.Op
    OP_RANGE = 0
    OP_ALL_SET = 1
    OP_ANY_SET = 2
    OP_NONE_SET = 3
    OP_EMPTY = 4
    OP_IN_SET = 5
    OP_TEXT_EQUAL = 6
    OP_TEXT_EQUAL_NO_CASE = 7
    OP_TEXT_STARTS = 8
    OP_TEXT_ENDS = 9
    OP_TEXT_CONTAINS = 10
    OP_TEXT_GLOB = 11
    OP_TEXT_RANGE = 12
    N_OPS = 13

cdef enum:
    MAX_ADDED = 4                   # Parts beside the base: a search visits each.

cdef enum CalloutBits:
    CALLOUT_REGISTERED = 1
    CALLOUT_CONDITIONAL = 4         # It is called only for flows with its context.
    CALLOUT_PASSES = 2              # At the stream layer packets do not wait for it (`stream_mode = "pass"`).
    CALLOUT_PASSES_OWN = 8          # It injects, and is not asked about what it has injected itself.

cdef enum:                          # PackedSet.kind
    SET_RANGES32 = 0
    SET_RANGES128 = 1
    SET_TEXTS = 2

# Mirrors of wfpd.compiler.format; little-endian hosts only (checked at import).
cdef packed struct PackedLayer:
    uint32_t first
    uint32_t count
    uint64_t hash                   # Content of the slot's filters.

cdef packed struct PackedFilter:
    uint8_t key[16]
    uint64_t weight                 # Effective.
    uint32_t name                   # String index.
    uint32_t provider               # String index.
    uint16_t sublayer               # Index in sublayers; lower index = evaluated first.
    uint8_t slot
    uint8_t action                  # FilterAction
    uint16_t flags                  # FilterFlagBits
    uint8_t reply                   # ReplyKind
    uint8_t on_error                # WordKind
    uint32_t callout                # Index, or NO_FILTER.
    uint32_t context                # String index, or NO_FILTER.
    uint32_t first_condition
    uint32_t n_conditions
    uint64_t hash                   # Content: what the filter decides.

cdef packed struct PackedCondition:
    uint16_t field
    uint16_t n_terms                # 0: never true.
    uint32_t first_term

cdef packed struct PackedTerm:
    uint16_t reserved0
    uint8_t negate
    uint8_t reserved1
    uint32_t n_atoms
    uint32_t first_atom

cdef packed struct PackedAtom:
    uint8_t op                      # wfpd.model.conditions.Op
    uint8_t open_high
    uint16_t reserved
    uint32_t ref                    # Set index, or first TEXT record.
    uint64_t low_hi
    uint64_t low_lo
    uint64_t high_hi
    uint64_t high_lo

cdef packed struct PackedSet:
    uint8_t kind                    # 0 ranges32, 1 ranges128, 2 texts
    uint8_t reserved0
    uint16_t reserved1
    uint32_t first
    uint32_t count
    uint32_t name

cdef packed struct PackedText:
    uint32_t offset
    uint32_t length

cdef packed struct PackedSublayer:
    uint8_t key[16]
    uint16_t weight
    uint16_t reserved
    uint32_t name

cdef packed struct PackedCallout:
    uint8_t key[16]
    uint32_t name
    uint32_t reserved

# What a decision needs of a filter: four of these lie in a cache line, where a PackedFilter takes one
# or two and its counter slot another.
cdef struct FilterBrief:
    uint32_t callout                # Index, or NO_FILTER.
    uint32_t counter_slot
    uint16_t sublayer
    uint16_t flags                  # FilterFlagBits
    uint8_t action                  # FilterAction
    uint8_t reply                   # ReplyKind
    uint8_t slot
    uint8_t on_error                # WordKind; WORD_DEFAULT: the policy's.

# A filter's provider context for its compiled callout.
cdef struct ContextText:
    const char* text                # JSON, UTF-8, zero-terminated; NULL: it has none.
    uint32_t length                 # In bytes.

# Filters that came after the policy was built, with records and tables of their own.
cdef struct AddedFilters:
    const CompiledPolicy* policy    # Its filters count from 0.
    const uint32_t* ids             # [policy.n_filters] Which of the snapshot's filters each is.

# One compiled policy: pointers into the packed buffer, and the tables of each slot.  Immutable
# from the moment it is published.
#
# A snapshot's is that of the policy it was built from, with filters that are gone since and others
# that were added.  Filters keep their number as long as that policy is the base: those of the base
# from 0, then the added ones in the order in which they came.
cdef struct CompiledPolicy:
    uint64_t generation             # Of the snapshot.
    PackedLayer* layers             # [N_SLOTS] `count` with added and without gone ones; `first` of the base.
    PackedFilter* filters
    uint32_t n_filters
    PackedCondition* conditions
    PackedTerm* terms
    PackedAtom* atoms
    PackedSet* sets
    uint32_t n_sets
    SetIndex* set_index             # [n_sets] Directories; all 0 for sets of texts.
    TextSet* text_index             # [n_sets] The same for sets of texts.
    uint32_t* ranges32              # Pairs.
    uint64_t* ranges128             # Quadruples.
    PackedText* texts
    uint8_t* bytes
    PackedSublayer* sublayers
    uint32_t n_sublayers
    uint32_t n_callouts
    uint8_t* callout_registered     # [n_callouts] CalloutBits; not 0: a callable is there.
    uint32_t* counter_slots         # [n_ids] Slot in the counter pool; kept over reloads (key and content).
    FilterBrief* briefs             # [n_ids]
    uint32_t n_ids                  # Numbers in use: n_filters, and one for each filter ever added.
    const uint64_t* gone            # [n_filters bits] 1: a search ignores this filter, as if it were not there.
                                    # NULL, the usual: it ignores none.
    uint32_t n_added
    AddedFilters added[MAX_ADDED]
    const uint64_t* added_weights   # [n_ids - n_filters] Effective weights.
    const uint16_t* sublayer_weights    # By FilterBrief.sublayer.
    uint64_t fields_needed[N_SLOTS][2]   # Fields that the slot's filters name.
    uint64_t layer_generation[N_SLOTS]   # Generation at which the slot's content last changed.
    uint32_t max_layer_filters      # No slot's search gives more filters: the match buffer's size.
    uint8_t needs_payload           # Some callout may read beyond the headers.
    uint8_t on_error                # WordKind, resolved (PERMIT or BLOCK).
    uint8_t on_malformed
    uint8_t on_late
    uint8_t flows_full              # WordKind, resolved.
    uint8_t audit                   # Daemon-wide audit mode.
    const uint64_t* filter_contexts # [n_ids] What notify() has set, where it is an integer; NULL: nothing was.
    void* search[N_SLOTS]           # _classify's table of the slot; NULL where it has no filters.
    const CalloutSlot* callout_slots    # [n_callouts] How each is called.
    uint8_t has_native              # Some filter's callout is compiled.
    uint32_t n_callout_slots        # In `callout_slots`, of added parts too.
    const ContextText* context_texts    # [n_ids] Of filters whose callout is compiled; NULL: no filter's is.

# Whether every condition of filter `index` holds for `values`.  Slow and obvious; the fast table
# calls it only for what its boxes do not express.
cdef bint filter_matches(const CompiledPolicy* policy, uint32_t index, const FieldValues* values) noexcept nogil

# The same for a single condition.
cdef bint condition_matches(const CompiledPolicy* policy, const PackedCondition* condition,
                            const FieldValues* values) noexcept nogil

# The callout of this name that is registered and not on its way out, or NO_FILTER.  Of two with one name the first has it,
# which is the policy file's, or the older one.
cdef uint32_t callout_named(const CompiledPolicy* policy, const char* name) noexcept nogil

# Bytewise order of two texts: below, at or above 0.
cdef int text_compare(const uint8_t* a, uint64_t a_length, const uint8_t* b, uint64_t b_length) noexcept nogil

cdef inline bint at_most(uint64_t a_hi, uint64_t a_lo, uint64_t b_hi, uint64_t b_lo) noexcept nogil:
    return a_hi < b_hi or (a_hi == b_hi and a_lo <= b_lo)

# Whether the map (NULL: nothing) has the filter's bit.
cdef inline bint is_gone(const uint64_t* gone, uint32_t index) noexcept nogil:
    return gone != NULL and (gone[index >> 6] >> (index & 63)) & 1

# Whether the action always ends the sublayer.  No callout does: one that is called for some flows only, also a
# terminating one, is else as if its filter did not match, and parts are built before it is known which those are.
cdef inline bint always_ends(uint8_t action, uint16_t flags) noexcept nogil:
    return not flags & FLAG_AUDIT and (action == FILTER_PERMIT or action == FILTER_BLOCK)
