"""The packet that an ICMP error quotes.  Part of _parse."""

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
