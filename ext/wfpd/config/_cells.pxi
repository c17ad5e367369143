# Growing a tape, and what both scanners share.  Every function here returns 0, or 1 for "leave it to the
# slow reader", which says what is wrong or reads what is rare.

from libc.stdlib cimport free, malloc, qsort, realloc


cdef int cell_add(Scan* scan, uint32_t kind, uint32_t start, uint32_t end) noexcept nogil:
    cdef Cells* cells = scan.cells
    cdef size_t capacity
    cdef uint32_t* grown
    if cells.n >= cells.most:
        return 1
    if cells.n == cells.capacity:
        capacity = cells.capacity * 2 if cells.capacity else 1024
        grown = <uint32_t*>realloc(cells.starts, capacity * sizeof(uint32_t))
        if grown == NULL:
            return 1
        cells.starts = grown
        grown = <uint32_t*>realloc(cells.ends, capacity * sizeof(uint32_t))
        if grown == NULL:
            return 1
        cells.ends = grown
        cells.capacity = capacity
    cells.starts[cells.n] = kind << KIND_SHIFT | start
    cells.ends[cells.n] = end
    cells.n += 1
    return 0


cdef int container_open(Scan* scan, uint32_t kind) noexcept nogil:
    scan.depth += 1
    return scan.depth > scan.deepest or cell_add(scan, kind, scan.pos, 0)


cdef int container_close(Scan* scan, size_t index) noexcept nogil:
    scan.cells.ends[index] = <uint32_t>scan.cells.n
    scan.depth -= 1
    if scan.cells.starts[index] >> KIND_SHIFT == MAPPING:
        return not _keys_differ(scan, <uint32_t>index)
    return 0


cdef uint64_t _hash_of(const uint8_t* text, uint32_t length) noexcept nogil:
    """FNV-1a; equal texts, equal hashes, which is all that is asked of it."""
    cdef uint64_t value = <uint64_t>0xCBF29CE484222325
    cdef uint32_t i
    for i in range(length):
        value = (value ^ text[i]) * <uint64_t>0x100000001B3
    return value


cdef int _by_hash(const void* left, const void* right) noexcept nogil:
    cdef uint64_t first = (<const uint64_t*>left)[0], second = (<const uint64_t*>right)[0]
    return (first > second) - (first < second)


cdef bint _keys_differ(const Scan* scan, uint32_t mapping) noexcept nogil:
    """Whether no two keys have one hash; if two have, the slow reader looks closer."""
    cdef Cells* cells = scan.cells
    cdef uint64_t[32] few
    cdef uint64_t* hashes = few
    cdef uint32_t i = mapping + 1, count = 0, j, start, quote
    cdef bint differ = True
    if cells.n - mapping > 64:
        hashes = <uint64_t*>malloc((cells.n - mapping) * sizeof(uint64_t))
        if hashes == NULL:
            return False
    while i < cells.n:
        quote = cells.starts[i] >> KIND_SHIFT == QUOTED
        start = (cells.starts[i] & OFFSET_MASK) + quote
        hashes[count] = _hash_of(scan.data + start, cells.ends[i] - start)
        count += 1
        i += 1
        i = cells.ends[i] if cells.starts[i] >> KIND_SHIFT >= SEQUENCE else i + 1
    if count > 1:
        qsort(hashes, count, sizeof(uint64_t), _by_hash)
    for j in range(1, count):
        if hashes[j] == hashes[j - 1]:
            differ = False
    if hashes != few:
        free(hashes)
    return differ
