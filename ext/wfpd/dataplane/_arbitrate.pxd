"""Matches to one decision of a layer, by WFP's arbitration (Microsoft, "Filter Arbitration").

Pure: it stops to ask for a callout and is entered again with the answer.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ._table cimport CompiledPolicy
from ._types cimport Decision

cdef enum:
    NO_SUBLAYER = 0xFFFF

cdef enum ArbitrationStep:
    STEP_DONE = 0
    STEP_CALLOUT = 1                # Call filter `asked`'s callout, then arbitrate_answer().

cdef enum AnswerKind:
    ANSWER_CONTINUE = 0
    ANSWER_PERMIT = 1
    ANSWER_BLOCK = 2
    ANSWER_SKIP = 3                 # The callout was not called: as if its filter did not match.

cdef enum StreamAction:             # What a callout asks for at the stream layer.
    STREAM_NO_ACTION = 0
    STREAM_NEED_MORE = 1
    STREAM_DROP_CONNECTION = 2
    STREAM_DEFER = 3
    STREAM_ALLOW_CONNECTION = 4

cdef struct CalloutAnswer:
    uint8_t kind                    # AnswerKind
    uint8_t clear_right
    uint8_t absorb                  # With ANSWER_BLOCK only.
    uint8_t reply                   # ReplyKind, with ANSWER_BLOCK only.
    uint8_t failed                  # The answer stands in for a callout that raised (on_error).
    uint8_t late                    # The answer stands in for a callout that took too long (on_late).
    uint8_t cut                     # The TCP flow is cut: both sides are reset.  With a block that is not absorbed only.
    uint8_t stream_action           # StreamAction; `kind` means nothing unless it is STREAM_NO_ACTION.
    uint32_t required               # With STREAM_NEED_MORE: further bytes that are needed, at least 1.
    uint32_t enforced               # Leading bytes that `kind` is for; 0: all.

cdef struct Arbitration:
    const CompiledPolicy* policy
    const uint32_t* matches
    uint32_t n_matches
    uint32_t next                   # Position in matches.
    uint32_t asked                  # Filter whose callout is being asked.
    uint8_t action                  # ActionKind so far; what the callout sees.
    uint8_t right                   # 1: FWPS_RIGHT_ACTION_WRITE is set.
    uint8_t reason                  # Reason of the standing result.
    uint8_t veto
    uint8_t reply
    uint8_t absorb
    uint8_t n_audit                 # Audit-mode filters that would have matched (saturates).
    uint16_t ended                  # Sublayer that a terminating result has ended.
    uint32_t standing               # Filter of the standing result, NO_FILTER if none.
    uint8_t cut                     # The block that stands cuts the packet's TCP flow.
    uint8_t waterfall               # The stream layer: the right has no meaning, and the first block ends it.

cdef void arbitrate_begin(Arbitration* state, const CompiledPolicy* policy, const uint32_t* matches,
                          uint32_t n_matches) noexcept nogil

# Run until the layer is decided or a callout is needed.  Every filter whose result ended its
# sublayer, whose callout is asked, or that is in audit mode and matched is appended to `hits`
# (capacity: the match count); arbitration itself has no counters.
cdef ArbitrationStep arbitrate_run(Arbitration* state, uint32_t* hits, uint32_t* n_hits) noexcept nogil
cdef void arbitrate_answer(Arbitration* state, const CalloutAnswer* answer) noexcept nogil

# The answer in place of one that the callout of filter `asked` could not give: what on_error declares.
cdef void answer_on_error(const CompiledPolicy* policy, uint32_t asked, CalloutAnswer* answer) noexcept nogil

# A packet's decision as control threads have it; `filter` and `callout` are indexes, None where there is none.
cdef dict decision_dict(const Decision* decision)
