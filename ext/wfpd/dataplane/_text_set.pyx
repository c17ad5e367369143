"""Membership in a set of texts: mostly one comparison, never more than a binary search of the set.

Problem: a binary search of 100,000 names compares 17 texts, each in a place of its own: a cache miss
for the record and one for the letters.

Design: texts are dealt into as many buckets as there are texts, by a hash.  A bucket holds its texts'
hashes, so that a text that is not there is seldom compared with any.  What is dealt into one bucket stays
in the texts' order: a list whose names were chosen to share a hash is searched by halves there, as without
buckets.  So the hash needs no secret.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

cdef uint64_t PRIME = 0x9E3779B97F4A7C15
cdef uint64_t CASE = 0x2020202020202020

cdef enum:
    FEW = 8                     # Entries of a bucket that are looked at one by one; a set without buckets.


cdef inline uint64_t word_at(const uint8_t* text) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, text, 8)
    return word | CASE


cdef inline uint64_t mixed(uint64_t hash, uint64_t word) noexcept nogil:
    hash = (hash ^ word) * PRIME
    return hash ^ hash >> 32


cdef uint32_t text_hash(const uint8_t* text, uint64_t length) noexcept nogil:
    """Two words a step, which do not wait for each other; the last ones may overlap what was read."""
    cdef uint64_t hash = length, other = PRIME, word = 0, left = length
    while left >= 16:
        hash = mixed(hash, word_at(text))
        other = mixed(other, word_at(text + 8))
        text += 16
        left -= 16
    if left >= 8:
        hash = mixed(hash, word_at(text))
        text += 8
        left -= 8
    if left and length >= 8:
        other = mixed(other, word_at(text + left - 8))
    elif left:
        memcpy(&word, text, left)
        other = mixed(other, word | CASE)
    return <uint32_t>(mixed(hash, other) >> 8)


cdef inline int _order(const SetText* known, const uint8_t* bytes, const uint8_t* text, uint64_t length) noexcept nogil:
    """Of a text of the set against another, bytewise: below, at or above 0."""
    cdef uint64_t shared = known.length if known.length < length else length
    cdef int order = memcmp(bytes + known.offset, text, shared) if shared else 0
    if order:
        return order
    return (known.length > length) - (known.length < length)


cdef inline bint _is(const SetText* known, const uint8_t* bytes, const uint8_t* text, uint64_t length) noexcept nogil:
    return known.length == length and (length == 0 or memcmp(bytes + known.offset, text, length) == 0)


cdef bint _by_halves(const TextSet* found, const SetText* texts, const uint8_t* bytes, uint32_t low, uint32_t high,
                     const uint8_t* text, uint64_t length) noexcept nogil:
    """Among entries low .. high - 1, or texts where there are no buckets."""
    cdef uint32_t middle
    cdef int order
    while low < high:
        middle = low + (high - low) // 2
        order = _order(texts + middle if found.first == NULL else &found.entries[middle].at, bytes, text, length)
        if order == 0:
            return True
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return False


cdef bint text_set_has(const TextSet* found, const SetText* texts, const uint8_t* bytes, uint32_t count,
                       const uint8_t* text, uint64_t length) noexcept nogil:
    cdef uint32_t hash, low, high, i
    if found.first == NULL:
        return _by_halves(found, texts, bytes, 0, count, text, length)
    hash = text_hash(text, length)
    low, high = found.first[hash >> found.shift], found.first[(hash >> found.shift) + 1]
    if high - low > FEW:
        return _by_halves(found, texts, bytes, low, high, text, length)
    for i in range(low, high):
        if found.entries[i].hash == hash and _is(&found.entries[i].at, bytes, text, length):
            return True
    return False


cdef void _deal(TextSet* found, const SetText* texts, const uint8_t* bytes, uint32_t count, uint32_t n) noexcept nogil:
    """The entries by bucket; those of one keep their order."""
    cdef uint32_t i, hash, bucket
    for i in range(count):
        found.first[(text_hash(bytes + texts[i].offset, texts[i].length) >> found.shift) + 1] += 1
    for i in range(n):
        found.first[i + 1] += found.first[i]
    # Invariant: first[bucket] is where the bucket's next entry goes; at the end, where the next bucket begins.
    for i in range(count):
        hash = text_hash(bytes + texts[i].offset, texts[i].length)
        bucket = hash >> found.shift
        found.entries[found.first[bucket]].hash = hash
        found.entries[found.first[bucket]].at = texts[i]
        found.first[bucket] += 1
    for i in range(n):
        bucket = n - 1 - i
        found.first[bucket + 1] = found.first[bucket]
    found.first[0] = 0


cdef int text_set_build(TextSet* found, const SetText* texts, const uint8_t* bytes, uint32_t count) noexcept nogil:
    cdef uint32_t n
    memset(found, 0, sizeof(TextSet))
    if count <= FEW:
        return 0
    found.shift = 31
    while found.shift > 1 and count >> (32 - found.shift):
        found.shift -= 1
    found.shift += 1        # No more buckets than texts.
    n = <uint32_t>1 << (32 - found.shift)
    found.entries = <HashedText*>malloc(<size_t>count * sizeof(HashedText))
    found.first = <uint32_t*>calloc(<size_t>n + 1, sizeof(uint32_t))
    if found.entries == NULL or found.first == NULL:
        return -1
    _deal(found, texts, bytes, count, n)
    return 0


cdef void text_set_free(TextSet* found) noexcept nogil:
    free(found.first)
    free(found.entries)
    memset(found, 0, sizeof(TextSet))


cdef class TextSetDoor:
    """Cold door for tests: one set, by itself.  `texts` are sorted and distinct."""

    cdef TextSet found
    cdef SetText* texts
    cdef bytes letters
    cdef uint32_t count

    def __cinit__(self, list texts not None):
        cdef uint32_t offset = 0
        self.count = <uint32_t>len(texts)
        self.letters = b"".join(texts) + b"\0"
        self.texts = <SetText*>malloc((<size_t>self.count + 1) * sizeof(SetText))
        if self.texts == NULL:
            raise MemoryError()
        for i, text in enumerate(texts):
            self.texts[<uint32_t>i].offset, self.texts[<uint32_t>i].length = offset, len(text)
            offset += len(text)
        if text_set_build(&self.found, self.texts, self.letters, self.count) != 0:
            raise MemoryError()

    def __dealloc__(self):
        text_set_free(&self.found)
        free(self.texts)

    def __contains__(self, bytes text not None) -> bool:
        return text_set_has(&self.found, self.texts, self.letters, self.count, <const uint8_t*><const char*>text,
                            len(text))

    @property
    def largest_bucket(self) -> int:
        """Texts of the fullest bucket; 0: there are none."""
        if self.found.first == NULL:
            return 0
        n = <uint64_t>1 << (32 - self.found.shift)
        return max(self.found.first[i + 1] - self.found.first[i] for i in range(n))


def hash_of(bytes text not None) -> int:
    """What texts are dealt by."""
    return text_hash(<const uint8_t*><const char*>text, len(text))
