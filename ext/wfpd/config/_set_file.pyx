"""Set files of a million values: one number or address a line, to sorted ranges, without an object for each.

A file with a line that is anything else, a name, a hexadecimal number or a fault, is left to `sets.py`.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc

from wfpd.model._rows cimport Span

from wfpd.model._ranges import RangeList

include "_numbers.pxi"

cdef struct Values:
    uint64_t* narrow            # low << 32 | high
    size_t n_narrow
    size_t narrow_capacity
    Span* wide
    size_t n_wide
    size_t wide_capacity


cdef int _room(void** array, size_t* capacity, size_t used, size_t size) noexcept nogil:
    """Room for one more; 1 if there is none."""
    cdef size_t wanted
    cdef void* grown
    if used < capacity[0]:
        return 0
    wanted = capacity[0] * 2 if capacity[0] else 1024
    grown = realloc(array[0], wanted * size)
    if grown == NULL:
        return 1
    array[0] = grown
    capacity[0] = wanted
    return 0


cdef inline bint _is_space(uint8_t byte) noexcept nogil:
    """What bytes.strip() takes away."""
    return byte == 32 or 9 <= byte <= 13


cdef void _trim(const uint8_t** text, uint32_t* length) noexcept nogil:
    """Without blanks and comment; a comment begins with # at the start or after a space or tab."""
    cdef const uint8_t* at = text[0]
    cdef uint32_t left = length[0], i
    while left and _is_space(at[0]):
        at += 1
        left -= 1
    for i in range(left):
        if at[i] == 35 and (i == 0 or at[i - 1] == 32 or at[i - 1] == 9):
            left = i
            break
    while left and _is_space(at[left - 1]):
        left -= 1
    text[0], length[0] = at, left


cdef int _add(Values* values, const Span* span, bint wide) noexcept nogil:
    if wide:
        if _room(<void**>&values.wide, &values.wide_capacity, values.n_wide, sizeof(Span)):
            return 1
        values.wide[values.n_wide] = span[0]
        values.n_wide += 1
        return 0
    if _room(<void**>&values.narrow, &values.narrow_capacity, values.n_narrow, sizeof(uint64_t)):
        return 1
    values.narrow[values.n_narrow] = span.low_lo << 32 | span.high_lo
    values.n_narrow += 1
    return 0


cdef int _read_line(Values* values, const uint8_t* text, uint32_t length, uint64_t top) noexcept nogil:
    cdef Span span
    cdef int family
    if top:
        return number_range_read(text, length, top, &span) or _add(values, &span, top > <uint64_t>0xFFFFFFFF)
    return address_range_read(text, length, &family, &span) or _add(values, &span, family == 6)


cdef int _read_lines(Values* values, const uint8_t* data, size_t size, uint64_t top, size_t most) noexcept nogil:
    cdef const uint8_t* end = data + size
    cdef const uint8_t* stop
    cdef const uint8_t* text
    cdef uint32_t length
    while data < end:
        stop = <const uint8_t*>memchr(data, 10, end - data)
        if stop == NULL:
            stop = end
        text, length = data, <uint32_t>(stop - data)
        data = stop + 1
        _trim(&text, &length)
        if length == 0:
            continue
        if values.n_narrow + values.n_wide >= most or _read_line(values, text, length, top):
            return 1
    return 0


cdef int _by_number(const void* left, const void* right) noexcept nogil:
    cdef uint64_t one = (<const uint64_t*>left)[0], two = (<const uint64_t*>right)[0]
    return (one > two) - (one < two)


cdef size_t _narrow_merge(Values* values) noexcept nogil:
    """Sort and join; afterwards each is u32 low, u32 high in memory.  Returns how many are left."""
    cdef uint64_t* all_ = values.narrow
    cdef size_t i, kept = 0
    cdef uint64_t low, high, last_high
    cdef bint sorted_already = True
    for i in range(1, values.n_narrow):
        if all_[i] < all_[i - 1]:
            sorted_already = False
            break
    if not sorted_already:
        qsort(all_, values.n_narrow, sizeof(uint64_t), _by_number)
    for i in range(values.n_narrow):
        low, high = all_[i] >> 32, all_[i] & <uint64_t>0xFFFFFFFF
        last_high = all_[kept - 1] & <uint64_t>0xFFFFFFFF if kept else 0
        if kept and low <= last_high + 1:
            if high > last_high:
                all_[kept - 1] = (all_[kept - 1] >> 32 << 32) | high
        else:
            all_[kept] = all_[i]
            kept += 1
    for i in range(kept):
        all_[i] = all_[i] >> 32 | all_[i] << 32
    return kept


def read_set_file(bytes data not None, uint64_t top, size_t most):
    """(ranges, IPv6 ranges) of a file of addresses (`top` 0) or of numbers at most `top`.

    None where `sets.py` has to look: another spelling, a fault, or more than `most` values.
    """
    cdef Values values
    cdef int failed
    cdef size_t n_narrow = 0, n_wide = 0
    cdef uint16_t unused
    cdef const uint8_t* at = <const uint8_t*><const char*>data
    cdef size_t size = len(data)
    memset(&values, 0, sizeof(values))
    try:
        with nogil:
            failed = size > <size_t>0xFFFFFFFF or _read_lines(&values, at, size, top, most)
            if not failed:
                n_narrow = _narrow_merge(&values)
                n_wide = spans_merge(values.wide, <uint32_t>values.n_wide, 128, &unused)
        if failed:
            return None
        narrow = RangeList((<char*>values.narrow)[:n_narrow * sizeof(uint64_t)] if n_narrow else b"", False)
        wide = RangeList((<char*>values.wide)[:n_wide * sizeof(Span)] if n_wide else b"", True)
        return (wide, narrow) if top > <uint64_t>0xFFFFFFFF else (narrow, wide)
    finally:
        free(values.narrow)
        free(values.wide)
