# JSON to a tape.  Whatever is no JSON, or has a key twice, is left to `json_text.py`, which says so.


cdef inline void _json_space(Scan* scan) noexcept nogil:
    cdef uint8_t byte
    while scan.pos < scan.size:
        byte = scan.data[scan.pos]
        if byte != 32 and byte != 10 and byte != 13 and byte != 9:
            return
        scan.pos += 1


cdef inline bint _json_is(const Scan* scan, uint8_t byte) noexcept nogil:
    return scan.pos < scan.size and scan.data[scan.pos] == byte


cdef inline bint _is_hex(uint8_t byte) noexcept nogil:
    return 48 <= byte <= 57 or 65 <= (byte & 0xDF) <= 70


cdef int _json_escape(Scan* scan) noexcept nogil:
    """Pass over the escape at `pos`, a backslash."""
    cdef const uint8_t* at = scan.data + scan.pos
    cdef uint32_t i
    if scan.pos + 1 >= scan.size:
        return 1
    if at[1] in (34, 92, 47, 98, 102, 110, 114, 116):  # " \ / b f n r t
        scan.pos += 2
        return 0
    if at[1] != 117 or scan.pos + 6 > scan.size:  # u
        return 1
    for i in range(2, 6):
        if not _is_hex(at[i]):
            return 1
    if (at[2] | 0x20) == 100 and at[3] not in (48, 49, 50, 51, 52, 53, 54, 55):
        return 1  # A surrogate: alone it would be no text.
    scan.pos += 6
    return 0


cdef int _json_string(Scan* scan, bint is_key) noexcept nogil:
    cdef uint32_t start = scan.pos
    cdef uint32_t kind = QUOTED
    cdef uint8_t byte
    scan.pos += 1
    while scan.pos < scan.size:
        byte = scan.data[scan.pos]
        if byte == 34:
            if cell_add(scan, kind, start, scan.pos):
                return 1
            scan.pos += 1
            return 0
        if byte < 32:
            return 1
        if byte == 92:
            kind = ESCAPED
            if is_key or _json_escape(scan):
                return 1
        else:
            scan.pos += 1
    return 1


cdef int _json_digits(Scan* scan) noexcept nogil:
    cdef uint32_t start = scan.pos
    while scan.pos < scan.size and 48 <= scan.data[scan.pos] <= 57:
        scan.pos += 1
    return scan.pos == start


cdef int _json_number(Scan* scan) noexcept nogil:
    if _json_is(scan, 45):
        scan.pos += 1
    if _json_is(scan, 48):
        scan.pos += 1
    elif _json_digits(scan):
        return 1
    if _json_is(scan, 46):
        scan.pos += 1
        if _json_digits(scan):
            return 1
    if scan.pos < scan.size and (scan.data[scan.pos] | 0x20) == 101:
        scan.pos += 1
        if _json_is(scan, 43) or _json_is(scan, 45):
            scan.pos += 1
        if _json_digits(scan):
            return 1
    return 0


cdef int _json_word(Scan* scan) noexcept nogil:
    """A number, true, false or null, and behind it something that ends a word."""
    cdef uint32_t start = scan.pos, left = scan.size - scan.pos
    cdef const uint8_t* at = scan.data + start
    cdef uint32_t kind = PLAIN
    if left >= 4 and memcmp(at, b"true", 4) == 0:
        scan.pos += 4
    elif left >= 5 and memcmp(at, b"false", 5) == 0:
        scan.pos += 5
    elif left >= 4 and memcmp(at, b"null", 4) == 0:
        scan.pos += 4
        kind = NOTHING
    elif _json_number(scan):
        return 1
    if scan.pos < scan.size and scan.data[scan.pos] not in (32, 10, 13, 9, 44, 93, 125):
        return 1
    return cell_add(scan, kind, start, scan.pos)


cdef int _json_value(Scan* scan) noexcept nogil:
    """The value at `pos`; recursion is bounded by the nesting allowed."""
    if scan.pos >= scan.size:
        return 1
    if scan.data[scan.pos] == 34:
        return _json_string(scan, False)
    if scan.data[scan.pos] == 91:
        return _json_container(scan, SEQUENCE, 93)
    if scan.data[scan.pos] == 123:
        return _json_container(scan, MAPPING, 125)
    return _json_word(scan)


cdef int _json_container(Scan* scan, uint32_t kind, uint8_t closing) noexcept nogil:
    cdef size_t index = scan.cells.n
    if container_open(scan, kind):
        return 1
    scan.pos += 1
    _json_space(scan)
    if not _json_is(scan, closing):
        while True:
            if kind == MAPPING:
                if not _json_is(scan, 34) or _json_string(scan, True):
                    return 1
                _json_space(scan)
                if not _json_is(scan, 58):
                    return 1
                scan.pos += 1
                _json_space(scan)
            if _json_value(scan):
                return 1
            _json_space(scan)
            if not _json_is(scan, 44):
                break
            scan.pos += 1
            _json_space(scan)
            if _json_is(scan, closing):
                return 1
        if not _json_is(scan, closing):
            return 1
    scan.pos += 1
    return container_close(scan, index)


cdef int json_scan(Scan* scan) noexcept nogil:
    """One value and nothing after it."""
    _json_space(scan)
    if _json_value(scan):
        return 1
    _json_space(scan)
    return scan.pos != scan.size
