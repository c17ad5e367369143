"""The names that a DNS query asks for (RFC 1035 4.1).

A name is followed through compression pointers only towards the message's beginning, each before what pointed there
began, so it ends; names have at most 253 bytes of text and a message at most 16 questions, so work is bounded.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    HEADER = 12
    MOST_QUESTIONS = 16     # Servers answer to one; more than a few are nobody's query.
    LONGEST_NAME = 253

cdef struct Name:
    uint8_t text[LONGEST_NAME]  # Labels with dots between, as sent.
    uint32_t length


cdef inline uint32_t _be16(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 8) | at[1]


cdef bint _label(const uint8_t* label, uint32_t length, Name* name) noexcept nogil:
    """Append a label; False: too long a name, or bytes that no host name has (a dot inside a label is one)."""
    cdef uint32_t i
    if name.length + length + (name.length > 0) > LONGEST_NAME:
        return False
    if name.length:
        name.text[name.length] = 46
        name.length += 1
    for i in range(length):
        if not 0x21 <= label[i] <= 0x7E or label[i] == 46:
            return False
        name.text[name.length] = label[i]
        name.length += 1
    return True


# Read the name at `at` and pass over it.  False: malformed.
cdef bint _name(const uint8_t* data, uint32_t size, uint32_t* at, Name* name) noexcept nogil:
    cdef uint32_t place = at[0], begun = at[0], target, length
    cdef bint jumped = False
    name.length = 0
    while place < size:
        length = data[place]
        if length < 64:
            if length > size - place - 1:
                return False
            if not length:
                if not jumped:
                    at[0] = place + 1
                return True
            if not _label(data + place + 1, length, name):
                return False
            place += 1 + length
            continue
        if length < 192 or size - place < 2:
            return False
        target = _be16(data + place) & 0x3FFF
        if target < HEADER or target >= begun:
            return False
        if not jumped:
            at[0] = place + 2
            jumped = True
        place = begun = target
    return False


def read_question(const uint8_t[::1] message):
    """(word, names) of a DNS message: `names` (at least one, the root is empty), `none` (no question), `other` (an answer)
    or `malformed`.

    Names are bytes as sent, without a dot at the end.  Behind the questions nothing is read.
    """
    cdef uint32_t size = min(message.shape[0], 65535), at = HEADER, n, i
    cdef Name name
    cdef const uint8_t* data
    if size < HEADER:
        return "malformed", ()
    data = &message[0]
    if data[2] & 0x80:
        return "other", ()
    n = _be16(data + 4)
    if not n:
        return "none", ()
    if n > MOST_QUESTIONS:
        return "malformed", ()
    found = []
    for i in range(n):
        if not _name(data, size, &at, &name) or size - at < 4:
            return "malformed", ()
        at += 4
        found.append(PyBytes_FromStringAndSize(<const char*>name.text, name.length))
    return "names", tuple(found)
