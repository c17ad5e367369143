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


# ---------------------------------------------------------------- checksums

cdef uint64_t pseudo_header_sum(const PacketView* view, uint32_t length) noexcept nogil:
    cdef const uint8_t* addresses = view.data + (12 if view.family == 4 else 8)
    cdef uint64_t running = checksum_add(0, addresses, 8 if view.family == 4 else 32)
    return running + view.protocol + (length >> 16) + (length & 0xFFFF)


# Whether the transport checksum of a whole packet is right.  `at` is its transport header and
# `length` the bytes that belong to it; the fixed header was read before.
cdef bint transport_checksum_good(const PacketView* view, const uint8_t* at, uint32_t length,
                                  bint pseudo_unknown) noexcept nogil:
    cdef uint32_t covered = length
    cdef uint64_t running = 0
    if view.protocol == PROTO_SCTP:
        return sctp_checksum(at, length) == (at[8] | <uint32_t>at[9] << 8 | <uint32_t>at[10] << 16
                                             | <uint32_t>at[11] << 24)
    if view.protocol == PROTO_UDP and load_be16(at + 6) == 0:
        return view.family == 4
    if view.protocol == PROTO_UDP and load_be16(at + 4) != 0:
        length = covered = load_be16(at + 4)
    elif view.protocol == PROTO_UDPLITE and load_be16(at + 4) != 0:
        covered = load_be16(at + 4)
    elif view.protocol == PROTO_DCCP and at[5] & 15:
        covered = at[4] * 4 + ((at[5] & 15) - 1) * 4
        covered = covered if covered < length else length
    if view.protocol != PROTO_ICMP:
        if pseudo_unknown:
            return True
        running = pseudo_header_sum(view, length)
    return checksum_fold(checksum_add(running, at, covered)) == 0xFFFF


# ---------------------------------------------------------------- transport

cdef inline void set_payload(PacketView* view, uint32_t offset, uint32_t length) noexcept nogil:
    view.payload_offset = offset if offset <= view.captured else 0
    view.payload_length = length


# Ports, where the copy has them.  All protocols with ports begin with them.
cdef inline void read_ports(PacketView* view, Cursor* copy) noexcept nogil:
    cdef const uint8_t* at = cursor_take(copy, 4)
    if at != NULL:
        view.has_ports = 1
        view.source_port = load_be16(at)
        view.destination_port = load_be16(at + 2)


cdef ParseStatus read_tcp(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const uint8_t* rest
    cdef uint32_t header_size
    cdef Window options
    if length < 20:
        return PARSE_TRUNCATED_TRANSPORT
    read_ports(view, &copy)
    rest = cursor_take(&copy, 16)
    if rest == NULL:
        return PARSE_OK
    header_size = (rest[8] >> 4) * 4
    if header_size < 20:
        return PARSE_BAD_TCP_HEADER_LENGTH
    if header_size > length:
        return PARSE_TINY_FRAGMENT if view.fragment == FRAGMENT_FIRST else PARSE_BAD_TCP_HEADER_LENGTH
    view.has_tcp = 1
    view.tcp_sequence = load_be32(rest)
    view.tcp_acknowledgment = load_be32(rest + 4)
    view.tcp_flags = rest[9]
    view.tcp_window = load_be16(rest + 10)
    set_payload(view, offset + header_size, length - header_size)
    options.left = header_size - 20
    options.copy = cursor_split(&copy, options.left)
    return read_tcp_options(view, &options)


cdef ParseStatus read_udp(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const uint8_t* rest
    cdef uint32_t udp_length
    if length < 8:
        return PARSE_TRUNCATED_TRANSPORT
    read_ports(view, &copy)
    rest = cursor_take(&copy, 4)
    if rest == NULL:
        return PARSE_OK
    udp_length = load_be16(rest)
    if udp_length == 0 and view.family == 6 and length > MAX_IP_SIZE:
        udp_length = length         # RFC 2675, section 4.
    if udp_length < 8 or (udp_length > length and view.fragment == FRAGMENT_NONE):
        return PARSE_BAD_UDP_LENGTH
    set_payload(view, offset + 8, (udp_length if udp_length < length else length) - 8)
    return PARSE_OK


# The third field is the checksum's coverage (RFC 3828): 0 is all of it.
cdef ParseStatus read_udplite(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const uint8_t* rest
    cdef uint32_t coverage
    if length < 8:
        return PARSE_TRUNCATED_TRANSPORT
    read_ports(view, &copy)
    rest = cursor_take(&copy, 4)
    if rest == NULL:
        return PARSE_OK
    coverage = load_be16(rest)
    if coverage and (coverage < 8 or (coverage > length and view.fragment == FRAGMENT_NONE)):
        return PARSE_BAD_UDP_LENGTH
    set_payload(view, offset + 8, length - 8)
    return PARSE_OK


cdef ParseStatus read_sctp(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    if length < 12:
        return PARSE_TRUNCATED_TRANSPORT
    read_ports(view, &copy)
    set_payload(view, offset + 12, length - 12)
    return PARSE_OK


cdef ParseStatus read_dccp(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const uint8_t* rest
    cdef uint32_t header_size
    if length < 12:
        return PARSE_TRUNCATED_TRANSPORT
    read_ports(view, &copy)
    rest = cursor_take(&copy, 8)
    if rest == NULL:
        return PARSE_OK
    header_size = rest[0] * 4
    if header_size < (16 if rest[4] & 1 else 12) or header_size > length:
        return PARSE_TRUNCATED_TRANSPORT
    set_payload(view, offset + header_size, length - header_size)
    return PARSE_OK


cdef ParseStatus read_icmp(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const uint8_t* head
    cdef const uint8_t* rest
    cdef uint8_t kind
    if length < 8:
        return PARSE_TRUNCATED_TRANSPORT
    set_payload(view, offset + 8, length - 8)
    head = cursor_take(&copy, 4)
    if head == NULL:
        return PARSE_OK
    kind = head[0]
    view.has_icmp = 1
    view.icmp_type = kind
    view.icmp_code = head[1]
    rest = cursor_take(&copy, 4)
    if view.family == 4:
        view.is_icmp_error = kind == 3 or kind == 4 or kind == 5 or kind == 11 or kind == 12
        view.has_icmp_id = rest != NULL and (kind == 0 or kind == 8)
    else:
        view.is_icmp_error = 1 <= kind < 128
        view.has_icmp_id = rest != NULL and (kind == 128 or kind == 129)
    if view.has_icmp_id:
        view.icmp_id = load_be16(rest)
    if view.is_icmp_error and rest != NULL:
        read_quoted(view, copy)
    return PARSE_OK


cdef ParseStatus read_by_protocol(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    if view.protocol == PROTO_TCP:
        return read_tcp(view, copy, offset, length)
    if view.protocol == PROTO_UDP:
        return read_udp(view, copy, offset, length)
    if view.protocol == (PROTO_ICMP if view.family == 4 else PROTO_ICMPV6):
        return read_icmp(view, copy, offset, length)
    if view.protocol == PROTO_SCTP:
        return read_sctp(view, copy, offset, length)
    if view.protocol == PROTO_UDPLITE:
        return read_udplite(view, copy, offset, length)
    if view.protocol == PROTO_DCCP:
        return read_dccp(view, copy, offset, length)
    set_payload(view, offset, length)
    return PARSE_OK


cdef bint has_checked_transport(const PacketView* view) noexcept nogil:
    return view.has_ports or view.has_icmp


cdef void clear_transport(PacketView* view) noexcept nogil:
    view.has_ports = view.has_icmp = view.has_icmp_id = view.is_icmp_error = view.has_tcp = 0
    view.source_port = view.destination_port = view.icmp_id = 0
    view.icmp_type = view.icmp_code = view.tcp_flags = 0
    view.tcp_window = view.tcp_mss = 0
    view.tcp_sequence = view.tcp_acknowledgment = 0
    view.has_mss = view.has_window_scale = view.tcp_window_scale = 0
    view.payload_offset = view.payload_length = 0
    view.has_quoted = view.quoted_has_addresses = view.quoted_has_ports = view.quoted_protocol = 0
    view.quoted_source_port = view.quoted_destination_port = 0
    view.quoted_source_hi = view.quoted_source_lo = 0
    view.quoted_destination_hi = view.quoted_destination_lo = 0


# Read the upper-layer header, which begins the window.
cdef ParseStatus read_transport(PacketView* view, Window* window, const Chain* chain,
                                unsigned int flags) noexcept nogil:
    cdef uint32_t offset = view.length - window.left
    cdef ParseStatus status
    if view.protocol == PROTO_NO_NEXT_HEADER and view.family == 6:
        return PARSE_OK
    view.transport_offset = offset if offset <= view.captured else 0
    status = read_by_protocol(view, window.copy, offset, window.left)
    if (status == PARSE_OK and flags & PARSE_VERIFY_CHECKSUMS and not view.truncated
            and view.fragment == FRAGMENT_NONE and has_checked_transport(view)
            and not transport_checksum_good(view, window.copy.at, window.left, chain.pseudo_unknown)):
        status = PARSE_BAD_TRANSPORT_CHECKSUM
    if status == PARSE_TRUNCATED_TRANSPORT and view.fragment == FRAGMENT_FIRST:
        status = PARSE_TINY_FRAGMENT
    if status != PARSE_OK:
        clear_transport(view)
    return status


# ---------------------------------------------------------------- the quoted packet of an ICMP error

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


# A quote is whatever its sender cared to copy: nothing about it is malformed, what is there is read.
cdef void read_quoted(PacketView* view, Cursor quote) noexcept nogil:
    cdef bint first
    if view.family == 4:
        first = read_quoted_ipv4(view, &quote)
    else:
        first = read_quoted_ipv6(view, &quote)
    cdef const uint8_t* ports
    if not view.has_quoted or not first or not has_ports(view.quoted_protocol):
        return
    ports = cursor_take(&quote, 4)
    if ports != NULL:
        view.quoted_has_ports = 1
        view.quoted_source_port = load_be16(ports)
        view.quoted_destination_port = load_be16(ports + 2)


# Leaves the cursor at the transport header.  Returns whether that header is there at all.
cdef bint read_quoted_ipv4(PacketView* view, Cursor* quote) noexcept nogil:
    cdef const uint8_t* header = cursor_take(quote, IPV4_HEADER_SIZE)
    if header == NULL or header[0] >> 4 != 4 or header[0] & 15 < 5:
        return False
    view.has_quoted = view.quoted_has_addresses = 1
    view.quoted_protocol = header[9]
    view.quoted_source_lo = load_be32(header + 12)
    view.quoted_destination_lo = load_be32(header + 16)
    cursor_split(quote, (header[0] & 15) * 4 - IPV4_HEADER_SIZE)
    return load_be16(header + 6) & 0x1FFF == 0


cdef bint read_quoted_ipv6(PacketView* view, Cursor* quote) noexcept nogil:
    cdef const uint8_t* header = cursor_take(quote, IPV6_HEADER_SIZE)
    cdef const uint8_t* head
    cdef uint8_t kind
    cdef unsigned int n = 0
    cdef bint first = True
    if header == NULL or header[0] >> 4 != 6:
        return False
    view.quoted_has_addresses = 1
    view.quoted_source_hi = load_be64(header + 8)
    view.quoted_source_lo = load_be64(header + 16)
    view.quoted_destination_hi = load_be64(header + 24)
    view.quoted_destination_lo = load_be64(header + 32)
    kind = header[6]
    while is_extension_header(kind):
        head = cursor_take(quote, 8)
        if head == NULL or n == MAX_EXTENSION_HEADERS or not first:
            return False
        if kind == PROTO_FRAGMENT:
            first = load_be16(head + 2) >> 3 == 0
        cursor_split(quote, extension_size(kind, head) - 8)
        kind = head[0]
        n += 1
    view.has_quoted = 1
    view.quoted_protocol = kind
    return first


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


# ---------------------------------------------------------------- IPv6

cdef void set_ipv6_fields(PacketView* view, const uint8_t* header) noexcept nogil:
    cdef uint32_t traffic_class = (load_be16(header) >> 4) & 0xFF
    view.has_addresses = 1
    view.dscp = traffic_class >> 2
    view.ecn = traffic_class & 3
    view.ttl = header[7]
    view.source_hi = load_be64(header + 8)
    view.source_lo = load_be64(header + 16)
    view.destination_hi = load_be64(header + 24)
    view.destination_lo = load_be64(header + 32)


# Options of a hop-by-hop or destination header.
cdef struct Tlvs:
    uint8_t has_jumbo
    uint8_t has_home_address
    uint32_t jumbo_length           # Bytes behind the IPv6 header.

cdef ParseStatus read_tlvs(Window* options, Tlvs* found) noexcept nogil:
    cdef const uint8_t* head
    cdef const uint8_t* data
    cdef uint8_t kind
    memset(found, 0, sizeof(Tlvs))
    while options.left:
        if window_take(options, 1, &head) != REACH_OK:
            return PARSE_OK
        kind = head[0]
        if kind == 0:
            continue
        if options.left == 0:
            return PARSE_BAD_EXTENSION_HEADER
        if window_take(options, 1, &head) != REACH_OK:
            return PARSE_OK
        if window_take(options, head[0], &data) == REACH_BEYOND:
            return PARSE_BAD_EXTENSION_HEADER
        if kind == IPV6_OPTION_HOME_ADDRESS:
            found.has_home_address = 1
        elif kind == IPV6_OPTION_JUMBO:
            if head[0] != 4:
                return PARSE_BAD_EXTENSION_HEADER
            if data != NULL:
                found.has_jumbo = 1
                found.jumbo_length = load_be32(data)
    return PARSE_OK


# The payload length where the header says 0 and a hop-by-hop header follows (RFC 2675).  0 if
# there is no jumbo payload option; all there is if the copy ends before it could be seen.
cdef uint32_t jumbo_payload_length(const PacketView* view, uint32_t whole) noexcept nogil:
    cdef Window window
    cdef Tlvs found
    cdef const uint8_t* head
    cdef bint cut
    window.copy.at = view.data
    window.copy.left = view.captured
    cursor_take(&window.copy, IPV6_HEADER_SIZE)
    window.left = whole - IPV6_HEADER_SIZE
    head = cursor_take(&window.copy, 2)
    if head == NULL:
        return window.left if view.captured < whole else 0
    window.left = extension_size(PROTO_HOP_BY_HOP, head) - 2
    cut = window.copy.left < window.left and view.captured < whole
    window.copy = cursor_split(&window.copy, window.left)
    if read_tlvs(&window, &found) == PARSE_OK and found.has_jumbo:
        return found.jumbo_length
    return whole - IPV6_HEADER_SIZE if cut else 0


cdef ParseStatus read_options_header(Window* body, uint8_t kind, Chain* chain, uint16_t payload_field) noexcept nogil:
    cdef Tlvs found
    cdef ParseStatus status = read_tlvs(body, &found)
    if status != PARSE_OK:
        return status
    if found.has_home_address:
        chain.pseudo_unknown = 1
    if not found.has_jumbo:
        return PARSE_OK
    if kind != PROTO_HOP_BY_HOP or payload_field != 0:
        return PARSE_BAD_EXTENSION_HEADER
    chain.has_jumbo = 1
    return PARSE_BAD_PAYLOAD_LENGTH if found.jumbo_length <= MAX_IP_SIZE else PARSE_OK


# Pass over one extension header, options and routing looked at.  Sets `reach` to what window_take said.
cdef ParseStatus read_extension(PacketView* view, Window* window, Chain* chain, Reach* reach) noexcept nogil:
    cdef const uint8_t* head
    cdef uint8_t kind = chain.next
    cdef uint32_t size
    cdef Window body
    reach[0] = window_take(window, 8, &head)
    if reach[0] != REACH_OK:
        return PARSE_OK
    size = extension_size(kind, head)
    if kind == PROTO_AH and size < 12:
        return PARSE_BAD_EXTENSION_HEADER
    if size - 8 > window.left:
        reach[0] = REACH_BEYOND
        return PARSE_OK
    if kind == PROTO_ROUTING and head[3]:
        chain.pseudo_unknown = 1
    body.copy.at = head
    body.copy.left = 8 + window.copy.left if window.copy.left < size - 8 else size
    body.left = size
    cursor_take(&body.copy, 2)
    body.left -= 2
    chain.next = head[0]
    if size > 8:
        reach[0] = window_take(window, size - 8, &head)
    if kind == PROTO_HOP_BY_HOP or kind == PROTO_DESTINATION:
        return read_options_header(&body, kind, chain, load_be16(view.data + 4))
    return PARSE_OK


# Sets `offset` to the fragment's, in bytes.
cdef ParseStatus read_fragment_header(PacketView* view, Window* window, Chain* chain, Reach* reach,
                                      uint32_t* offset) noexcept nogil:
    cdef const uint8_t* head
    cdef uint32_t before
    if chain.has_jumbo:
        return PARSE_BAD_EXTENSION_HEADER
    before = view.length - window.left - IPV6_HEADER_SIZE
    reach[0] = window_take(window, 8, &head)
    if reach[0] != REACH_OK:
        return PARSE_OK
    chain.next = head[0]
    offset[0] = load_be16(head + 2) & 0xFFF8
    return read_fragment_fields(view, offset[0], head[3] & 1, window.left, before)


# Walk to the upper-layer header.  PARSE_OK without chain.reached: it is not in this packet or not in the copy.
cdef ParseStatus read_chain(PacketView* view, Window* window, Chain* chain) noexcept nogil:
    cdef unsigned int n = 0
    cdef bint fragmented = False
    cdef Reach reach
    cdef ParseStatus status
    cdef uint32_t offset = 0
    cdef uint8_t kind
    while is_extension_header(chain.next):
        kind = chain.next
        if (kind == PROTO_HOP_BY_HOP and n) or (kind == PROTO_FRAGMENT and fragmented):
            return PARSE_BAD_EXTENSION_HEADER
        if n == MAX_EXTENSION_HEADERS:
            return PARSE_TOO_MANY_EXTENSION_HEADERS
        n += 1
        reach = REACH_OK
        if kind == PROTO_FRAGMENT:
            fragmented = True
            status = read_fragment_header(view, window, chain, &reach, &offset)
        else:
            status = read_extension(view, window, chain, &reach)
        if status != PARSE_OK:
            return status
        if reach == REACH_BEYOND:
            return PARSE_TINY_FRAGMENT if view.fragment == FRAGMENT_FIRST else PARSE_BAD_EXTENSION_HEADER
        if reach == REACH_CUT:
            return PARSE_OK
        if view.fragment == FRAGMENT_LATER:
            break
    if view.fragment == FRAGMENT_LATER and is_extension_header(chain.next):
        return PARSE_OK
    view.has_protocol = 1
    view.protocol = chain.next
    chain.reached = view.fragment != FRAGMENT_LATER
    return later_fragment_status(view, offset)


cdef ParseStatus read_ipv6(PacketView* view, uint32_t whole, unsigned int flags) noexcept nogil:
    cdef const uint8_t* header = view.data
    cdef uint32_t payload
    cdef Window window
    cdef Chain chain
    cdef ParseStatus status
    if whole < IPV6_HEADER_SIZE:
        return PARSE_TRUNCATED_IP
    if view.captured < IPV6_HEADER_SIZE:
        return PARSE_OK
    set_ipv6_fields(view, header)
    payload = load_be16(header + 4)
    if payload == 0 and header[6] == PROTO_HOP_BY_HOP:
        payload = jumbo_payload_length(view, whole)
    if payload > whole - IPV6_HEADER_SIZE:
        return PARSE_BAD_PAYLOAD_LENGTH
    view.length = IPV6_HEADER_SIZE + payload
    view.truncated = view.captured < view.length
    open_window(&window, view, IPV6_HEADER_SIZE)
    memset(&chain, 0, sizeof(Chain))
    chain.next = header[6]
    status = read_chain(view, &window, &chain)
    if status != PARSE_OK or not chain.reached:
        return status
    return read_transport(view, &window, &chain, flags)


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
        "has_icmp_id": view.has_icmp_id, "is_icmp_error": view.is_icmp_error,
        "source_port": view.source_port, "destination_port": view.destination_port,
        "icmp_type": view.icmp_type, "icmp_code": view.icmp_code, "icmp_id": view.icmp_id,
        "has_tcp": view.has_tcp, "tcp_flags": view.tcp_flags, "tcp_window": view.tcp_window,
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
