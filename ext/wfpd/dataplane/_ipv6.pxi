"""IPv6: its fixed header and the walk along its extension headers.  Part of _parse."""

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


# Pass over one extension header, options and routing looked at.  Sets `reach` to what window_take said;
# where the copy ends in it, chain.next is what it names if its first byte is there.
cdef ParseStatus read_extension(PacketView* view, Window* window, Chain* chain, Reach* reach) noexcept nogil:
    cdef const uint8_t* head
    cdef Cursor first = window.copy
    cdef uint8_t kind = chain.next
    cdef uint32_t size
    cdef Window body
    reach[0] = window_take(window, 8, &head)
    if reach[0] == REACH_CUT:
        head = cursor_take(&first, 1)
        if head != NULL:
            chain.next = head[0]
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
    cdef Reach reach = REACH_OK
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
            break
        if view.fragment == FRAGMENT_LATER:
            break
    if is_extension_header(chain.next):
        return PARSE_OK
    view.has_protocol = 1
    view.protocol = chain.next
    chain.reached = view.fragment != FRAGMENT_LATER and reach == REACH_OK
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
