"""NFQUEUE's messages.

Problem: a batch verdict is the cheapest way to release packets, and it releases *every* packet
that is still queued below its id: those that another reader of the socket took, and those that
are not decided yet.  So a batch may only run over ids of which each one is either decided or was
never seen, and the unseen ones must have got the verdict for errors before it.

An id is missing for two reasons that look the same from here: the kernel failed to deliver it (it
was never queued), or somebody else read it (it waits, uninspected).  A batch of the error verdict
up to the gap's end is harmless in the first case and right in the second, so every gap gets one.

Ids wrap; they are compared signed, as the kernel does.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ._accounts cimport account_received, account_verdicts

cdef extern from "<arpa/inet.h>" nogil:
    uint32_t ntohl(uint32_t value) noexcept
    uint16_t ntohs(uint16_t value) noexcept
    uint32_t htonl(uint32_t value) noexcept
    uint16_t htons(uint16_t value) noexcept

cdef extern from "<endian.h>" nogil:
    uint64_t be64toh(uint64_t value) noexcept

cdef enum:
    HEADER_BYTES = 16               # struct nlmsghdr
    FAMILY_BYTES = 4                # struct nfgenmsg
    ERROR_BYTES = 20                # struct nlmsgerr: int, then the nlmsghdr of our message
    ATTRIBUTE_BYTES = 4             # struct nlattr
    ATTRIBUTE_TYPE_MASK = 0x3FFF    # Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    TYPE_NOOP = 1
    TYPE_ERROR = 2
    TYPE_DONE = 3
    TYPE_PACKET = 0x0300
    FLAG_REQUEST = 1

cdef enum Attribute:                # enum nfqnl_attr_type
    NFQA_PACKET_HDR = 1
    NFQA_VERDICT_HDR = 2
    NFQA_MARK = 3
    NFQA_TIMESTAMP = 4
    NFQA_IFINDEX_INDEV = 5
    NFQA_IFINDEX_OUTDEV = 6
    NFQA_IFINDEX_PHYSINDEV = 7
    NFQA_IFINDEX_PHYSOUTDEV = 8
    NFQA_PAYLOAD = 10
    NFQA_CAP_LEN = 13
    NFQA_SKB_INFO = 14
    NFQA_UID = 16
    NFQA_GID = 17


cdef inline uint32_t _host32(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline uint16_t _host16(const uint8_t* at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return value


cdef inline uint32_t _net32(const uint8_t* at) noexcept nogil:
    return ntohl(_host32(at))


cdef inline uint64_t _net64(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return be64toh(value)


cdef inline uint32_t _aligned(uint32_t size) noexcept nogil:
    return (size + 3) & ~<uint32_t>3


cdef void _take_number(QueuedPacket* packet, unsigned int type, uint32_t value) noexcept nogil:
    """Attributes that are one 32-bit number in network order."""
    if type == NFQA_MARK:
        packet.has_mark = 1
        packet.mark = value
    elif type == NFQA_IFINDEX_INDEV:
        packet.in_interface = value
    elif type == NFQA_IFINDEX_OUTDEV:
        packet.out_interface = value
    elif type == NFQA_IFINDEX_PHYSINDEV:
        packet.physical_in = value
    elif type == NFQA_IFINDEX_PHYSOUTDEV:
        packet.physical_out = value
    elif type == NFQA_CAP_LEN:
        packet.original = value
    elif type == NFQA_SKB_INFO:
        packet.skb_info = value
    elif type == NFQA_UID:
        packet.has_uid = 1
        packet.uid = value
    elif type == NFQA_GID:
        packet.gid = value


cdef bint _take_attribute(QueuedPacket* packet, unsigned int type, const uint8_t* value,
                          uint32_t size) noexcept nogil:
    """Returns 1 when it was the packet's header; a value of the wrong size is passed over."""
    if type == NFQA_PACKET_HDR:
        if size < 7:
            return 0
        packet.id = _net32(value)
        packet.hw_protocol = ntohs(_host16(value + 4))
        packet.hook = value[6]
        return 1
    if type == NFQA_PAYLOAD:
        packet.data = value
        packet.captured = size
    elif type == NFQA_TIMESTAMP:
        if size >= 16:
            packet.timestamp_ns = <int64_t>(_net64(value) * 1000000000 + _net64(value + 8) * 1000)
    elif size == 4:
        _take_number(packet, type, _net32(value))
    return 0


cdef MessageKind _read_packet(const uint8_t* body, uint32_t size, uint8_t cut, QueuedPacket* packet) noexcept nogil:
    """`body` holds an nfgenmsg and attributes; `cut`: the last attribute may be shorter than it says."""
    cdef uint32_t position = FAMILY_BYTES, length, there
    cdef bint have_header = 0
    memset(packet, 0, sizeof(QueuedPacket))
    packet.family = body[0]
    packet.queue = ntohs(_host16(body + 2))
    while size - position >= ATTRIBUTE_BYTES:
        length = _host16(body + position)
        if length < ATTRIBUTE_BYTES:
            return MESSAGE_MALFORMED
        there = size - position
        if length > there and not cut:
            return MESSAGE_MALFORMED
        if length > there and not packet.original:
            packet.original = length - ATTRIBUTE_BYTES
        have_header |= _take_attribute(packet, _host16(body + position + 2) & ATTRIBUTE_TYPE_MASK,
                                       body + position + ATTRIBUTE_BYTES, min(length, there) - ATTRIBUTE_BYTES)
        if _aligned(length) >= there:
            break
        position += _aligned(length)
    if packet.original < packet.captured:
        packet.original = packet.captured
    return MESSAGE_PACKET if have_header else MESSAGE_MALFORMED


cdef MessageKind datagram_next(Datagram* datagram, QueuedPacket* packet, KernelAnswer* answer) noexcept nogil:
    cdef const uint8_t* message = datagram.bytes + datagram.position
    cdef uint32_t left = datagram.size - datagram.position
    cdef uint32_t length
    cdef uint16_t type
    if datagram.position >= datagram.size or left < HEADER_BYTES:
        return MESSAGE_END
    length = _host32(message)
    type = _host16(message + 4)
    if length < HEADER_BYTES or (length > left and not datagram.cut):
        datagram.position = datagram.size
        return MESSAGE_MALFORMED
    datagram.position = datagram.size if length > left or _aligned(length) >= left \
        else datagram.position + _aligned(length)
    length = min(length, left)
    if type == TYPE_PACKET:
        if length < HEADER_BYTES + FAMILY_BYTES:
            return MESSAGE_MALFORMED
        return _read_packet(message + HEADER_BYTES, length - HEADER_BYTES, datagram.cut, packet)
    if type == TYPE_ERROR:
        if length < HEADER_BYTES + ERROR_BYTES:
            return MESSAGE_MALFORMED
        answer.error = -<int32_t>_host32(message + HEADER_BYTES)
        answer.type = _host16(message + HEADER_BYTES + 8)
        answer.sequence = _host32(message + HEADER_BYTES + 12)
        return MESSAGE_ANSWER
    return MESSAGE_OTHER


cdef void verdicts_add(Verdicts* verdicts, uint16_t type, const Outcome* outcome) noexcept nogil:
    # nlmsghdr, nfgenmsg, NFQA_VERDICT_HDR (verdict, id), NFQA_MARK.  Sequence 0 marks a verdict.
    cdef uint32_t words[10]
    cdef uint32_t size = 40 if outcome.has_mark else 32
    if verdicts.capacity - verdicts.size < size:
        return                      # Unreachable with verdicts_capacity(); never writes past the end.
    words[0] = size
    words[1] = type | (<uint32_t>FLAG_REQUEST << 16)
    words[2] = 0
    words[3] = 0
    words[4] = <uint32_t>htons(verdicts.queue) << 16
    words[5] = 12 | (<uint32_t>NFQA_VERDICT_HDR << 16)
    words[6] = htonl(outcome.verdict)
    words[7] = htonl(outcome.id)
    words[8] = 8 | (<uint32_t>NFQA_MARK << 16)
    words[9] = htonl(outcome.mark)
    memcpy(verdicts.bytes + verdicts.size, words, size)
    verdicts.size += size
    account_verdicts(type == MESSAGE_VERDICT)


cdef void verdict_with_payload(Verdicts* message, uint16_t queue, const Outcome* outcome, uint8_t* packet,
                               uint32_t n) noexcept nogil:
    # As verdicts_add(), and NFQA_PAYLOAD; without a mark its place is left out in front.
    cdef uint32_t words[11]
    cdef uint32_t head = PAYLOAD_HEAD if outcome.has_mark else PAYLOAD_HEAD - 8
    cdef uint32_t last = head // 4 - 1
    words[0] = head + n
    words[1] = <uint32_t>MESSAGE_VERDICT | (<uint32_t>FLAG_REQUEST << 16)
    words[2] = 0
    words[3] = 0
    words[4] = <uint32_t>htons(queue) << 16
    words[5] = 12 | (<uint32_t>NFQA_VERDICT_HDR << 16)
    words[6] = htonl(outcome.verdict)
    words[7] = htonl(outcome.id)
    words[8] = 8 | (<uint32_t>NFQA_MARK << 16)
    words[9] = htonl(outcome.mark)
    words[last] = (n + ATTRIBUTE_BYTES) | (<uint32_t>NFQA_PAYLOAD << 16)
    memcpy(packet - head, words, head)
    message.bytes = packet - head
    message.size = message.capacity = head + n
    message.queue = queue
    account_verdicts(1)


cdef inline bint _same(const Outcome* a, const Outcome* b) noexcept nogil:
    return a.verdict == b.verdict and a.has_mark == b.has_mark and (not a.has_mark or a.mark == b.mark)


cdef inline bint _may_batch(const Outcome* outcome) noexcept nogil:
    return not outcome.given and (outcome.verdict == NF_ACCEPT or outcome.verdict == NF_DROP)


cdef void _plan_run(Verdicts* verdicts, const Outcome* outcomes, uint32_t n) noexcept nogil:
    """Verdicts of packets whose ids follow each other without a gap."""
    cdef const Outcome* common = NULL
    cdef uint32_t i, votes = 0, n_common = 0
    cdef Outcome batch
    for i in range(n):              # Boyer-Moore: `common` is the majority's outcome, if there is a majority.
        if not _may_batch(&outcomes[i]):
            continue
        if votes == 0:
            common = &outcomes[i]
        votes = votes + 1 if _same(common, &outcomes[i]) else votes - 1
    if common != NULL:
        batch = common[0]
        for i in range(n):
            n_common += _may_batch(&outcomes[i]) and _same(&batch, &outcomes[i])
    for i in range(n):
        if outcomes[i].given:
            continue
        if n_common < 2 or not _may_batch(&outcomes[i]) or not _same(&batch, &outcomes[i]):
            verdicts_add(verdicts, MESSAGE_VERDICT, &outcomes[i])
    if n_common >= 2:
        batch.id = outcomes[n - 1].id
        account_verdicts(n_common)
        verdicts_add(verdicts, MESSAGE_VERDICT_BATCH, &batch)


cdef void _decide_unseen(Verdicts* verdicts, IdSequence* ids, uint32_t through, uint32_t verdict) noexcept nogil:
    cdef Outcome unseen
    memset(&unseen, 0, sizeof(Outcome))
    unseen.id = through
    unseen.verdict = verdict
    if ids.started:
        ids.gaps += through - ids.decided_through
    verdicts_add(verdicts, MESSAGE_VERDICT_BATCH, &unseen)


cdef void verdicts_plan(Verdicts* verdicts, IdSequence* ids, const Outcome* outcomes, uint32_t n,
                        uint32_t unseen_verdict) noexcept nogil:
    # Invariant: every id up to ids.decided_through has its verdict in the kernel or in `verdicts`.
    cdef uint32_t first = 0, end, id
    while first < n:
        id = outcomes[first].id
        if ids.started and <int32_t>(id - ids.decided_through) <= 0:
            # Behind the sequence (the queue was bound anew): never a batch.
            if not outcomes[first].given:
                verdicts_add(verdicts, MESSAGE_VERDICT, &outcomes[first])
            first += 1
            continue
        if id - 1 != ids.decided_through:   # A new queue begins at 1.
            _decide_unseen(verdicts, ids, id - 1, unseen_verdict)
        end = first + 1
        while end < n and outcomes[end].id == outcomes[end - 1].id + 1:
            end += 1
        _plan_run(verdicts, outcomes + first, end - first)
        ids.decided_through = outcomes[end - 1].id
        ids.started = 1
        first = end


def read_datagram(const uint8_t[::1] data, *, bint cut=False):
    """Cold door for tests and fuzzing: the messages of one datagram, as dicts with a `kind`."""
    cdef Datagram datagram
    cdef QueuedPacket packet
    cdef KernelAnswer answer
    cdef MessageKind kind
    memset(&datagram, 0, sizeof(datagram))
    if data.shape[0]:
        datagram.bytes = &data[0]
    datagram.size = <uint32_t>data.shape[0]
    datagram.cut = cut
    found = []
    while True:
        kind = datagram_next(&datagram, &packet, &answer)
        if kind == MESSAGE_END:
            return found
        if kind == MESSAGE_PACKET:
            payload = None if packet.data == NULL else (<const char*>packet.data)[:packet.captured]
            packet.data = <const uint8_t*>b""      # The conversion to a dict would read it as a C string.
            found.append({"kind": "packet"} | packet | {"data": payload})
        elif kind == MESSAGE_ANSWER:
            found.append({"kind": "answer"} | answer)
        else:
            found.append({"kind": "other" if kind == MESSAGE_OTHER else "malformed"})


def plan_verdicts(outcomes, *, queue=0, decided_through=None, unseen_verdict=NF_ACCEPT):
    """Cold door for tests: (messages, decided_through, gaps) for one batch.

    `outcomes` are (id, verdict, mark or None, given) in the order of receipt; `decided_through`
    is None for a queue of which nothing was read yet.
    """
    cdef uint32_t n = <uint32_t>len(outcomes), i
    cdef Outcome* items = <Outcome*>calloc(n + 1, sizeof(Outcome))
    cdef Verdicts verdicts
    cdef IdSequence ids
    memset(&ids, 0, sizeof(ids))
    verdicts.queue = queue
    verdicts.size = 0
    verdicts.capacity = verdicts_capacity(n)
    verdicts.bytes = <uint8_t*>calloc(n + 1, 3 * VERDICT_BYTES)
    try:
        if items == NULL or verdicts.bytes == NULL:
            raise MemoryError
        if decided_through is not None:
            ids.started = 1
            ids.decided_through = decided_through
        for i, (id, verdict, mark, given) in enumerate(outcomes):
            items[i].id = id
            items[i].verdict = verdict
            items[i].has_mark = mark is not None
            items[i].mark = mark or 0
            items[i].given = given
            account_received(not given)
        verdicts_plan(&verdicts, &ids, items, n, unseen_verdict)
        return (<const char*>verdicts.bytes)[:verdicts.size], ids.decided_through, ids.gaps
    finally:
        free(items)
        free(verdicts.bytes)
