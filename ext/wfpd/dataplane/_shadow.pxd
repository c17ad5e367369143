"""Which filters of a slot can never decide, computed on their boxes.  Cold: for people, before a reload."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._boxes cimport Bound
from ._policy cimport CompiledPolicy
from ._space cimport MAX_AXES, Side, Space
from ._types cimport N_FIELDS, FieldValues

cdef enum:
    MAX_NAMED = 8                   # Filters named as those that cover one.

cdef enum Standing:                 # What was found of a filter.
    STANDING_OPEN = 0               # It is not shadowed for certain; conditions that no box holds hide where it decides.
    STANDING_DECIDES = 1            # It is reached at its witness.
    STANDING_SHADOWED = 2           # Others are the terminating result wherever it matches.
    STANDING_NEVER = 3              # No values satisfy its conditions.
    STANDING_UNDECIDED = 4          # The work that was allowed did not do.

cdef struct Finding:
    uint8_t standing                # Standing
    uint8_t same                    # SHADOWED: every filter that covers it does what it does.
    uint32_t n_by                   # SHADOWED: how many cover it; the first MAX_NAMED of them are in `by`.
    uint32_t by[MAX_NAMED]          # Counted from the slot's first.
    uint32_t useless                # The hard block of a higher sublayer that leaves this permit without effect.
    uint8_t untested                # `tests` did not do for `useless` and `veto`.
    uint32_t veto                   # A callout filter of a lower sublayer that may veto this hard permit.

cdef struct Shadows:
    CompiledPolicy real             # The policy as it is.
    CompiledPolicy sure             # Only filters that end their sublayer wherever their boxes are.
    Space space
    Side sides[2]                   # The second one is empty.
    unsigned int slot
    uint32_t first                  # The slot's first filter.
    uint32_t n_filters
    uint32_t* boxes                 # [n_filters + 1] The first box of each filter.
    uint8_t* ends                   # [n_filters] It ends its sublayer wherever its boxes are.
    uint8_t empty[N_FIELDS]         # No packet has the field at this layer.
    uint64_t* gone                  # What `sure` ignores.
    uint32_t tops[MAX_AXES]         # The largest value of a narrow axis.
    const uint8_t** texts[MAX_AXES]     # By number - 1; the last one is a text that no filter names.
    uint64_t* lengths[MAX_AXES]
    uint32_t n_texts[MAX_AXES]
    FieldValues values              # Of the point that was asked last.
    uint32_t point[MAX_AXES]
    uint32_t* matches
    Bound* pieces                   # [capacity * space.n] A stack.
    uint32_t n_pieces
    uint32_t capacity
    uint32_t* seen                  # [n_filters] The last filter that it was found to cover, counted from 1.
    uint32_t* witness               # [n_filters * space.n] Points, or NULL if nobody asks for them.
    Finding* findings               # [n_filters]
    uint64_t random
    uint64_t work                   # Questions to the tables that are left for all filters.
    uint64_t work_each
    uint64_t tests                  # Pairs of boxes that may still be compared for `useless` and `veto`.
