"""A packet that a callout changes.

The kernel takes a written-back packet as it is: it does not fill in checksums that it had left to the
device, cuts the packet to what comes back, and does not translate sequence numbers.  So checksums are
always computed in full, and what cannot be right is refused: it needs a proxy.  What the flow is known
by stays, else the packet would be another one than the layers have authorized.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from wfpd.errors import ActionRefused

from ._checksum cimport checksum_add, checksum_fold, sctp_checksum
from ._cursor cimport load_be16
from ._parse cimport FRAGMENT_NONE, PARSE_OK, PARSE_WHOLE_LENGTH_KNOWN, PacketView, parse_packet
from ._visit cimport MAX_ANSWERS, EditBuffer, EditMark, Visitor

cdef enum:
    IPV6_HEADER = 40
    ROUTING = 43                    # Next header numbers, and those of protocols.
    AUTHENTICATION = 51
    ICMP = 1
    TCP = 6
    UDP = 17
    DCCP = 33
    ICMPV6 = 58
    SCTP = 132
    UDP_LITE = 136
    LOOSE_ROUTE = 131               # IPv4 options.
    STRICT_ROUTE = 137

_TEXTS = (
    ("", ""),
    ("the copy of the packet is cut", "say `modifies = True` in the callout's class, so that packets come whole; longer ones need a proxy"),
    (f"more than {int(EDIT_MOST)} bytes", "use a proxy"),
    ("the length of a TCP, GSO or fragmented packet, or of TCP's payload, cannot change",
     "sequence numbers would have to be translated: use a proxy"),
    ("addresses, protocol, ports, ICMP type, code or identifier, and fragment fields cannot change",
     "block it, and inject a packet of your own, or use a proxy"),
    ("it is no well-formed IP packet", "look at header lengths, options and the protocol's own header"),
    ("of a fragment only the IP header can change", "attach with `defragment: true`"),
    ("a packet with a source route cannot change", "block it, or use a proxy"),
    ("bytes beyond the packet's end", "modify() takes a whole packet of another length"),
    ("nothing can be modified here", "explain only shows what is decided"),
)


cdef EditBuffer* edit_create() noexcept nogil:
    cdef EditBuffer* edit = <EditBuffer*>calloc(1, sizeof(EditBuffer))
    if edit == NULL:
        return NULL
    edit.bytes = <uint8_t*>calloc(3, EDIT_HEAD + EDIT_MOST + 1)     # The third is that of the mark.
    if edit.bytes == NULL:
        free(edit)
        return NULL
    edit.writable, edit.write, edit.replace, edit.keep = _writable, _write, _replace, _keep_packet
    edit.take_back = _take_back
    return edit


# As modify_writable() and so on, with the type that EditBuffer has.
cdef int _writable(const Visitor* visitor) noexcept nogil:
    return modify_writable(visitor)


cdef int _write(Visitor* visitor, uint32_t offset, const uint8_t* bytes, uint32_t n) noexcept nogil:
    return modify_write(visitor, offset, bytes, n)


cdef int _replace(Visitor* visitor, const uint8_t* bytes, uint32_t n) noexcept nogil:
    return modify_replace(visitor, bytes, n)


cdef void edit_free(EditBuffer* edit) noexcept nogil:
    if edit != NULL:
        free(edit.bytes)
        free(edit.log)
        free(edit)


cdef void _keep_packet(Visitor* visitor) noexcept nogil:
    """The packet as the answer leaves it that is being kept, in the log."""
    cdef EditBuffer* edit = visitor.edit
    cdef uint32_t needed = edit.log_size + visitor.n_edited
    cdef uint8_t* log
    edit.n_kept = edit.n_made
    if not edit.keeps or visitor.n_answered >= MAX_ANSWERS:
        edit.lost = 1
        return
    if needed > edit.log_capacity:
        log = <uint8_t*>realloc(edit.log, needed)
        if log == NULL:
            edit.lost = 1
            return
        edit.log, edit.log_capacity = log, needed
    memcpy(edit.log + edit.log_size, edit_packet(visitor), visitor.n_edited)
    edit.sizes[visitor.n_answered] = visitor.n_edited
    edit.log_size = needed


cdef inline uint8_t* _half(const EditBuffer* edit, uint8_t which) noexcept nogil:
    return edit.bytes + which * (EDIT_HEAD + EDIT_MOST + 1) + EDIT_HEAD


cdef uint8_t* edit_packet(const Visitor* visitor) noexcept nogil:
    return _half(visitor.edit, visitor.edit.current)


cdef inline void _store16(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value


cdef bint _is_routed(const uint8_t* packet, const PacketView* view) noexcept nogil:
    """A route that is not at its end.  The packet is well-formed, so the walk stays inside."""
    cdef uint32_t at = 20, end = view.transport_offset
    cdef uint8_t kind
    if view.family == 4:
        end = (packet[0] & 15) * 4
        while at + 1 < end and packet[at] != 0:
            if packet[at] in (LOOSE_ROUTE, STRICT_ROUTE):
                return True
            at += 1 if packet[at] == 1 or packet[at + 1] < 2 else packet[at + 1]
        return False
    at, kind = IPV6_HEADER, packet[6]
    while at + 8 <= end and kind != view.protocol:
        if kind == ROUTING and packet[at + 3]:
            return True
        at, kind = at + ((packet[at + 1] + 2) * 4 if kind == AUTHENTICATION else (packet[at + 1] + 1) * 8), packet[at]
    return False


cdef void _set_lengths(uint8_t* packet, uint32_t n, const PacketView* before) noexcept nogil:
    """Those of the IP header, and the checksum of IPv4's."""
    cdef uint32_t header = (packet[0] & 15) * 4
    if before.family == 6:
        _store16(packet + 4, n - IPV6_HEADER)
        return
    _store16(packet + 2, n)
    packet[10] = packet[11] = 0
    if 20 <= header <= n:
        _store16(packet + 10, ~checksum_fold(checksum_add(0, packet, header)) & 0xFFFF)


cdef void _set_udp_length(uint8_t* transport, uint32_t length, const PacketView* before) noexcept nogil:
    """UDP's length; UDP-Lite's coverage stays what it was, and all where it was all."""
    cdef uint32_t covered
    if before.protocol == UDP:
        _store16(transport + 4, length)
    elif before.protocol == UDP_LITE:
        covered = load_be16(transport + 4)
        if covered > length or covered == before.length - before.transport_offset:
            _store16(transport + 4, length)


cdef void _set_checksum(uint8_t* packet, uint32_t length, const PacketView* view) noexcept nogil:
    """The transport's, over its `length` bytes."""
    cdef uint8_t* at = packet + view.transport_offset
    cdef uint8_t* field
    cdef uint32_t covered = length, crc
    cdef uint64_t running = 0
    cdef uint16_t sum
    if view.protocol == SCTP:
        crc = sctp_checksum(at, length)
        memcpy(at + 8, &crc, 4)
        return
    if view.protocol == (ICMP if view.family == 4 else ICMPV6):
        field = at + 2
    elif view.protocol == TCP:
        field = at + 16
    elif view.protocol in (UDP, UDP_LITE, DCCP):
        field = at + 6
    else:
        return
    if view.protocol == UDP_LITE and load_be16(at + 4):
        covered = load_be16(at + 4)
    elif view.protocol == DCCP and at[5] & 15:
        covered = min(length, <uint32_t>at[4] * 4 + ((at[5] & 15) - 1) * 4)
    field[0] = field[1] = 0
    if view.protocol != ICMP:
        running = checksum_add(0, packet + (12 if view.family == 4 else 8), 8 if view.family == 4 else 32)
        running += view.protocol + (length >> 16) + (length & 0xFFFF)
    sum = ~checksum_fold(checksum_add(running, at, covered)) & 0xFFFF
    # Zero means "no checksum" to UDP, and its complement is the same number.
    _store16(field, 0xFFFF if sum == 0 and view.protocol in (UDP, UDP_LITE) else sum)


cdef bint _is_same_flow(const PacketView* a, const PacketView* b) noexcept nogil:
    return (a.family == b.family and a.source_hi == b.source_hi and a.source_lo == b.source_lo
            and a.destination_hi == b.destination_hi and a.destination_lo == b.destination_lo
            and a.fragment == b.fragment and a.has_protocol == b.has_protocol and a.protocol == b.protocol
            and a.has_ports == b.has_ports and a.source_port == b.source_port
            and a.destination_port == b.destination_port and a.has_icmp == b.has_icmp
            and a.icmp_type == b.icmp_type and a.icmp_code == b.icmp_code
            and a.has_icmp_id == b.has_icmp_id and a.icmp_id == b.icmp_id)


cdef uint32_t _header_of_fragment(const PacketView* view) noexcept nogil:
    return IPV6_HEADER if view.family == 6 else <uint32_t>(view.data[0] & 15) * 4


cdef ModifyStatus _check_before(const PacketView* before, uint32_t original, bint gso, const uint8_t* packet,
                                uint32_t n) noexcept nogil:
    """What can be said before anything is set."""
    cdef uint32_t header
    if before.truncated or before.captured < original:
        return MODIFY_NOT_WHOLE
    if n > EDIT_MOST:
        return MODIFY_TOO_LONG
    if before.status != PARSE_OK or n < (20 if before.family == 4 else IPV6_HEADER):
        return MODIFY_MALFORMED
    if packet[0] >> 4 != before.family:
        return MODIFY_IDENTITY
    if n != before.length and (before.protocol == TCP or gso or before.fragment != FRAGMENT_NONE):
        return MODIFY_LENGTH
    if before.fragment == FRAGMENT_NONE:
        return MODIFY_ROUTED if _is_routed(before.data, before) else MODIFY_OK
    header = _header_of_fragment(before)
    if before.family == 4 and packet[0] != before.data[0] or memcmp(packet + header, before.data + header, n - header):
        return MODIFY_FRAGMENT
    if before.family == 4 and (memcmp(packet + 4, before.data + 4, 4) or packet[9] != before.data[9]):
        return MODIFY_IDENTITY
    return MODIFY_OK


cdef ModifyStatus modify_check(const PacketView* before, uint32_t original, bint gso, uint8_t* packet, uint32_t n,
                               PacketView* after) noexcept nogil:
    cdef ModifyStatus status
    cdef uint32_t length
    if n == before.captured and not before.truncated and before.status == PARSE_OK:
        n = before.length           # What a link has appended is no part of the packet.
    status = _check_before(before, original, gso, packet, n)
    if status != MODIFY_OK:
        return status
    _set_lengths(packet, n, before)
    parse_packet(packet, n, n, PARSE_WHOLE_LENGTH_KNOWN, after)
    if before.fragment == FRAGMENT_NONE and before.protocol in (UDP, UDP_LITE) and before.transport_offset:
        # The length is set where the header was; if the headers before it have changed, it is read again below.
        if n < before.transport_offset + 8:
            return MODIFY_MALFORMED
        _set_udp_length(packet + before.transport_offset, n - before.transport_offset, before)
        parse_packet(packet, n, n, PARSE_WHOLE_LENGTH_KNOWN, after)
    if after.status != PARSE_OK:
        return MODIFY_MALFORMED
    if not _is_same_flow(before, after) or after.transport_offset != before.transport_offset:
        return MODIFY_IDENTITY
    if before.has_tcp and after.payload_length != before.payload_length:
        return MODIFY_LENGTH
    if before.fragment != FRAGMENT_NONE:
        return MODIFY_OK
    if _is_routed(packet, after):
        return MODIFY_ROUTED
    if after.transport_offset:
        length = n - after.transport_offset
        _set_checksum(packet, length, after)
    return MODIFY_OK


cdef void _mark(Visitor* visitor) noexcept nogil:
    cdef EditBuffer* edit = visitor.edit
    edit.marked = 1
    edit.mark.view, edit.mark.data = visitor.view, visitor.input.data
    edit.mark.captured, edit.mark.original = visitor.input.captured, visitor.input.original
    edit.mark.n_edited, edit.mark.n_made = visitor.n_edited, edit.n_made
    memcpy(_half(edit, 2), edit_packet(visitor), visitor.n_edited)


cdef void _take_back(Visitor* visitor) noexcept nogil:
    cdef EditBuffer* edit = visitor.edit
    cdef const EditMark* mark = &edit.mark
    cdef uint8_t* packet = edit_packet(visitor)
    if not edit.marked:
        return
    edit.marked = 0
    visitor.view, visitor.input.data = mark.view, mark.data
    if mark.n_edited:               # By now its half of the buffer may hold another packet.
        memcpy(packet, _half(edit, 2), mark.n_edited)
        parse_packet(packet, mark.n_edited, mark.n_edited, PARSE_WHOLE_LENGTH_KNOWN, &visitor.view)
        visitor.input.data = packet
    visitor.input.captured, visitor.input.original = mark.captured, mark.original
    visitor.n_edited, edit.n_made = mark.n_edited, mark.n_made
    visitor.done[0] = visitor.done[1] = 0


cdef ModifyStatus _keep(Visitor* visitor, uint32_t n) noexcept nogil:
    """The half that is not current holds the candidate of `n` bytes."""
    cdef EditBuffer* edit = visitor.edit
    cdef uint8_t* packet = _half(edit, 1 - edit.current)
    cdef PacketView view
    cdef ModifyStatus status = modify_check(&visitor.view, visitor.input.original, visitor.input.gso, packet, n, &view)
    if status != MODIFY_OK:
        return status
    if not edit.marked:
        _mark(visitor)
    edit.current = 1 - edit.current
    visitor.view = view
    visitor.input.data = packet
    visitor.input.captured = visitor.input.original = visitor.n_edited = view.captured
    visitor.done[0] = visitor.done[1] = 0
    edit.n_made += 1
    return MODIFY_OK


cdef ModifyStatus modify_replace(Visitor* visitor, const uint8_t* bytes, uint32_t n) noexcept nogil:
    if visitor.edit == NULL:
        return MODIFY_NO_BUFFER
    if n > EDIT_MOST:
        return MODIFY_TOO_LONG
    memcpy(_half(visitor.edit, 1 - visitor.edit.current), bytes, n)
    return _keep(visitor, n)


cdef ModifyStatus modify_writable(const Visitor* visitor) noexcept nogil:
    cdef const PacketView* view = &visitor.view
    if visitor.edit == NULL:
        return MODIFY_NO_BUFFER
    if view.truncated or view.captured < visitor.input.original:
        return MODIFY_NOT_WHOLE
    if view.length > EDIT_MOST:
        return MODIFY_TOO_LONG
    if view.status != PARSE_OK:
        return MODIFY_MALFORMED
    return MODIFY_ROUTED if view.fragment == FRAGMENT_NONE and _is_routed(view.data, view) else MODIFY_OK


cdef ModifyStatus modify_write(Visitor* visitor, uint32_t offset, const uint8_t* bytes, uint32_t n) noexcept nogil:
    cdef uint32_t whole = visitor.view.captured
    cdef uint8_t* packet
    if visitor.edit == NULL:
        return MODIFY_NO_BUFFER
    if visitor.view.truncated or whole < visitor.input.original:
        return MODIFY_NOT_WHOLE
    if offset > whole or n > whole - offset:
        return MODIFY_OUTSIDE
    if whole > EDIT_MOST:
        return MODIFY_TOO_LONG
    packet = _half(visitor.edit, 1 - visitor.edit.current)
    memcpy(packet, visitor.view.data, whole)
    memcpy(packet + offset, bytes, n)
    return _keep(visitor, whole)


cdef ModifyStatus _complete(uint8_t* packet, uint32_t n) noexcept nogil:
    """Lengths and checksums of a packet that was made."""
    cdef PacketView view
    if n > EDIT_MOST:
        return MODIFY_TOO_LONG
    parse_packet(packet, n, n, PARSE_WHOLE_LENGTH_KNOWN, &view)
    if view.family not in (4, 6) or n < (20 if view.family == 4 else IPV6_HEADER):
        return MODIFY_MALFORMED
    _set_lengths(packet, n, &view)
    parse_packet(packet, n, n, PARSE_WHOLE_LENGTH_KNOWN, &view)
    if view.fragment == FRAGMENT_NONE and view.transport_offset and view.protocol == UDP:
        if n < view.transport_offset + 8:
            return MODIFY_MALFORMED
        _set_udp_length(packet + view.transport_offset, n - view.transport_offset, &view)
        parse_packet(packet, n, n, PARSE_WHOLE_LENGTH_KNOWN, &view)
    if view.status != PARSE_OK:
        return MODIFY_MALFORMED
    if view.fragment != FRAGMENT_NONE:
        return MODIFY_OK            # The checksum is over what other fragments have, too.
    if _is_routed(packet, &view):
        return MODIFY_ROUTED
    if view.transport_offset:
        _set_checksum(packet, n - view.transport_offset, &view)
    return MODIFY_OK


def completed(const uint8_t[::1] packet not None) -> bytes:
    """An IP packet with its lengths and checksums set, whatever stood there.

    Raises ActionRefused where it is none: headers that do not fit, a source route, more than 65,531 bytes.
    """
    cdef bytearray copy = bytearray(packet)
    cdef ModifyStatus status = MODIFY_MALFORMED
    if len(copy):
        status = _complete(<uint8_t*><char*>copy, <uint32_t>min(len(copy), 0xFFFFFFFF))
    if status != MODIFY_OK:
        message, hint = _TEXTS[status]
        raise ActionRefused(f"it cannot be injected: {message}", hint=hint)
    return bytes(copy)


def refusal(int status) -> tuple:
    """(message, hint) of a ModifyStatus that is not MODIFY_OK; ValueError for a number that is none."""
    if not MODIFY_OK < status < N_MODIFY_STATUSES:
        raise ValueError(f"{status} is no refusal")
    return _TEXTS[status]


def refused(int status) -> ActionRefused:
    """What c.modify() raises for a ModifyStatus that is not MODIFY_OK."""
    message, hint = refusal(status)
    return ActionRefused(f"the packet cannot be modified: {message}", hint=hint)


cdef class Draft:
    """A copy of a packet that changes as c.modify() and c.write() change the packet itself; `original` bytes were on
    the wire, and `gso` says that they are several segments."""

    def __init__(self, bytes packet not None, *, int64_t original=-1, bint gso=False):
        self.packet = packet
        self.original = <uint32_t>(len(packet) if original < 0 else original)
        self.gso = gso
        self._look()

    cdef void _look(self) noexcept:
        parse_packet(<const uint8_t*><const char*>self.packet, <uint32_t>len(self.packet), self.original,
                     PARSE_WHOLE_LENGTH_KNOWN, &self.view)

    @property
    def payload(self) -> bytes:
        """What follows the transport header, as far as it is there."""
        cdef uint64_t first = self.view.payload_offset
        if not first or self.view.status != PARSE_OK:
            return b""
        return self.packet[first:min(first + self.view.payload_length, <uint64_t>self.view.captured)]

    @property
    def payload_offset(self) -> int | None:
        """Where `payload` begins; None if nothing of it is known."""
        return self.view.payload_offset or None

    @property
    def whole(self) -> bool:
        """Whether no byte is missing."""
        return not self.view.truncated and self.view.captured >= self.original

    def modify(self, const uint8_t[::1] packet not None) -> None:
        """It becomes these bytes, lengths and checksums set.  Raises ActionRefused, and stays as it was."""
        if packet.shape[0] > EDIT_MOST:
            raise refused(MODIFY_TOO_LONG)
        self._change(bytearray(packet))

    def write(self, int64_t offset, const uint8_t[::1] data not None) -> None:
        """It has these bytes at `offset` from the IP header; as modify()."""
        cdef uint32_t size = self.view.captured
        cdef bytearray packet = bytearray(self.packet[:size])
        if offset < 0:
            raise ValueError("write(): offsets count from the IP header's first byte, from 0 on")
        if not self.whole:
            raise refused(MODIFY_NOT_WHOLE)
        if offset > size or data.shape[0] > size - offset:
            raise refused(MODIFY_OUTSIDE)
        if size > EDIT_MOST:
            raise refused(MODIFY_TOO_LONG)
        packet[offset:offset + data.shape[0]] = data
        self._change(packet)

    cdef int _change(self, bytearray packet) except -1:
        cdef PacketView after
        cdef bytearray room = packet or bytearray(1)
        cdef ModifyStatus status = modify_check(&self.view, self.original, self.gso, <uint8_t*><char*>room,
                                                <uint32_t>len(packet), &after)
        if status != MODIFY_OK:
            raise refused(status)
        self.packet = bytes(packet[:after.captured])
        self.original = after.captured
        self.changed = True
        self._look()
        return 0


def modified_of(bytes before not None, bytes after not None, *, bint gso=False, int64_t original=-1, int64_t offset=-1):
    """Cold door for tests: (status, the packet that is written back or None).

    `after` replaces the packet, or with an `offset` from 0 on the bytes there.
    """
    cdef Visitor visitor
    cdef ModifyStatus status
    memset(&visitor, 0, sizeof(visitor))
    visitor.edit = edit_create()
    if visitor.edit == NULL:
        raise MemoryError
    visitor.input.gso = gso
    visitor.input.original = <uint32_t>(len(before) if original < 0 else original)
    parse_packet(<const uint8_t*><const char*>before, <uint32_t>len(before), visitor.input.original,
                 PARSE_WHOLE_LENGTH_KNOWN, &visitor.view)
    if offset < 0:
        status = modify_replace(&visitor, <const uint8_t*><const char*>after, <uint32_t>len(after))
    else:
        status = modify_write(&visitor, <uint32_t>min(offset, 0xFFFFFFFF), <const uint8_t*><const char*>after,
                              <uint32_t>len(after))
    packet = None if status != MODIFY_OK else (<const char*>edit_packet(&visitor))[:visitor.n_edited]
    edit_free(visitor.edit)
    return int(status), packet
