"""Why a layer answers as it does for one packet: what holds, what misses by one condition, step by step.

Cold: for people.  It looks at the records that the search is built from, by the packet path's own
condition_matches(), classify() and arbitrate_run(); it matches and decides nothing by itself.
"""

from libc.stdint cimport uint32_t

from ._arbitrate cimport CalloutAnswer
from ._part cimport Part
from ._policy cimport CompiledPolicy, PackedLayer
from ._table cimport Snapshot
from ._types cimport FieldValues

cdef struct NearMiss:
    uint32_t filter
    uint32_t condition              # Position among the filter's conditions: the only one that fails.

cdef struct Findings:
    uint32_t* held                  # [filters of the slot] Filters whose conditions all hold.
    uint32_t n_held
    NearMiss* near                  # [filters of the slot]
    uint32_t n_near
    uint32_t most                   # Near misses kept of each sublayer, and part.

# Look at every filter of `slot`, of the base and of what was added to it: linear in its filters (100,000
# take 2 to 5 ms).  The caller has set `held`, `near` and `most`.  Rank order holds within each part.
cdef void findings_collect(const CompiledPolicy* policy, const PackedLayer* base, unsigned int slot,
                           const FieldValues* values, Findings* findings) noexcept nogil

# The layer `slot` explained for a packet's values, as a dict (explain_values() says what is in it).
# `answers` are (kind, clear_right) of the callouts that arbitration asks, in order.
cdef dict explain_layer(Snapshot snapshot, unsigned int slot, const FieldValues* values, uint32_t most, answers)

# A callout's answer from (kind, clear_right).  KeyError for a kind that is none.
cdef int answer_fill(CalloutAnswer* answer, given) except -1

# A condition in the model's words, by its index in the part.
cdef object condition_at(Part part, uint32_t index)

# A text of the policy, by its index.
cdef bytes text_at(const CompiledPolicy* policy, uint32_t index)
