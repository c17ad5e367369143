# Numbers and addresses from text: the spellings that are right.  Every function returns 1 for "something
# else", which `scalars.py` then judges; `test_quick.py` compares the two.

from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "arpa/inet.h" nogil:
    int AF_INET6
    int inet_pton(int family, const char* text, void* address)

cdef extern from * nogil:
    ctypedef unsigned long long u128 "unsigned __int128"
    int leading_zeros "__builtin_clzll"(unsigned long long)


cdef int decimal_read(const uint8_t* text, uint32_t length, uint64_t* value) noexcept nogil:
    """Decimal, no leading zero, at most 64 bits."""
    cdef uint64_t total = 0
    cdef uint32_t i, digit
    if length == 0 or length > 20 or (text[0] == 48 and length > 1):
        return 1
    for i in range(length):
        digit = <uint32_t>text[i] - 48
        if digit > 9 or total > (<uint64_t>0xFFFFFFFFFFFFFFFF - digit) // 10:
            return 1
        total = total * 10 + digit
    value[0] = total
    return 0


cdef int number_range_read(const uint8_t* text, uint32_t length, uint64_t top, Span* span) noexcept nogil:
    """A number or `a-b`, at most `top`."""
    cdef const uint8_t* dash = <const uint8_t*>memchr(text, 45, length)
    cdef uint32_t first = length if dash == NULL else <uint32_t>(dash - text)
    span.low_hi = span.high_hi = 0
    if decimal_read(text, first, &span.low_lo) or span.low_lo > top:
        return 1
    if dash == NULL:
        span.high_lo = span.low_lo
        return 0
    return (decimal_read(dash + 1, length - first - 1, &span.high_lo) or span.high_lo > top
            or span.low_lo > span.high_lo)


cdef int _v4_read(const uint8_t* text, uint32_t length, uint64_t* value) noexcept nogil:
    cdef uint64_t total = 0
    cdef uint32_t i, part = 0, digits = 0, parts = 0
    for i in range(length):
        if text[i] == 46:
            if digits == 0 or parts == 3:
                return 1
            total = total << 8 | part
            part = digits = 0
            parts += 1
        else:
            if text[i] < 48 or text[i] > 57 or (digits and part == 0):
                return 1
            part = part * 10 + text[i] - 48
            digits += 1
            if part > 255:
                return 1
    if parts != 3 or digits == 0:
        return 1
    value[0] = total << 8 | part
    return 0


cdef int _address_read(const uint8_t* text, uint32_t length, int* family, uint64_t* hi, uint64_t* lo) noexcept nogil:
    cdef char[48] copy
    cdef uint8_t[16] raw
    cdef uint32_t i
    hi[0] = lo[0] = 0
    if memchr(text, 58, length) == NULL:
        family[0] = 4
        return _v4_read(text, length, lo)
    if length >= sizeof(copy):
        return 1
    memcpy(copy, text, length)
    copy[length] = 0
    if memchr(text, 0, length) != NULL or inet_pton(AF_INET6, copy, raw) != 1:
        return 1
    for i in range(8):
        hi[0] = hi[0] << 8 | raw[i]
        lo[0] = lo[0] << 8 | raw[i + 8]
    family[0] = 6
    return 0


cdef int address_range_read(const uint8_t* text, uint32_t length, int* family, Span* span) noexcept nogil:
    """`a`, `a/len` without bits below the length, or `a-b`."""
    cdef const uint8_t* mark = <const uint8_t*>memchr(text, 47, length)
    cdef bint is_prefix = mark != NULL
    cdef uint32_t first
    cdef uint64_t bits, width
    cdef u128 low, mask
    cdef int last_family
    if mark == NULL:
        mark = <const uint8_t*>memchr(text, 45, length)
    first = length if mark == NULL else <uint32_t>(mark - text)
    if _address_read(text, first, family, &span.low_hi, &span.low_lo):
        return 1
    if mark == NULL:
        span.high_hi, span.high_lo = span.low_hi, span.low_lo
        return 0
    if not is_prefix:
        return (_address_read(mark + 1, length - first - 1, &last_family, &span.high_hi, &span.high_lo)
                or last_family != family[0] or span.low_hi > span.high_hi
                or (span.low_hi == span.high_hi and span.low_lo > span.high_lo))
    width = 32 if family[0] == 4 else 128
    if decimal_read(mark + 1, length - first - 1, &bits) or bits > width:
        return 1
    mask = 0
    mask = ~mask
    if width - bits < 128:
        mask = ~(mask << (width - bits))
    low = <u128>span.low_hi << 64 | span.low_lo
    if low & mask:
        return 1
    span.high_hi, span.high_lo = <uint64_t>((low | mask) >> 64), <uint64_t>(low | mask)
    return 0


cdef inline u128 span_low(const Span* span) noexcept nogil:
    return <u128>span.low_hi << 64 | span.low_lo


cdef inline u128 span_high(const Span* span) noexcept nogil:
    return <u128>span.high_hi << 64 | span.high_lo


cdef inline uint32_t bit_length(u128 value) noexcept nogil:
    if value >> 64:
        return 128 - leading_zeros(<uint64_t>(value >> 64))
    return 64 - leading_zeros(<uint64_t>value) if value else 0


cdef int _by_low(const void* left, const void* right) noexcept nogil:
    cdef u128 one = span_low(<const Span*>left), two = span_low(<const Span*>right)
    return (one > two) - (one < two)


cdef uint32_t spans_merge(Span* spans, uint32_t count, uint32_t bits, uint16_t* specificity) noexcept nogil:
    """Sort and join; the new count, and how specific it is to admit so many of the numbers of `bits` bits."""
    cdef uint32_t i, kept = 0
    cdef u128 most          # Numbers admitted, less one.
    cdef u128 highest, low
    specificity[0] = 0
    if count == 0:
        return 0
    if count > 1:
        qsort(spans, count, sizeof(Span), _by_low)
    for i in range(1, count):
        highest, low = span_high(&spans[kept]), span_low(&spans[i])
        if low <= highest or low - highest == 1:
            if span_high(&spans[i]) > highest:
                spans[kept].high_hi, spans[kept].high_lo = spans[i].high_hi, spans[i].high_lo
        else:
            kept += 1
            spans[kept] = spans[i]
    kept += 1
    most = kept - 1
    for i in range(kept):
        most += span_high(&spans[i]) - span_low(&spans[i])
    specificity[0] = <uint16_t>(255 * (bits - bit_length(most)) // bits)
    return kept
