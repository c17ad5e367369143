# The YAML that policies are written in, to a tape: block and flow lists and mappings of scalars that
# stand on one line, and texts after | and >.  Whatever else YAML has, and every fault, is left to libyaml.  What is taken here is
# taken as libyaml takes it: `test_tape.py` compares the two on generated texts.

cdef uint8_t[256] yaml_class

cdef enum:
    LEAVE = 1           # A byte that libyaml has to judge.
    CARRIAGE = 2
    LEAD_C2 = 3         # Begins U+0080-U+00BF.
    LEAD_E2 = 4         # Begins the line and paragraph separators.
    LEAD_EF = 5         # Begins the byte order mark and two code points that are no characters.
    INDICATOR = 8       # Begins no plain scalar; a bit.
    FLOW_INDICATOR = 16


cdef void _learn_yaml():
    cdef int byte
    for byte in range(32):
        yaml_class[byte] = LEAVE
    yaml_class[10] = 0
    yaml_class[13] = CARRIAGE
    yaml_class[127] = LEAVE
    yaml_class[0xC2], yaml_class[0xE2], yaml_class[0xEF] = LEAD_C2, LEAD_E2, LEAD_EF
    for byte in b"#&*!|>'\"%@`?":
        yaml_class[byte] = INDICATOR
    for byte in b",[]{}":
        yaml_class[byte] = INDICATOR | FLOW_INDICATOR


cdef int yaml_examine(const uint8_t* data, uint32_t size) noexcept nogil:
    """1 if the text has a byte that only libyaml judges; the text is UTF-8."""
    cdef uint32_t i
    cdef uint8_t kind
    for i in range(size):
        kind = yaml_class[data[i]] & 7
        if kind == 0:
            continue
        if kind == LEAVE:
            return 1
        if kind == CARRIAGE and (i + 1 >= size or data[i + 1] != 10):
            return 1
        if kind == LEAD_C2 and data[i + 1] < 0xA0:
            return 1
        if kind == LEAD_E2 and data[i + 1] == 0x80 and data[i + 2] in (0xA8, 0xA9):
            return 1
        if kind == LEAD_EF and (data[i + 1] == 0xBB and data[i + 2] == 0xBF or
                                data[i + 1] == 0xBF and data[i + 2] >= 0xBE):
            return 1
    return 0


cdef inline bint _blank_at(const Scan* scan, uint32_t pos) noexcept nogil:
    """A space, the end of a line or of the text."""
    return pos >= scan.size or scan.data[pos] == 32 or scan.data[pos] == 10 or scan.data[pos] == 13


cdef inline bint _dash_at(const Scan* scan) noexcept nogil:
    return scan.pos < scan.size and scan.data[scan.pos] == 45 and _blank_at(scan, scan.pos + 1)


cdef bint _marker_at(const Scan* scan) noexcept nogil:
    """`---` or `...` at the start of a line."""
    cdef const uint8_t* at = scan.data + scan.pos
    return (scan.pos + 3 <= scan.size and (at[0] == 45 or at[0] == 46) and at[1] == at[0] and at[2] == at[0]
            and _blank_at(scan, scan.pos + 3))


cdef int blank_skip(Scan* scan) noexcept nogil:
    """Go to the next content, over spaces, comments and ends of lines."""
    cdef const uint8_t* found
    cdef uint8_t byte
    while scan.pos < scan.size:
        byte = scan.data[scan.pos]
        if byte == 10:
            scan.pos += 1
            scan.line_start = scan.pos
        elif byte == 32 or byte == 13:
            scan.pos += 1
        elif byte == 35:
            if scan.pos > scan.line_start and scan.data[scan.pos - 1] != 32:
                return 1
            found = <const uint8_t*>memchr(scan.data + scan.pos, 10, scan.size - scan.pos)
            scan.pos = <uint32_t>(found - scan.data) if found != NULL else scan.size
        else:
            scan.column = scan.pos - scan.line_start
            return scan.column == 0 and (byte == 37 or _marker_at(scan))
    scan.column = -1
    return 0


cdef int line_end(Scan* scan, int64_t indent) noexcept nogil:
    """Nothing more on this line, and the next content no deeper than `indent`."""
    while scan.pos < scan.size and scan.data[scan.pos] == 32:
        scan.pos += 1
    if not (_blank_at(scan, scan.pos) or (scan.data[scan.pos] == 35 and scan.data[scan.pos - 1] == 32)):
        return 1
    return blank_skip(scan) or scan.column > indent


cdef int _quoted(Scan* scan, uint32_t* kind) noexcept nogil:
    """`pos` goes to the closing quote."""
    cdef uint8_t quote = scan.data[scan.pos], byte
    kind[0] = QUOTED
    scan.pos += 1
    while scan.pos < scan.size:
        byte = scan.data[scan.pos]
        if byte == quote:
            if quote == 39 and scan.pos + 1 < scan.size and scan.data[scan.pos + 1] == 39:
                kind[0] = DOUBLED
                scan.pos += 1
            else:
                return 0
        elif byte == 10 or byte == 13:
            return 1
        elif byte == 92 and quote == 34:
            kind[0] = ESCAPED
            if _json_escape(scan):
                return 1
            continue
        scan.pos += 1
    return 1


cdef int _lines(Scan* scan, int64_t indent) noexcept nogil:
    """`|` or `>` with its lines, which stand deeper than `indent`; empty lines have no spaces."""
    cdef uint32_t start = scan.pos, end = 0, spaces, at
    cdef int64_t deep = -1
    scan.pos += 1
    if scan.pos < scan.size and scan.data[scan.pos] == 45:
        scan.pos += 1
    if indent < 0 or scan.pos >= scan.size or scan.data[scan.pos] != 10:
        return 1
    scan.pos += 1
    while scan.pos < scan.size:
        at = scan.pos
        while at < scan.size and scan.data[at] == 32:
            at += 1
        spaces = at - scan.pos
        if at >= scan.size or scan.data[at] == 13 or (scan.data[at] == 10 and spaces):
            return 1
        if scan.data[at] == 10:
            scan.pos = at + 1
            continue
        if deep < 0:
            deep = spaces
            if deep <= indent:
                return 1
        if <int64_t>spaces < deep:
            if <int64_t>spaces > indent:
                return 1
            break
        while at < scan.size and scan.data[at] != 10:
            if scan.data[at] == 13:
                return 1
            at += 1
        scan.pos = end = at + 1 if at < scan.size else at
    scan.line_start = scan.pos
    return deep < 0 or cell_add(scan, LINES, start, end) or blank_skip(scan) or scan.column > indent


cdef int _plain(Scan* scan, bint flow) noexcept nogil:
    """`pos` goes behind the text."""
    cdef uint32_t at = scan.pos, end = scan.pos, following
    cdef uint8_t byte = scan.data[at]
    if yaml_class[byte] & INDICATOR:
        return 1
    if byte == 45 or byte == 58:
        if _blank_at(scan, at + 1) or (flow and (byte == 58 or yaml_class[scan.data[at + 1]] & FLOW_INDICATOR)):
            return 1
    while at < scan.size:
        byte = scan.data[at]
        if byte == 10 or byte == 13:
            break
        if byte == 58:
            if _blank_at(scan, at + 1):
                break
            if flow and (yaml_class[scan.data[at + 1]] & FLOW_INDICATOR or scan.data[at + 1] == 63):
                return 1
        elif byte == 35 and scan.data[at - 1] == 32:
            break
        elif flow and yaml_class[byte] & FLOW_INDICATOR:
            break
        elif flow and byte == 63:
            return 1
        at += 1
        if byte != 32:
            end = at
    scan.pos = end
    return 0


cdef int scalar_scan(Scan* scan, bint flow, uint32_t* kind, uint32_t* start, uint32_t* end) noexcept nogil:
    """One scalar of this line; `pos` goes behind it."""
    cdef uint8_t byte
    if scan.pos >= scan.size:
        return 1
    byte = scan.data[scan.pos]
    start[0] = scan.pos
    kind[0] = PLAIN
    if byte == 39 or byte == 34:
        if _quoted(scan, kind):
            return 1
        end[0] = scan.pos
        scan.pos += 1
        return 0
    if _plain(scan, flow):
        return 1
    end[0] = scan.pos
    return 0


cdef bint _colon_next(Scan* scan, bint any_follows) noexcept nogil:
    """Whether the scalar that ends here is a key; `pos` goes to the colon."""
    cdef uint32_t at = scan.pos
    while at < scan.size and scan.data[at] == 32:
        at += 1
    if at < scan.size and scan.data[at] == 58 and (any_follows or _blank_at(scan, at + 1)):
        scan.pos = at
        return True
    return False


cdef int _key(Scan* scan, bint flow) noexcept nogil:
    """A key with its colon."""
    cdef uint32_t kind, start, end
    if scalar_scan(scan, flow, &kind, &start, &end) or kind > QUOTED:
        return 1
    if not _colon_next(scan, flow and kind == QUOTED) or scan.pos - start > 1000:
        return 1
    if kind == PLAIN and end - start == 2 and scan.data[start] == 60 and scan.data[start + 1] == 60:
        return 1
    scan.pos += 1
    return cell_add(scan, kind, start, end)


cdef int _block_node(Scan* scan, int64_t indent) noexcept nogil:
    """The node at `pos`, inside something indented by `indent`."""
    cdef uint32_t kind, start, end
    cdef uint8_t byte = scan.data[scan.pos]
    cdef int64_t column = <int64_t>scan.pos - scan.line_start
    if byte == 91 or byte == 123:
        return _flow_node(scan) or line_end(scan, indent)
    if byte == 124 or byte == 62:
        return _lines(scan, indent)
    if _dash_at(scan):
        return _block_list(scan, column, False)
    if scalar_scan(scan, False, &kind, &start, &end):
        return 1
    if _colon_next(scan, False):
        scan.pos = start
        return _block_mapping(scan, column)
    return cell_add(scan, kind, start, end) or line_end(scan, indent)


cdef int _block_value(Scan* scan, int64_t indent) noexcept nogil:
    """What follows a key's colon in a mapping indented by `indent`."""
    cdef uint32_t kind, start, end, colon_end = scan.pos
    cdef uint8_t byte
    while scan.pos < scan.size and scan.data[scan.pos] == 32:
        scan.pos += 1
    if _blank_at(scan, scan.pos) or scan.data[scan.pos] == 35:
        if blank_skip(scan):
            return 1
        if scan.column > indent:
            return _block_node(scan, indent)
        if scan.column == indent and _dash_at(scan):
            return _block_list(scan, indent, True)
        return cell_add(scan, PLAIN, colon_end, colon_end)
    byte = scan.data[scan.pos]
    if byte == 91 or byte == 123:
        return _flow_node(scan) or line_end(scan, indent)
    if byte == 124 or byte == 62:
        return _lines(scan, indent)
    if scalar_scan(scan, False, &kind, &start, &end) or _colon_next(scan, False):
        return 1
    return cell_add(scan, kind, start, end) or line_end(scan, indent)


cdef int _block_mapping(Scan* scan, int64_t indent) noexcept nogil:
    cdef size_t index = scan.cells.n
    if container_open(scan, MAPPING):
        return 1
    while True:
        if _key(scan, False) or _block_value(scan, indent):
            return 1
        if scan.column < indent:
            return container_close(scan, index)
        if scan.column > indent:
            return 1


cdef int _block_list(Scan* scan, int64_t indent, bint in_mapping) noexcept nogil:
    """`in_mapping`: its dashes stand where the mapping's keys stand."""
    cdef size_t index = scan.cells.n
    cdef uint32_t dash_end
    if container_open(scan, SEQUENCE):
        return 1
    while True:
        scan.pos += 1
        dash_end = scan.pos
        while scan.pos < scan.size and scan.data[scan.pos] == 32:
            scan.pos += 1
        if _blank_at(scan, scan.pos) or scan.data[scan.pos] == 35:
            if blank_skip(scan):
                return 1
            if scan.column > indent:
                if _block_node(scan, indent):
                    return 1
            elif cell_add(scan, PLAIN, dash_end, dash_end):
                return 1
        elif _block_node(scan, indent):
            return 1
        if scan.column < indent:
            break
        if scan.column > indent:
            return 1
        if not _dash_at(scan):
            if not in_mapping:
                return 1
            break
    return container_close(scan, index)


cdef int _flow_node(Scan* scan) noexcept nogil:
    """A value inside brackets, or the brackets themselves."""
    cdef uint32_t kind, start, end
    if scan.pos >= scan.size:
        return 1
    if scan.data[scan.pos] == 91:
        return _flow_container(scan, SEQUENCE, 93)
    if scan.data[scan.pos] == 123:
        return _flow_container(scan, MAPPING, 125)
    return scalar_scan(scan, True, &kind, &start, &end) or cell_add(scan, kind, start, end)


cdef int _flow_container(Scan* scan, uint32_t kind, uint8_t closing) noexcept nogil:
    cdef size_t index = scan.cells.n
    if container_open(scan, kind):
        return 1
    scan.pos += 1
    while True:
        if blank_skip(scan) or scan.column < 0:
            return 1
        if scan.data[scan.pos] == closing:
            break
        if kind == MAPPING and (_key(scan, True) or blank_skip(scan) or scan.column < 0):
            return 1
        if _flow_node(scan) or blank_skip(scan) or scan.column < 0:
            return 1
        if scan.data[scan.pos] == 44:
            scan.pos += 1
        elif scan.data[scan.pos] != closing:
            return 1
    scan.pos += 1
    return container_close(scan, index)


cdef int yaml_scan(Scan* scan) noexcept nogil:
    """One document."""
    if yaml_examine(scan.data, scan.size):
        return 1
    if blank_skip(scan):
        if scan.data[scan.pos] != 45:
            return 1
        scan.pos += 3
        if scan.pos < scan.size and scan.data[scan.pos] == 32:
            return 1
        if blank_skip(scan):
            return 1
    if scan.column < 0:
        return 1
    return _block_node(scan, -1) or scan.column >= 0
