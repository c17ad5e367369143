"""Ids, enums and structs that cross modules of the packet path.  No behaviour."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

include "_field_ids.pxi"

cdef enum:
    N_SLOTS = 64            # Layer index * 2 + (family == 6); twins at layer index + 16.
    TWIN_SLOTS = 32         # slot of a layer's discard twin = slot + TWIN_SLOTS
    NO_FILTER = 0xFFFFFFFF  # "No filter" wherever a filter index is expected.
    NO_SLOT = 0xFF

cdef enum LayerIndex:       # Position in wfpd.model.layers.LAYERS.
    LAYER_INBOUND_IPPACKET = 0
    LAYER_INBOUND_TRANSPORT = 1
    LAYER_INBOUND_ICMP_ERROR = 2
    LAYER_ALE_AUTH_RECV_ACCEPT = 3
    LAYER_ALE_FLOW_ESTABLISHED = 4
    LAYER_STREAM_PACKET = 5
    LAYER_STREAM = 6
    LAYER_DATAGRAM_DATA = 7
    LAYER_ALE_AUTH_CONNECT = 8
    LAYER_OUTBOUND_ICMP_ERROR = 9
    LAYER_OUTBOUND_TRANSPORT = 10
    LAYER_OUTBOUND_IPPACKET = 11
    LAYER_IPFORWARD = 12

cdef enum Hook:             # NFQUEUE's hook numbers (NF_INET_*).
    HOOK_PREROUTING = 0
    HOOK_INPUT = 1
    HOOK_FORWARD = 2
    HOOK_OUTPUT = 3
    HOOK_POSTROUTING = 4

cdef enum ActionKind:       # A row's or decision's action.
    ACTION_NONE = 0
    ACTION_PERMIT = 1
    ACTION_BLOCK = 2

cdef enum FilterAction:     # wfpd.model.policy.Action
    FILTER_PERMIT = 1
    FILTER_BLOCK = 2
    FILTER_CALLOUT_TERMINATING = 3
    FILTER_CALLOUT_INSPECTION = 4
    FILTER_CALLOUT_UNKNOWN = 5

cdef enum FilterFlagBits:   # wfpd.model.policy.FilterFlag
    FLAG_CLEAR_ACTION_RIGHT = 0x01
    FLAG_PERMIT_IF_UNREGISTERED = 0x02
    FLAG_INDEXED = 0x04
    FLAG_AUDIT = 0x08
    FLAG_LOG = 0x10
    FLAG_METRICS = 0x20
    FLAG_ABSORB = 0x40

cdef enum ReplyKind:        # wfpd.model.policy.Reply
    REPLY_NONE = 0
    REPLY_TCP_RESET = 1
    REPLY_ICMP_UNREACHABLE = 2

cdef enum WordKind:         # wfpd.model.policy.Word
    WORD_DEFAULT = 0
    WORD_PERMIT = 1
    WORD_BLOCK = 2

cdef enum Reason:           # Why a packet was decided as it was; the order of DROP_REASONS.
    REASON_NO_MATCH = 0
    REASON_FILTER = 1
    REASON_CALLOUT = 2
    REASON_VETO = 3
    REASON_MISSING_CALLOUT = 4
    REASON_MALFORMED = 5
    REASON_FLOW = 6
    REASON_LIMIT = 7
    REASON_LATE = 8
    REASON_ERROR = 9
    REASON_NOT_IP = 10
    N_REASONS = 11

# The values of one indication.  A field is present if its bit in `present` is set; `lo` and `hi`
# of an absent field are 0 where the packet path fills them, and mean nothing.
cdef struct FieldValues:
    uint64_t present[2]             # Bit f % 64 of word f / 64: field f has a value (else FWP_EMPTY).
    uint64_t lo[N_FIELDS]           # Integers; IPv4 in host order; the low half of IPv6; length of a text.
    uint64_t hi[N_FIELDS]           # The high half of IPv6; address of a text's bytes; else 0.

cdef inline void value_set(FieldValues* values, unsigned int field, uint64_t lo) noexcept nogil:
    values.present[field >> 6] |= (<uint64_t>1) << (field & 63)
    values.lo[field] = lo
    values.hi[field] = 0

cdef inline void value_set128(FieldValues* values, unsigned int field, uint64_t hi, uint64_t lo) noexcept nogil:
    values.present[field >> 6] |= (<uint64_t>1) << (field & 63)
    values.lo[field] = lo
    values.hi[field] = hi

cdef inline void value_set_text(FieldValues* values, unsigned int field, const uint8_t* text, size_t length) noexcept nogil:
    values.present[field >> 6] |= (<uint64_t>1) << (field & 63)
    values.lo[field] = length
    values.hi[field] = <uint64_t>text

cdef inline void value_clear(FieldValues* values, unsigned int field) noexcept nogil:
    values.present[field >> 6] &= ~((<uint64_t>1) << (field & 63))
    values.lo[field] = 0
    values.hi[field] = 0

cdef inline bint value_present(const FieldValues* values, unsigned int field) noexcept nogil:
    return (values.present[field >> 6] >> (field & 63)) & 1

# What the packet path says of one packet.
cdef struct Decision:
    uint8_t verdict                 # ACTION_PERMIT or ACTION_BLOCK.
    uint8_t reason                  # Reason.
    uint8_t malformed               # ParseStatus, where reason is REASON_MALFORMED.
    uint8_t slot                    # The deciding layer, NO_SLOT if none.
    uint32_t filter                 # Index in the snapshot's filters, NO_FILTER if none.
    uint8_t veto
    uint8_t reply                   # ReplyKind, after suppression.
    uint8_t absorb
    uint8_t log                     # A permit that the deciding filter wants logged, or an audit match.
    uint8_t would_block             # Audit mode of the daemon turned this block into a permit.
    uint32_t callout                # Index of the deciding callout, NO_FILTER if none.
    uint64_t flow_id                # 53 bits, 0 if the packet belongs to no flow.
    uint8_t to_server               # Direction within the flow.
