"""What the callouts shipped read of a packet's headers: where its data are, and whose it is.

Nothing is read beyond the bytes given; a packet that breaks off before what is asked for has no answer (None).
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

cdef enum:
    TCP = 6
    UDP = 17
    MOST_EXTENSION_HEADERS = 16

# Where things are in a packet, counted from its IP header.
cdef struct Headers:
    uint8_t family          # 4 or 6.
    uint8_t protocol        # Upper-layer protocol, behind extension headers.
    uint8_t size            # Bytes of an address.
    uint32_t source         # The source address; the destination's follows.
    uint32_t transport      # The upper-layer header.
    uint32_t end            # Behind the packet's last byte, by its header and by what there is.


cdef inline uint16_t _be16(const uint8_t* at) noexcept nogil:
    return <uint16_t>((<uint32_t>at[0] << 8) | at[1])


cdef inline uint32_t _be32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>_be16(at) << 16) | _be16(at + 2)


cdef bint _addresses(const uint8_t* data, uint32_t size, Headers* found) noexcept nogil:
    """Fill all but the transport; False: no IP header."""
    cdef uint32_t length
    if size >= 20 and data[0] >> 4 == 4:
        found.family, found.size, found.source, found.protocol = 4, 4, 12, data[9]
        found.transport = 4 * (data[0] & 15)
        length = _be16(data + 2)
    elif size >= 40 and data[0] >> 4 == 6:
        found.family, found.size, found.source, found.protocol = 6, 16, 8, data[6]
        found.transport = 40
        length = 40 + <uint32_t>_be16(data + 4) if _be16(data + 4) else 0
    else:
        return False
    found.end = length if 0 < length < size else size
    return True


cdef bint _headers(const uint8_t* data, uint32_t size, Headers* found) noexcept nogil:
    """Fill all; False: no IP header, or the transport's is not in this packet."""
    cdef uint32_t length, n
    if not _addresses(data, size, found):
        return False
    if found.family == 4:
        return found.transport >= 20 and found.transport <= found.end and not _be16(data + 6) & 0x1FFF
    for n in range(MOST_EXTENSION_HEADERS):
        if found.protocol not in (0, 43, 44, 51, 60):
            return True
        if found.end - found.transport < 8:
            return False
        if found.protocol == 44:
            length = 8
            if _be16(data + found.transport + 2) & 0xFFF8:
                return False
        elif found.protocol == 51:
            length = 4 * (data[found.transport + 1] + 2)
        else:
            length = 8 * (data[found.transport + 1] + 1)
        if length > found.end - found.transport:
            return False
        found.protocol = data[found.transport]
        found.transport += length
    return False


cdef inline uint32_t _tcp_data(const uint8_t* data, const Headers* found) noexcept nogil:
    """Where the data behind a whole TCP header begin; 0: there is none."""
    cdef uint32_t length
    if found.protocol != TCP or found.end - found.transport < 20:
        return 0
    length = 4 * (data[found.transport + 12] >> 4)
    return 0 if length < 20 or length > found.end - found.transport else found.transport + length


def total_length(const uint8_t[::1] packet):
    """Bytes of the whole IP packet by its header, which a copy may be shorter than."""
    cdef uint32_t size = packet.shape[0], length = 0
    if size >= 4 and packet[0] >> 4 == 4:
        length = _be16(&packet[2])
    elif size >= 6 and packet[0] >> 4 == 6:
        length = 40 + <uint32_t>_be16(&packet[4])
    return max(size, length)


def source_of(const uint8_t[::1] packet):
    """The source address as 4 or 16 bytes, or None."""
    cdef Headers found
    if not packet.shape[0] or not _addresses(&packet[0], packet.shape[0], &found):
        return None
    return PyBytes_FromStringAndSize(<const char*>&packet[found.source], found.size)


def flow_of(const uint8_t[::1] packet):
    """The same bytes for both directions of two ends: addresses, and ports with TCP and UDP; or None.

    A fragment without its transport header counts as its two addresses' and protocol's.
    """
    cdef Headers found
    cdef uint8_t[37] key
    cdef uint8_t[18] ends[2]
    cdef uint32_t side, first, width
    cdef bint whole
    if not packet.shape[0] or not _addresses(&packet[0], packet.shape[0], &found):
        return None
    whole = _headers(&packet[0], packet.shape[0], &found)
    whole = whole and found.protocol in (TCP, UDP) and found.end - found.transport >= 4
    width = found.size + 2
    for side in range(2):
        memcpy(ends[side], &packet[found.source + side * found.size], found.size)
        ends[side][found.size] = packet[found.transport + 2 * side] if whole else 0
        ends[side][found.size + 1] = packet[found.transport + 2 * side + 1] if whole else 0
    first = memcmp(ends[0], ends[1], width) > 0
    key[0] = found.protocol
    memcpy(key + 1, ends[first], width)
    memcpy(key + 1 + width, ends[1 - first], width)
    return PyBytes_FromStringAndSize(<const char*>key, 1 + 2 * width)


def tcp_segment(const uint8_t[::1] packet):
    """(direction's key, flags, sequence number, offset of the data, offset behind them) of a TCP packet, or None.

    The key is bytes: both addresses and ports, sender first.
    """
    cdef Headers found
    cdef uint32_t at
    cdef uint8_t[36] key
    if not packet.shape[0] or not _headers(&packet[0], packet.shape[0], &found):
        return None
    at = _tcp_data(&packet[0], &found)
    if not at:
        return None
    memcpy(key, &packet[found.source], 2 * found.size)
    memcpy(key + 2 * found.size, &packet[found.transport], 4)
    return (
        PyBytes_FromStringAndSize(<const char*>key, 2 * found.size + 4), packet[found.transport + 13],
        _be32(&packet[found.transport + 4]), at, found.end,
    )


def udp_data(const uint8_t[::1] packet):
    """(source port, destination port, offset of the data, offset behind them) of a UDP packet, or None."""
    cdef Headers found
    cdef uint32_t length
    if not packet.shape[0] or not _headers(&packet[0], packet.shape[0], &found):
        return None
    if found.protocol != UDP or found.end - found.transport < 8:
        return None
    length = _be16(&packet[found.transport + 4])
    if length < 8 or length > found.end - found.transport:
        return None
    return (
        _be16(&packet[found.transport]), _be16(&packet[found.transport + 2]), found.transport + 8,
        found.transport + length,
    )


def mss_option(const uint8_t[::1] packet):
    """(offset of the value, value) of the maximum segment size in a TCP packet with SYN, or None."""
    cdef Headers found
    cdef uint32_t at, end, length
    if not packet.shape[0] or not _headers(&packet[0], packet.shape[0], &found):
        return None
    end = _tcp_data(&packet[0], &found)
    if not end or not packet[found.transport + 13] & 2:
        return None
    at = found.transport + 20
    while at < end and packet[at] != 0:
        if packet[at] == 1:
            at += 1
            continue
        if end - at < 2:
            return None
        length = packet[at + 1]
        if length < 2 or length > end - at:
            return None
        if packet[at] == 2 and length == 4:
            return at + 2, _be16(&packet[at + 2])
        at += length
    return None
