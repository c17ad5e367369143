"""One packet at one hook: which layers, in which order, and what they decide together.

A Visitor is one worker's (or one replay's) reusable state; nothing is allocated per packet.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._arbitrate cimport Arbitration, CalloutAnswer
from ._budget cimport CalloutSlot
from ._cache cimport CacheProbe, DecisionCache
from ._flow cimport FlowEntry, FlowKey, FlowTable
from ._host cimport HostTable
from ._parse cimport PacketView
from ._stats cimport WorkerStats
from ._streams cimport Stream
from ._table cimport CompiledPolicy
from ._types cimport Decision, FieldValues

cdef enum VisitStep:
    VISIT_DONE = 0                  # `decision` holds the outcome.
    VISIT_CALLOUT = 1               # Call the callout of filter arbitration.asked, then visit_answer().

# What a compiled callout that is asked leaves to Python.
cdef enum Handed:
    HANDED_NOTHING = 0
    HANDED_PENDED = 1               # The packet is to wait: pended(c, handle).
    HANDED_ASKED = 2                # classify(c) answers.
    HANDED_MARKED = 3               # Whether the callout has injected the packet itself; it is called if not.

cdef struct VisitInput:
    const uint8_t* data             # First byte of the IP packet.
    uint32_t captured               # Bytes at data.
    uint32_t original               # Length before the copy was cut (= captured if it was not).
    uint8_t hook                    # Hook
    uint8_t has_mark
    uint32_t mark                   # As it arrived.
    uint32_t in_interface           # ifindex, 0 unknown.
    uint32_t out_interface
    uint32_t physical_in            # Bridge ports.
    uint32_t physical_out
    uint32_t parse_flags
    uint8_t loopback                # Replay: both ends local.  Live: found from the interface.
    const uint8_t* interface_name   # Replay: from the capture; else NULL and the host table is asked.
    uint32_t interface_name_length
    uint32_t capture_interface      # Replay: its own number of the interface, from 1; else 0.
    const PacketView* view          # From visit_prepare() of the same input, or NULL.
    uint64_t now_ns                 # Monotonic; replay: the capture's clock.
    uint8_t gso                     # A GSO packet: its segments are still one.
    uint8_t injected                # The mark says that wfpd has injected it.

cdef enum:
    MAX_NOTED = 8                   # Filters that events tell of, a visit; further ones are only counted.
    MAX_ROWS = 24                   # Layers of a visit with their twins.

# One row of a traced visit.
cdef struct TraceRow:
    uint8_t slot
    uint8_t action                  # ActionKind
    uint8_t right                   # 1 set
    uint8_t discard
    uint32_t filter
    uint32_t first_callout          # Of those asked in this visit, in order.
    uint32_t n_callouts

cdef struct Trace:
    uint32_t n_rows
    uint32_t n_callouts
    FieldValues* values             # [MAX_ROWS] The layers' values, row by row; NULL: not kept.
    TraceRow rows[MAX_ROWS]

cdef enum:
    MAX_ANSWERS = 16                # Of callouts, that a visit can be resumed with.

# Where a packet that callouts change is kept (_modify): two places, of which one is free for the next change.
cdef struct Visitor

# The functions are modify_writable(), modify_write(), modify_replace() and so on: a visit does not depend on _modify.
# The packet before the first change of the call that is made.
cdef struct EditMark:
    PacketView view
    const uint8_t* data
    uint32_t captured
    uint32_t original
    uint32_t n_edited               # Bytes of EditBuffer's third packet; 0: it was as it had come.
    uint32_t n_made

cdef struct EditBuffer:
    uint8_t* bytes
    uint8_t current
    int (*writable)(const Visitor* visitor) noexcept nogil
    int (*write)(Visitor* visitor, uint32_t offset, const uint8_t* bytes, uint32_t n) noexcept nogil
    int (*replace)(Visitor* visitor, const uint8_t* bytes, uint32_t n) noexcept nogil
    # What answers have left of the packet, for a visit that is resumed: layers between see what they saw before.
    void (*keep)(Visitor* visitor) noexcept nogil
    void (*take_back)(Visitor* visitor) noexcept nogil      # The call has failed: nothing of it stays in the packet.
    uint8_t marked                  # The call has changed the packet: `mark` says what it was.
    EditMark mark
    uint8_t keeps                   # Packets may wait here: it is kept.
    uint8_t lost                    # It could not be.
    uint32_t n_made                 # Changes of this visit,
    uint32_t n_kept                 # and those that were made up to the last answer.
    uint8_t* log                    # The packets, one behind the other,
    uint32_t log_size
    uint32_t log_capacity
    uint32_t sizes[MAX_ANSWERS]     # with these bytes by answer; 0: it has changed nothing.

# WFP's names; the numbers are those of its headers as far as they are known, the last three our own.
cdef enum StreamFlags:
    STREAM_FLAG_RECEIVE = 0x1
    STREAM_FLAG_RECEIVE_EXPEDITED = 0x2
    STREAM_FLAG_RECEIVE_DISCONNECT = 0x4
    STREAM_FLAG_RECEIVE_ABORT = 0x8
    STREAM_FLAG_SEND = 0x10000
    STREAM_FLAG_SEND_EXPEDITED = 0x20000
    STREAM_FLAG_SEND_DISCONNECT = 0x80000
    STREAM_FLAG_SEND_ABORT = 0x100000
    STREAM_FLAG_NO_MORE_DATA = 0x1000000
    STREAM_FLAG_BUFFER_LIMIT = 0x2000000    # As much is buffered as may be: need_more is refused.

cdef struct GivenAnswer:
    uint32_t filter                 # Whose callout gave it; NO_FILTER: that filter is gone.
    CalloutAnswer answer
    uint32_t n_packet               # In Resume: bytes of the packet as the callout has left it; 0: it changed nothing.
    const uint8_t* packet

cdef enum:
    PROVISIONAL_CONTEXTS = 1
    PROVISIONAL_STREAM = 2

# What a visit is begun with that goes on where an earlier one of the packet has stopped (_parking): the callouts
# asked in that one are not asked again, the last of them being the one that has stopped it.
cdef struct Resume:
    uint32_t n                      # At least 1.
    GivenAnswer answers[MAX_ANSWERS]
    uint64_t flow_id                # Of the flow that the packet was about to make; 0: none was given.
    uint8_t stage                   # How far it had come in the hook's order.
    uint8_t asks                    # The last one is asked again all the same.
    uint8_t provisional             # What is kept for that flow, which is not made yet: PROVISIONAL_*.
    uint8_t gone                    # Its filter is gone: nothing tells how far the earlier visit has come.
    uint8_t changes                 # The last answer changes the packet, which is Python's to do.
    uint8_t hurried                 # Times that it was to be asked again before the call that parked it had returned.

# What the callout that is asked at the stream layer is shown.
cdef struct StreamIndication:
    const uint8_t* data             # Valid during the call; NULL without bytes.
    uint32_t length
    uint64_t offset                 # Of data[0] in its direction of the stream.
    uint8_t direction               # 0 received, 1 sent
    uint32_t flags                  # StreamFlags
    uint32_t missed                 # Bytes that nobody asked it about since its last call.

cdef struct Visitor:
    const CompiledPolicy* policy    # Pinned for the batch.
    HostTable* host
    FlowTable* flows
    WorkerStats* stats
    DecisionCache* cache            # NULL: every layer is searched.
    Trace* trace                    # NULL unless traced; emptied by visit_begin().
    uint32_t* matches               # Capacity policy.max_layer_filters.
    uint32_t* hits
    VisitInput input
    PacketView view
    FieldValues values
    Arbitration arbitration
    Decision decision
    uint8_t hooks_attached          # Bit per Hook: prerouting/postrouting take their layer from input/output.
    uint8_t live                    # 0: replay; a mid-stream flow then has the packet's direction.
    # Internal to _visit.
    uint64_t done[2]                # Fields computed in this visit.
    FlowKey key
    uint64_t flow_hash
    FlowEntry pending               # The packet's flow, found or to be made.
    uint32_t first_traced
    uint32_t n_restored             # Hits that the cache gave with the layer's result.
    CacheProbe probe
    uint8_t stage                   # Position in the hook's order.
    uint8_t slot                    # Slot being decided.
    uint8_t layer                   # LayerIndex of it.
    uint8_t in_twin
    uint8_t finished
    uint8_t blocked
    uint8_t concluded
    uint8_t outbound                # The packet's direction: local is the source.
    uint8_t tracked                 # Flows matter to this packet.
    uint8_t flow_known              # `pending` was found in the table.
    uint8_t reauthorizing
    uint8_t limit_block
    uint8_t have_row                # Some layer permitted or blocked.
    uint8_t midstream
    uint8_t established_now
    uint8_t n_noted
    uint8_t noted_reason[MAX_NOTED]
    uint32_t noted[MAX_NOTED]       # Permits with `log: true` and audit-mode filters that matched, in order.
    # Callouts.
    uint8_t calls_native            # Live: a visit calls compiled callouts itself, and budgets count.
    const uint8_t* given            # 1: the packet has its verdict, whatever else is decided.  NULL: nobody gives it one.
    uint32_t n_native               # Calls of compiled callouts.
    uint8_t handed                  # Handed: why Python goes on with the compiled callout that is asked.
    const CalloutSlot* called       # The callout with a budget that is being called; of meaning while `called_ns` is set.
    uint64_t called_ns              # CLOCK_MONOTONIC of that call, 0: none.  Read by others.
    EditBuffer* edit                # NULL: callouts change nothing.
    uint32_t n_edited               # Bytes of the packet that is to be written back; 0: it is as it came.
    # The stream layer.
    StreamIndication indication
    Stream* stream                  # While its direction `outbound_stream` is held.
    uint32_t stream_matches         # Filters in `matches`, for every pass of the visit.
    uint8_t stream_stage
    uint8_t stream_kind             # Of the pass: data, disconnect or abort.
    uint8_t outbound_stream
    uint8_t stream_passes
    uint8_t stream_partial          # A callout has decided the leading bytes only: it is asked again at once.
    uint8_t stream_holds            # A callout of the pass makes packets wait.
    uint8_t stream_reset            # The packet is an RST that ends the stream.
    uint8_t stream_bad_reset        # It is one that does not.
    uint8_t stream_kept             # The packet's block does not keep its flow from being stored.
    int64_t packet_end              # Offset behind the packet's bytes.
    int64_t stream_limit            # Those who decide have let the bytes below through, so far in this pass.
    int64_t stream_least            # All have seen the bytes below.
    uint8_t cuts                    # The block that stands cuts the packet's flow.
    # Resuming.
    const Resume* resume            # NULL: the packet is visited for the first time.
    WorkerStats* counted            # `stats`, kept from counting again what the earlier visit has counted; else NULL.
    uint32_t n_answered             # Answers so far, but of the stream layer; above MAX_ANSWERS not all are in `answered`.
    GivenAnswer answered[MAX_ANSWERS]
    uint64_t provisional            # Flow that has a compiled callout's context and that no packet has made yet; 0: none.
    uint32_t caller                 # Live: which counter of compiled callouts' calls is this visitor's.
    uint32_t replaced               # Filter whose callout has reinjected the packet, and one more: it passes no more.  0: none.

# Parse, then classify layer by layer until a block, the end, or a callout.
cdef VisitStep visit_begin(Visitor* visitor, const VisitInput* given) noexcept nogil

# Whether some packet's flow matters to the visitor's policy: only then is visit_prepare() worth its time.
cdef bint visit_tracks(const Visitor* visitor) noexcept nogil

# Parse a packet whose visit comes soon and begin to fetch its flow; the flow's hash, 0 without a flow.
# Between visits only: it uses the visitor's members.
cdef uint64_t visit_prepare(Visitor* visitor, const VisitInput* given, PacketView* view) noexcept nogil
cdef VisitStep visit_answer(Visitor* visitor, const CalloutAnswer* answer) noexcept nogil

# Instead of visit_answer(): the callout took too long.  True: it was asked at a discard twin, and
# the block that led there is the packet's verdict; false: on_late decides.
cdef bint visit_abandon(Visitor* visitor) noexcept nogil

# The packet gets its verdict without its visit's end: let go of its stream.  Also of one that has ended.
cdef void visit_leave(Visitor* visitor) noexcept nogil

# Whether callouts that are asked at this layer now see a reauthorization, which may not be pended.
cdef bint visit_reauthorizes(const Visitor* visitor) noexcept nogil

# Compute further fields of the layer being decided (a callout asks for what no filter names).
cdef void visit_fill(Visitor* visitor, const uint64_t* needed) noexcept nogil

# Whether the callout that arbitration asks for is compiled, and has to be called: not where it has handed over to Python.
cdef bint visit_is_native(const Visitor* visitor) noexcept nogil
# Call it.  Needs no interpreter's lock; it may take as long as the callout likes.  `answer` is of use unless something
# is `handed` to Python then.  After HANDED_MARKED it is called whatever the packet's mark says.
cdef void visit_native(Visitor* visitor, CalloutAnswer* answer) noexcept nogil
