"""The server name of a TLS ClientHello, from the first bytes of a stream.

The message may lie in any number of records and comes in any number of pieces: the caller asks again with
more bytes, all from the stream's beginning, and is told how many are needed at least.  That number covers all that
is known to be missing, so a message is looked at a few times and not once a segment, however small those are.
In one record it is read in place; only a message of several records is put together, in a buffer of the size that was allowed.

RFC 8446 (records, ClientHello), RFC 6066 (server_name).  GREASE (RFC 8701) is what any unknown value is: passed over.
With ECH (extension 0xfe0d) the name is the outer one.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    RECORD_HEADER = 5
    MESSAGE_HEADER = 4
    HANDSHAKE = 22              # Record type.
    CLIENT_HELLO = 1            # Message type.
    LONGEST_RECORD = 16384      # RFC 8446 5.1, plaintext.
    SERVER_NAME = 0             # Extension types.
    ENCRYPTED_CLIENT_HELLO = 0xFE0D
    LONGEST_NAME = 253

cdef enum HelloStatus:
    HELLO_MORE                  # `needed` bytes more, at least.
    HELLO_NAME                  # `name` is set.
    HELLO_NO_NAME               # A ClientHello without server_name.
    HELLO_OTHER                 # No TLS handshake that begins with a ClientHello.
    HELLO_MALFORMED
    HELLO_TOO_LONG              # Longer than allowed.

_WORDS = ("more", "name", "no_name", "other", "malformed", "too_long")

cdef struct Hello:
    HelloStatus status
    uint32_t needed
    const uint8_t* name         # In the stream or in the buffer for several records.
    uint32_t name_length
    uint8_t encrypted           # It carries an Encrypted ClientHello.

cdef struct Cursor:
    const uint8_t* at
    uint32_t left


cdef inline const uint8_t* _take(Cursor* cursor, uint32_t n) noexcept nogil:
    """The next n bytes, passed over, or NULL."""
    cdef const uint8_t* taken = cursor.at
    if n > cursor.left:
        return NULL
    cursor.at += n
    cursor.left -= n
    return taken


cdef inline uint32_t _be16(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 8) | at[1]


cdef bint _vector(Cursor* cursor, uint32_t width, uint32_t least, uint32_t most, Cursor* content) noexcept nogil:
    """A vector with a length of `width` bytes (1 or 2) before it; False: it is cut off, or not as long as allowed."""
    cdef const uint8_t* at = _take(cursor, width)
    if at == NULL:
        return False
    content.left = at[0] if width == 1 else _be16(at)
    if not least <= content.left <= most:
        return False
    content.at = _take(cursor, content.left)
    return content.at != NULL


cdef bint _server_name(Cursor* extension, Hello* hello) noexcept nogil:
    """Read the extension's list; False: malformed, two host names (RFC 6066 3), or bytes that no name has."""
    cdef Cursor names, name
    cdef const uint8_t* kind
    cdef uint32_t i
    if not _vector(extension, 2, 1, 0xFFFF, &names) or extension.left:
        return False
    while names.left:
        kind = _take(&names, 1)
        if not _vector(&names, 2, 1, 0xFFFF, &name):
            return False
        if kind[0]:
            continue
        if hello.name != NULL or name.left > LONGEST_NAME:
            return False
        for i in range(name.left):
            if not 0x21 <= name.at[i] <= 0x7E:
                return False
        hello.name, hello.name_length = name.at, name.left
    return True


cdef bint _extensions(Cursor* body, Hello* hello) noexcept nogil:
    cdef Cursor extensions, extension
    cdef const uint8_t* kind
    cdef bint seen = False
    if not _vector(body, 2, 0, 0xFFFF, &extensions) or body.left:
        return False
    while extensions.left:
        kind = _take(&extensions, 2)
        if kind == NULL or not _vector(&extensions, 2, 0, 0xFFFF, &extension):
            return False
        if _be16(kind) == SERVER_NAME:
            if seen or not _server_name(&extension, hello):
                return False
            seen = True
        elif _be16(kind) == ENCRYPTED_CLIENT_HELLO:
            hello.encrypted = 1
    return True


cdef HelloStatus _body(Cursor body, Hello* hello) noexcept nogil:
    """The message behind its header."""
    cdef Cursor part
    if _take(&body, 34) == NULL or not _vector(&body, 1, 0, 32, &part):  # Version, random; session.
        return HELLO_MALFORMED
    if not _vector(&body, 2, 2, 0xFFFE, &part) or part.left & 1:  # Cipher suites.
        return HELLO_MALFORMED
    if not _vector(&body, 1, 1, 255, &part):  # Compression methods.
        return HELLO_MALFORMED
    if body.left and not _extensions(&body, hello):
        return HELLO_MALFORMED
    return HELLO_NAME if hello.name != NULL else HELLO_NO_NAME


cdef HelloStatus _begin(const uint8_t* data, uint32_t size, uint32_t* length) noexcept nogil:
    """A record's header; HELLO_NAME: it is a handshake's, `length` is set.  HELLO_OTHER is told by its first bytes."""
    if size > 0 and data[0] != HANDSHAKE or size > 1 and data[1] != 3:
        return HELLO_OTHER
    if size < RECORD_HEADER:
        return HELLO_MORE
    length[0] = _be16(data + 3)
    return HELLO_NAME if 0 < length[0] <= LONGEST_RECORD else HELLO_MALFORMED


cdef void _more(Hello* hello, uint32_t have, uint32_t whole, uint32_t of_record) noexcept nogil:
    """What is missing of the message and of the headers before it; `of_record` bytes of it need no further header."""
    cdef uint32_t missing = (whole if whole else MESSAGE_HEADER) - have
    hello.status = HELLO_MORE
    hello.needed = missing if missing <= of_record else missing + RECORD_HEADER


# Read what there is of a stream.  `buffer` has room for `most` bytes.  Allocates nothing.
# Before each record `have` bytes of the message are known; from the second record on they are in the buffer.
cdef void _read(const uint8_t* data, uint32_t size, uint8_t* buffer, uint32_t most, Hello* hello) noexcept nogil:
    cdef uint32_t at = 0, length = 0, part, have = 0, whole = 0
    cdef const uint8_t* message
    cdef Cursor body
    while True:
        hello.status = _begin(data + at, size - at, &length)
        if hello.status == HELLO_OTHER and at:
            hello.status = HELLO_MALFORMED  # Another record amidst the message.
        if hello.status == HELLO_MORE:
            _more(hello, have, whole, 0)
            hello.needed -= size - at
        if hello.status != HELLO_NAME:
            return
        at += RECORD_HEADER
        part = min(length, size - at)
        if have:
            memcpy(buffer + have, data + at, min(part, most - have))
            message = buffer
        else:
            message = data + at
        have += min(part, most - have)
        if have and message[0] != CLIENT_HELLO:
            hello.status = HELLO_OTHER
            return
        if have >= MESSAGE_HEADER:
            whole = MESSAGE_HEADER + (<uint32_t>message[1] << 16) + _be16(message + 2)
            if whole > most:
                hello.status = HELLO_TOO_LONG
                return
            if have >= whole:
                body.at, body.left = message + MESSAGE_HEADER, whole - MESSAGE_HEADER
                hello.status = _body(body, hello)
                return
        if part < length:
            _more(hello, have, whole, length - part)
            return
        if message != buffer:
            memcpy(buffer, message, have)
        at += length


def read_client_hello(const uint8_t[::1] stream, uint32_t most=16384):
    """(word, name, encrypted, needed) of a stream's first bytes.

    Words: `more` (`needed` bytes more at least), `name`, `no_name`, `other` (no TLS, or another handshake message),
    `malformed`, `too_long` (a message of more than `most` bytes).  `name` is as sent, None but for `name`.
    Bytes behind the message mean nothing.  ValueError unless `most` is 64 to 2 ** 24; MemoryError where there is no
    room for so many bytes.
    """
    cdef Hello hello
    cdef uint32_t size = min(stream.shape[0], 0x7FFFFFFF)
    cdef uint8_t* buffer
    hello.needed, hello.name, hello.name_length, hello.encrypted = 0, NULL, 0, 0
    if not 64 <= most <= 1 << 24:
        raise ValueError(f"most: {most} is not from 64 to {1 << 24}")
    if not size:
        return "more", None, False, RECORD_HEADER + MESSAGE_HEADER
    buffer = <uint8_t*>malloc(most)
    if buffer == NULL:
        raise MemoryError
    with nogil:
        _read(&stream[0], size, buffer, most, &hello)
    name = None
    if hello.status == HELLO_NAME:
        name = PyBytes_FromStringAndSize(<const char*>hello.name, hello.name_length)
    free(buffer)
    return _WORDS[<int>hello.status], name, hello.encrypted != 0, hello.needed
