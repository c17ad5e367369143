"""Bytes to PacketView.

A header is read through a Window, which knows two ends: that of the packet by its own lengths,
and that of the copy.  Beyond the first a packet is malformed; between the two it is only cut,
and what lies there stays unknown.  Every length is compared before it is used, so no sum of two
lengths from a packet can wrap.

A status above IP clears everything that was read above IP: a filter must not match a port of a
header that cannot be trusted.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from ._checksum cimport checksum_add, checksum_fold, sctp_checksum
from ._cursor cimport Cursor, cursor_split, cursor_take, load_be16, load_be32, load_be64

cdef enum:
    IPV4_HEADER_SIZE = 20
    IPV6_HEADER_SIZE = 40
    MAX_IP_SIZE = 65535
    # RFC 8200 4.1 names seven, each at most once but one; twice that leaves room for odd but
    # honest senders and bounds the walk.
    MAX_EXTENSION_HEADERS = 16

cdef enum Protocol:                 # IANA's protocol numbers.
    PROTO_HOP_BY_HOP = 0
    PROTO_ICMP = 1
    PROTO_TCP = 6
    PROTO_UDP = 17
    PROTO_DCCP = 33
    PROTO_ROUTING = 43
    PROTO_FRAGMENT = 44
    PROTO_AH = 51
    PROTO_ICMPV6 = 58
    PROTO_NO_NEXT_HEADER = 59
    PROTO_DESTINATION = 60
    PROTO_SCTP = 132
    PROTO_MOBILITY = 135
    PROTO_UDPLITE = 136
    PROTO_HIP = 139
    PROTO_SHIM6 = 140

cdef enum:
    IP_OPTION_LSRR = 131
    IP_OPTION_SSRR = 137
    TCP_OPTION_MSS = 2
    TCP_OPTION_WINDOW_SCALE = 3
    IPV6_OPTION_JUMBO = 0xC2
    IPV6_OPTION_HOME_ADDRESS = 0xC9

# The rest of a packet.
cdef struct Window:
    Cursor copy                     # What of it is in the copy.
    uint32_t left                   # Bytes of it by the packet's own lengths; >= copy.left.

cdef enum Reach:
    REACH_OK = 0
    REACH_CUT = 1                   # In the packet, not wholly in the copy.
    REACH_BEYOND = 2                # Not in the packet.

# Pass over the next n bytes.  REACH_OK: they are at `taken`.  REACH_CUT: `taken` is NULL and the
# copy is used up.  REACH_BEYOND: nothing is passed over.
cdef inline Reach window_take(Window* window, uint32_t n, const uint8_t** taken) noexcept nogil:
    taken[0] = NULL
    if n > window.left:
        return REACH_BEYOND
    window.left -= n
    taken[0] = cursor_take(&window.copy, n)
    if taken[0] == NULL:
        cursor_split(&window.copy, n)
        return REACH_CUT
    return REACH_OK

# What the walk along the IP headers found besides the view.
cdef struct Chain:
    uint8_t next                    # Protocol number of the next header.
    uint8_t has_jumbo
    uint8_t reached                 # The upper-layer header is next in the window.
    uint8_t pseudo_unknown          # A routing header, source route or home address: the pseudo header's addresses are not those of the IP header.


# ---------------------------------------------------------------- options

# One option of IPv4 or TCP; both have this form.
cdef struct Option:
    uint8_t kind
    uint8_t length                  # Whole option, in bytes.
    const uint8_t* data             # Behind kind and length; NULL if it is not wholly in the copy.

cdef enum OptionStep:
    OPTION_END = 0
    OPTION_FOUND = 1
    OPTION_BAD = 2

cdef OptionStep option_next(Window* options, Option* option) noexcept nogil:
    cdef const uint8_t* byte
    while options.left:
        if window_take(options, 1, &byte) != REACH_OK or byte[0] == 0:
            return OPTION_END
        option.kind = byte[0]
        if option.kind == 1:
            continue
        if options.left == 0:
            return OPTION_BAD
        if window_take(options, 1, &byte) != REACH_OK:
            return OPTION_END
        option.length = byte[0]
        if option.length < 2 or window_take(options, option.length - 2, &option.data) == REACH_BEYOND:
            return OPTION_BAD
        return OPTION_FOUND
    return OPTION_END


cdef ParseStatus read_ip_options(Window* options, Chain* chain) noexcept nogil:
    cdef Option option
    cdef OptionStep step = option_next(options, &option)
    while step == OPTION_FOUND:
        if option.kind == IP_OPTION_LSRR or option.kind == IP_OPTION_SSRR:
            chain.pseudo_unknown = 1
        step = option_next(options, &option)
    return PARSE_BAD_IP_OPTION if step == OPTION_BAD else PARSE_OK


cdef ParseStatus read_tcp_options(PacketView* view, Window* options) noexcept nogil:
    cdef Option option
    cdef OptionStep step = option_next(options, &option)
    while step == OPTION_FOUND:
        if option.kind == TCP_OPTION_MSS:
            if option.length != 4:
                return PARSE_BAD_TCP_OPTION
            if option.data != NULL:
                view.has_mss = 1
                view.tcp_mss = load_be16(option.data)
        elif option.kind == TCP_OPTION_WINDOW_SCALE:
            if option.length != 3:
                return PARSE_BAD_TCP_OPTION
            if option.data != NULL:
                view.has_window_scale = 1
                view.tcp_window_scale = option.data[0]
        step = option_next(options, &option)
    return PARSE_BAD_TCP_OPTION if step == OPTION_BAD else PARSE_OK


# ---------------------------------------------------------------- protocols

cdef bint is_extension_header(uint8_t protocol) noexcept nogil:
    return (protocol == PROTO_HOP_BY_HOP or protocol == PROTO_ROUTING or protocol == PROTO_FRAGMENT
            or protocol == PROTO_AH or protocol == PROTO_DESTINATION or protocol == PROTO_MOBILITY
            or protocol == PROTO_HIP or protocol == PROTO_SHIM6)


cdef bint has_ports(uint8_t protocol) noexcept nogil:
    return (protocol == PROTO_TCP or protocol == PROTO_UDP or protocol == PROTO_SCTP
            or protocol == PROTO_DCCP or protocol == PROTO_UDPLITE)


cdef inline uint32_t extension_size(uint8_t kind, const uint8_t* head) noexcept nogil:
    if kind == PROTO_AH:
        return (<uint32_t>head[1] + 2) * 4
    if kind == PROTO_FRAGMENT:
        return 8
    return (<uint32_t>head[1] + 1) * 8


include "_quoted.pxi"
include "_transport.pxi"


# ---------------------------------------------------------------- fragments

# Check a fragment of `size` bytes at `offset`, behind `before` bytes that the reassembled packet
# counts too, and note its kind.
cdef ParseStatus read_fragment_fields(PacketView* view, uint32_t offset, bint more, uint32_t size,
                                      uint32_t before) noexcept nogil:
    if offset:
        view.fragment = FRAGMENT_LATER
    elif more:
        view.fragment = FRAGMENT_FIRST
    if view.fragment == FRAGMENT_NONE:
        return PARSE_OK
    if more and size & 7:
        return PARSE_BAD_FRAGMENT
    if <uint64_t>offset + size + before > MAX_IP_SIZE:
        return PARSE_BAD_FRAGMENT
    return PARSE_OK


# A later fragment has no transport header.  At offset 8 of TCP it would overwrite flags that a
# filter has judged in the first one.
cdef ParseStatus later_fragment_status(const PacketView* view, uint32_t offset) noexcept nogil:
    if view.has_protocol and view.protocol == PROTO_TCP and offset == 8:
        return PARSE_OVERLAPPING_FRAGMENT
    return PARSE_OK


# ---------------------------------------------------------------- IPv4

cdef void set_ipv4_fields(PacketView* view, const uint8_t* header) noexcept nogil:
    view.has_addresses = 1
    view.dscp = header[1] >> 2
    view.ecn = header[1] & 3
    view.ttl = header[8]
    view.has_protocol = 1
    view.protocol = header[9]
    view.source_lo = load_be32(header + 12)
    view.destination_lo = load_be32(header + 16)


cdef inline void open_window(Window* window, const PacketView* view, uint32_t header_size) noexcept nogil:
    cdef uint32_t known = view.captured if view.captured < view.length else view.length
    window.copy.at = view.data
    window.copy.left = known
    cursor_take(&window.copy, header_size)
    window.left = view.length - header_size


cdef ParseStatus read_ipv4(PacketView* view, uint32_t whole, unsigned int flags) noexcept nogil:
    cdef const uint8_t* header = view.data
    cdef uint32_t header_size, total, offset
    cdef Window window, options
    cdef Chain chain
    cdef ParseStatus status
    if whole < IPV4_HEADER_SIZE:
        return PARSE_TRUNCATED_IP
    if view.captured < IPV4_HEADER_SIZE:
        return PARSE_OK
    set_ipv4_fields(view, header)
    header_size = (header[0] & 15) * 4
    total = load_be16(header + 2)
    if header_size < IPV4_HEADER_SIZE or header_size > whole:
        return PARSE_BAD_HEADER_LENGTH
    if total < header_size or total > whole:
        return PARSE_BAD_TOTAL_LENGTH
    view.length = total
    view.truncated = view.captured < total
    if (flags & PARSE_VERIFY_CHECKSUMS and header_size <= view.captured
            and checksum_fold(checksum_add(0, header, header_size)) != 0xFFFF):
        return PARSE_BAD_IP_CHECKSUM
    open_window(&window, view, IPV4_HEADER_SIZE)
    options.left = header_size - IPV4_HEADER_SIZE
    options.copy = cursor_split(&window.copy, options.left)
    window.left -= options.left
    memset(&chain, 0, sizeof(Chain))
    status = read_ip_options(&options, &chain)
    if status != PARSE_OK:
        return status
    offset = (load_be16(header + 6) & 0x1FFF) * 8
    status = read_fragment_fields(view, offset, header[6] & 0x20 != 0, window.left, header_size)
    if status != PARSE_OK:
        return status
    if view.fragment == FRAGMENT_LATER:
        return later_fragment_status(view, offset)
    return read_transport(view, &window, &chain, flags)


include "_ipv6.pxi"


# ---------------------------------------------------------------- the door

cdef ParseStatus parse_packet(const uint8_t* data, uint32_t captured, uint32_t original, unsigned int flags,
                              PacketView* view) noexcept nogil:
    cdef uint32_t whole = original if original > captured else captured
    cdef ParseStatus status
    memset(view, 0, sizeof(PacketView))
    view.data = data
    view.captured = captured
    view.length = whole
    view.truncated = captured < whole
    if captured == 0:
        status = PARSE_NOT_IP if whole else PARSE_TRUNCATED_IP
    elif data[0] >> 4 == 4:
        view.family = 4
        status = read_ipv4(view, whole, flags)
    elif data[0] >> 4 == 6:
        view.family = 6
        status = read_ipv6(view, whole, flags)
    else:
        status = PARSE_NOT_IP
    view.status = status
    return status


PARSE_STATUS_NAMES = (
    "ok", "not_ip", "truncated_ip", "bad_header_length", "bad_total_length", "bad_payload_length",
    "bad_ip_checksum", "bad_ip_option", "bad_extension_header", "too_many_extension_headers", "bad_fragment",
    "tiny_fragment", "overlapping_fragment", "truncated_transport", "bad_tcp_header_length", "bad_tcp_option",
    "bad_udp_length", "bad_transport_checksum",
)
VERIFY_CHECKSUMS = PARSE_VERIFY_CHECKSUMS
FIRST_STATUS_ABOVE_IP = N_PARSE_IP_STATUSES
assert len(PARSE_STATUS_NAMES) == N_PARSE_STATUSES


cpdef str parse_status_name(int status):
    """The name of a ParseStatus as metrics, events and replay show it."""
    if not 0 <= status < N_PARSE_STATUSES:
        raise ValueError(f"no such parse status: {status}")
    return PARSE_STATUS_NAMES[status]


cdef dict ip_part(const PacketView* view):
    return {
        "captured": view.captured, "length": view.length, "status": view.status, "family": view.family,
        "truncated": view.truncated, "has_addresses": view.has_addresses, "fragment": view.fragment,
        "source_hi": view.source_hi, "source_lo": view.source_lo,
        "destination_hi": view.destination_hi, "destination_lo": view.destination_lo,
        "dscp": view.dscp, "ecn": view.ecn, "ttl": view.ttl,
        "has_protocol": view.has_protocol, "protocol": view.protocol,
    }


cdef dict transport_part(const PacketView* view):
    return {
        "transport_offset": view.transport_offset, "has_ports": view.has_ports, "has_icmp": view.has_icmp,
        "has_source_port": view.has_source_port, "has_icmp_type": view.has_icmp_type,
        "has_icmp_id": view.has_icmp_id, "is_icmp_error": view.is_icmp_error,
        "source_port": view.source_port, "destination_port": view.destination_port,
        "icmp_type": view.icmp_type, "icmp_code": view.icmp_code, "icmp_id": view.icmp_id,
        "has_tcp": view.has_tcp, "has_tcp_window": view.has_tcp_window,
        "tcp_flags": view.tcp_flags, "tcp_window": view.tcp_window,
        "tcp_sequence": view.tcp_sequence, "tcp_acknowledgment": view.tcp_acknowledgment,
        "has_mss": view.has_mss, "has_window_scale": view.has_window_scale,
        "tcp_window_scale": view.tcp_window_scale, "tcp_mss": view.tcp_mss,
        "payload_offset": view.payload_offset, "payload_length": view.payload_length,
    }


cdef dict quoted_part(const PacketView* view):
    return {
        "has_quoted": view.has_quoted, "quoted_has_addresses": view.quoted_has_addresses,
        "quoted_has_ports": view.quoted_has_ports, "quoted_protocol": view.quoted_protocol,
        "quoted_source_port": view.quoted_source_port,
        "quoted_destination_port": view.quoted_destination_port,
        "quoted_source_hi": view.quoted_source_hi, "quoted_source_lo": view.quoted_source_lo,
        "quoted_destination_hi": view.quoted_destination_hi,
        "quoted_destination_lo": view.quoted_destination_lo,
    }


def parse_of(bytes data not None, int64_t original=-1, unsigned int flags=0):
    """Every member of the PacketView of `data` but the pointer; `original` < 0: the copy is whole.

    The bytes are copied to an allocation of exactly their size, so that a sanitizer sees a read
    behind them.
    """
    cdef size_t n = len(data)
    cdef const uint8_t* source = data
    cdef uint8_t* copy = <uint8_t*>malloc(n if n else 1)
    cdef PacketView view
    if copy == NULL:
        raise MemoryError
    memcpy(copy, source, n)
    with nogil:
        parse_packet(copy, <uint32_t>n, <uint32_t>(n if original < 0 else original), flags, &view)
    free(copy)
    return {**ip_part(&view), **transport_part(&view), **quoted_part(&view)}
