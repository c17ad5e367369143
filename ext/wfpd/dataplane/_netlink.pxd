"""NFQUEUE's messages: bytes from the kernel to packets, outcomes to verdict messages.  No I/O."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    NF_DROP = 0                     # linux/netfilter.h
    NF_ACCEPT = 1
    NF_QUEUE = 3
    NF_QUEUE_BYPASS = 0x8000        # NF_VERDICT_FLAG_QUEUE_BYPASS: pass where the other queue has no listener.
    MESSAGE_VERDICT = 0x0301        # NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_*
    MESSAGE_CONFIG = 0x0302
    MESSAGE_VERDICT_BATCH = 0x0303
    SKB_CHECKSUM_NOT_READY = 1      # NFQA_SKB_INFO: checksums are left to the device.
    SKB_GSO = 2
    VERDICT_BYTES = 40              # Longest verdict message without a payload.
    PAYLOAD_HEAD = 44

# One packet as the kernel hands it over.  All integers in host order; 0 where the kernel said nothing.
cdef struct QueuedPacket:
    uint32_t id                     # Of the queue; compare signed.
    uint16_t queue
    uint16_t hw_protocol            # EtherType
    uint8_t hook                    # NF_INET_*
    uint8_t family                  # NFPROTO_*: 2 IPv4, 10 IPv6, 7 bridge.
    uint8_t has_mark
    uint8_t has_uid
    uint32_t mark
    uint32_t in_interface           # ifindex
    uint32_t out_interface
    uint32_t physical_in
    uint32_t physical_out
    uint32_t skb_info               # SKB_*
    uint32_t original               # Bytes before the copy was cut; = captured if it was not.
    uint32_t captured               # Bytes at data.
    const uint8_t* data             # First byte of the IP packet; NULL without a payload.
    int64_t timestamp_ns            # CLOCK_REALTIME at receipt by the device; 0: none.
    uint32_t uid                    # Valid with has_uid, as is gid.
    uint32_t gid

# NLMSG_ERROR: the kernel's answer to one of our messages.
cdef struct KernelAnswer:
    int32_t error                   # 0 acknowledgment, else errno.
    uint32_t sequence               # Of our message; 0: a verdict.
    uint16_t type                   # Of our message.

cdef enum MessageKind:
    MESSAGE_END = 0                 # Nothing is left in the datagram.
    MESSAGE_PACKET = 1              # `packet` is filled.
    MESSAGE_ANSWER = 2              # `answer` is filled.
    MESSAGE_OTHER = 3               # Well-formed and none of our business.
    MESSAGE_MALFORMED = 4           # Not what the kernel sends; the rest of the datagram is given up.

cdef struct Datagram:
    const uint8_t* bytes
    uint32_t size                   # Bytes received.
    uint32_t position
    uint8_t cut                     # MSG_TRUNC: the kernel had more than fitted.

# Read the next message.  Never reads past size; `packet.data` points into the datagram.
cdef MessageKind datagram_next(Datagram* datagram, QueuedPacket* packet, KernelAnswer* answer) noexcept nogil

# What one packet of a batch is to get, in the order of receipt.
cdef struct Outcome:
    uint32_t id
    uint32_t verdict                # NF_DROP, NF_ACCEPT, or NF_QUEUE with its queue and flags.
    uint32_t mark                   # The packet's whole new mark, with has_mark.
    uint8_t has_mark
    uint8_t given                   # Somebody has sent a verdict already.

# Where a queue's ids stand.
cdef struct IdSequence:
    uint32_t decided_through        # Every id up to here has a verdict or was never queued.
    uint8_t started
    uint64_t gaps                   # Ids that never reached us.

cdef struct Verdicts:
    uint8_t* bytes
    uint32_t size
    uint32_t capacity
    uint16_t queue

# Put a verdict with a new content in front of the `n` bytes at `packet`, at most 65,531; there is room for
# PAYLOAD_HEAD bytes before them.  `message` begins there, and is sent alone.
cdef void verdict_with_payload(Verdicts* message, uint16_t queue, const Outcome* outcome, uint8_t* packet,
                               uint32_t n) noexcept nogil

cdef void verdicts_add(Verdicts* verdicts, uint16_t type, const Outcome* outcome) noexcept nogil

# Bytes that verdicts_plan() may need for n packets.
cdef inline uint32_t verdicts_capacity(uint32_t n) noexcept nogil:
    return 3 * VERDICT_BYTES * n

# Append the verdicts of all `n` packets, which were read one after the other and are all decided.
# Single verdicts for the exceptions, then one batch for the rest.  Ids that somebody else read, or
# that are missing, get `unseen_verdict` before any batch can run over them.
cdef void verdicts_plan(Verdicts* verdicts, IdSequence* ids, const Outcome* outcomes, uint32_t n,
                        uint32_t unseen_verdict) noexcept nogil
