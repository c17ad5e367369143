"""Bounded reads and byte order.  Parsers take bytes from a cursor; they never add to a raw pointer."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Cursor:
    const uint8_t* at       # Next byte.
    uint32_t left           # Bytes from `at` that may be read.

# The next n bytes, passed over; NULL (and nothing passed over) when fewer are left.
cdef inline const uint8_t* cursor_take(Cursor* cursor, uint32_t n) noexcept nogil:
    cdef const uint8_t* taken = cursor.at
    if n > cursor.left:
        return NULL
    cursor.at += n
    cursor.left -= n
    return taken

# A cursor over the next n bytes, or over all that are left if those are fewer; they are passed over.
cdef inline Cursor cursor_split(Cursor* cursor, uint32_t n) noexcept nogil:
    cdef Cursor part
    part.left = n if n < cursor.left else cursor.left
    part.at = cursor_take(cursor, part.left)
    return part

# Big-endian numbers at any alignment; the caller took the bytes.
cdef inline uint16_t load_be16(const uint8_t* at) noexcept nogil:
    return <uint16_t>((<uint32_t>at[0] << 8) | at[1])

cdef inline uint32_t load_be32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]

cdef inline uint64_t load_be64(const uint8_t* at) noexcept nogil:
    return (<uint64_t>load_be32(at) << 32) | load_be32(at + 4)
