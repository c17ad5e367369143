"""The upper-layer header: ports, TCP, ICMP, and the checksum over it.  Part of _parse."""

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



cdef inline void set_payload(PacketView* view, uint32_t offset, uint32_t length) noexcept nogil:
    view.payload_offset = offset if offset <= view.captured else 0
    view.payload_length = length


# Ports, where the copy has them.  All protocols with ports begin with them.
cdef inline void read_ports(PacketView* view, Cursor* copy) noexcept nogil:
    cdef const uint8_t* at = cursor_take(copy, 4)
    if at != NULL:
        view.has_source_port = view.has_ports = 1
        view.source_port = load_be16(at)
        view.destination_port = load_be16(at + 2)
        return
    at = cursor_take(copy, 2)
    if at != NULL:
        view.has_source_port = 1
        view.source_port = load_be16(at)


# The ports and the `size` bytes behind them, of a header of `minimum` bytes; `rest` is NULL where they
# are not in the copy.
cdef inline ParseStatus read_head(PacketView* view, Cursor* copy, uint32_t length, uint32_t minimum, uint32_t size,
                                  const uint8_t** rest) noexcept nogil:
    rest[0] = NULL
    if length < minimum:
        return PARSE_TRUNCATED_TRANSPORT
    read_ports(view, copy)
    rest[0] = cursor_take(copy, size)
    return PARSE_OK


cdef ParseStatus read_tcp(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const uint8_t* rest
    cdef const uint8_t* window
    cdef uint32_t header_size
    cdef Window options
    cdef ParseStatus status = read_head(view, &copy, length, 20, 10, &rest)
    if rest == NULL:
        return status
    window = cursor_take(&copy, 2)
    cursor_split(&copy, 4)          # Checksum and urgent pointer.
    header_size = (rest[8] >> 4) * 4
    if header_size < 20:
        return PARSE_BAD_TCP_HEADER_LENGTH
    if header_size > length:
        return PARSE_TINY_FRAGMENT if view.fragment == FRAGMENT_FIRST else PARSE_BAD_TCP_HEADER_LENGTH
    view.has_tcp = 1
    view.tcp_sequence = load_be32(rest)
    view.tcp_acknowledgment = load_be32(rest + 4)
    view.tcp_flags = rest[9]
    if window != NULL:
        view.has_tcp_window = 1
        view.tcp_window = load_be16(window)
    set_payload(view, offset + header_size, length - header_size)
    options.left = header_size - 20
    options.copy = cursor_split(&copy, options.left)
    return read_tcp_options(view, &options)


# UDP, and UDP-Lite, whose third field is the checksum's coverage (RFC 3828): 0 is all of it.
cdef ParseStatus read_udp(PacketView* view, Cursor copy, uint32_t offset, uint32_t length) noexcept nogil:
    cdef const uint8_t* rest
    cdef uint32_t covered
    cdef bint is_lite = view.protocol == PROTO_UDPLITE
    cdef ParseStatus status = read_head(view, &copy, length, 8, 4, &rest)
    if rest == NULL:
        return status
    covered = load_be16(rest)
    if covered == 0 and (is_lite or (view.family == 6 and length > MAX_IP_SIZE)):
        covered = length            # A jumbogram's length: RFC 2675, section 4.
    if covered < 8 or (covered > length and view.fragment == FRAGMENT_NONE):
        return PARSE_BAD_UDP_LENGTH
    set_payload(view, offset + 8, (length if is_lite or covered > length else covered) - 8)
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
    cdef ParseStatus status = read_head(view, &copy, length, 12, 8, &rest)
    if rest == NULL:
        return status
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
    head = cursor_take(&copy, 1)
    if head == NULL:
        return PARSE_OK
    kind = head[0]
    view.has_icmp_type = 1
    view.icmp_type = kind
    head = cursor_take(&copy, 1)
    if head != NULL:
        view.has_icmp = 1
        view.icmp_code = head[0]
    cursor_split(&copy, 2)          # Checksum.
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
    if view.protocol == PROTO_UDP or view.protocol == PROTO_UDPLITE:
        return read_udp(view, copy, offset, length)
    if view.protocol == (PROTO_ICMP if view.family == 4 else PROTO_ICMPV6):
        return read_icmp(view, copy, offset, length)
    if view.protocol == PROTO_SCTP:
        return read_sctp(view, copy, offset, length)
    if view.protocol == PROTO_DCCP:
        return read_dccp(view, copy, offset, length)
    set_payload(view, offset, length)
    return PARSE_OK


cdef bint has_checked_transport(const PacketView* view) noexcept nogil:
    return view.has_ports or view.has_icmp


cdef void clear_transport(PacketView* view) noexcept nogil:
    view.has_source_port = view.has_ports = view.has_icmp_type = view.has_icmp = 0
    view.has_icmp_id = view.is_icmp_error = view.has_tcp = view.has_tcp_window = 0
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
