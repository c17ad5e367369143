"""The Internet checksum (RFC 1071) and CRC32c (RFC 9260, appendix A), over bytes that the caller has taken."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ._cursor cimport load_be16

# Add n bytes to a running sum.  A part of odd length must be the last.
cdef inline uint64_t checksum_add(uint64_t running, const uint8_t* at, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0
    while n - i >= 2:
        running += load_be16(at + i)
        i += 2
    if i < n:
        running += <uint32_t>at[i] << 8
    return running

# Fold a sum to 16 bits; 0xFFFF over a part that includes its own checksum means that it is right.
cdef inline uint16_t checksum_fold(uint64_t running) noexcept nogil:
    while running >> 16:
        running = (running & 0xFFFF) + (running >> 16)
    return <uint16_t>running

cdef inline uint32_t crc32c_add(uint32_t crc, uint8_t byte) noexcept nogil:
    cdef unsigned int bit
    crc ^= byte
    for bit in range(8):
        crc = (crc >> 1) ^ (<uint32_t>0x82F63B78 * (crc & 1))
    return crc

# CRC32c of an SCTP packet, its checksum field (bytes 8 to 11) read as zero; as the field holds it
# when read little-endian.
cdef inline uint32_t sctp_checksum(const uint8_t* at, uint32_t n) noexcept nogil:
    cdef uint32_t crc = 0xFFFFFFFF
    cdef uint32_t i
    for i in range(n):
        crc = crc32c_add(crc, 0 if 8 <= i < 12 else at[i])
    return ~crc
