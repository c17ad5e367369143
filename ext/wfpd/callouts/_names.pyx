"""Lists of host names, up to a few hundred thousand, asked for one name at a time.

What every suffix of a name hashes to falls off while it is read once from its end, so a question costs one pass
over the name and one probe a label.  Each entry is one slot of a table that is at most half full:
the name's place in one block of text, and in which ways it was listed.  The hash is seeded at random a process and
folds each byte by a multiplication of 64 by 64 bits, so a list from elsewhere cannot be made to collide.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

import os

cdef extern from *:
    """
    static inline unsigned long long wfpd_fold(unsigned long long a, unsigned long long b)
    {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (unsigned long long)product ^ (unsigned long long)(product >> 64);
    }
    """
    uint64_t wfpd_fold(uint64_t a, uint64_t b) noexcept nogil

cdef enum:
    LONGEST = 253           # Bytes of a name, RFC 1035 without the root's own.
    LONGEST_LABEL = 63

cdef uint64_t SEED = int.from_bytes(os.urandom(8), "little")
cdef uint64_t SECRET = int.from_bytes(os.urandom(8), "little") | 1

_WAYS = {EXACT: "", EXACT | BELOW: ".", BELOW: "*."}


cdef inline uint8_t _lower(uint8_t byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef inline bint _allowed(uint8_t byte) noexcept nogil:
    """Letters in lower case, digits, hyphen, underscore, dot."""
    return 97 <= byte <= 122 or 48 <= byte <= 57 or byte == 45 or byte == 95 or byte == 46


cdef bint _well_formed(const uint8_t* text, size_t length) noexcept nogil:
    """Labels of 1 to 63 allowed characters, 253 in all."""
    cdef size_t i, label = 0
    if not length or length > LONGEST:
        return False
    for i in range(length):
        if not _allowed(text[i]):
            return False
        label = 0 if text[i] == 46 else label + 1
        if label > LONGEST_LABEL or (text[i] == 46 and (i == 0 or text[i - 1] == 46)):
            return False
    return label > 0


cdef inline uint64_t _hash(const uint8_t* text, size_t length) noexcept nogil:
    cdef uint64_t found = SEED
    while length:
        length -= 1
        found = wfpd_fold(found ^ text[length], SECRET)
    return found


cdef class NameList:
    """Which host names are listed.

    An entry is `example.org` (that name), `.example.org` (that name and every name below it) or `*.example.org` (every
    name below it, of however many labels, itself not).  Case of ASCII letters means nothing, nor does one dot at the
    end, in entries or in names asked for.  An entry beyond ASCII is taken as its A-labels (IDNA 2003, Python's codec);
    names asked for are compared as they are on the wire.  ValueError names an entry that is no name.
    """

    def __cinit__(self):
        self.slots = NULL
        self.text = NULL

    def __init__(self, entries):
        for entry in entries:
            self._add(entry)

    def __dealloc__(self):
        free(self.slots)
        free(self.text)

    def __len__(self):
        """Names in it; one that is listed in several ways counts once."""
        return self.n_names

    @property
    def size(self):
        """Bytes of memory."""
        return self.n_slots * sizeof(NameSlot) + self.capacity

    def match(self, const uint8_t[::1] name):
        """The entry that speaks of `name`, as `.example.org`, or None: that name itself, else its longest suffix."""
        cdef uint8_t ways = 0
        cdef NameSlot* slot = self.find(&name[0], name.shape[0], &ways) if name.shape[0] else NULL
        if slot == NULL:
            return None
        return _WAYS[slot.ways] + (<const char*>self.text)[slot.place:slot.place + slot.length].decode("ascii")

    cdef NameSlot* find(self, const uint8_t* name, size_t length, uint8_t* ways) noexcept nogil:
        cdef uint8_t[LONGEST] lower
        cdef uint64_t so_far = SEED
        cdef NameSlot* best = NULL
        cdef NameSlot* slot
        cdef size_t i
        if length and name[length - 1] == 46:
            length -= 1
        if not length or length > LONGEST or not self.n_slots:
            return NULL
        i = length
        while i:
            i -= 1
            lower[i] = _lower(name[i])
            if lower[i] == 46:  # A suffix begins behind the dot.
                slot = self._probe(so_far, &lower[i + 1], length - i - 1)
                if slot != NULL and slot.ways & BELOW:
                    best = slot
                    ways[0] = BELOW
            so_far = wfpd_fold(so_far ^ lower[i], SECRET)
        slot = self._probe(so_far, lower, length)
        if slot != NULL and slot.ways & EXACT:
            best = slot
            ways[0] = EXACT
        return best

    cdef NameSlot* _probe(self, uint64_t hash_, const uint8_t* name, size_t length) noexcept nogil:
        """The slot of a name, or NULL."""
        cdef size_t at = hash_ & (self.n_slots - 1)
        cdef NameSlot* slot
        while True:
            slot = &self.slots[at]
            if not slot.ways:
                return NULL
            if slot.tag == <uint32_t>(hash_ >> 32) and slot.length == length and (
                memcmp(self.text + slot.place, name, length) == 0
            ):
                return slot
            at = (at + 1) & (self.n_slots - 1)

    cdef int _add(self, entry) except -1:
        cdef uint8_t ways
        cdef bytes name = _plain(entry)
        cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(name)
        cdef size_t length = PyBytes_GET_SIZE(name)
        ways = EXACT
        if length > 2 and text[0] == 42 and text[1] == 46:
            ways, text, length = BELOW, text + 2, length - 2
        elif length > 1 and text[0] == 46:
            ways, text, length = EXACT | BELOW, text + 1, length - 1
        if length and text[length - 1] == 46:
            length -= 1
        if not _well_formed(text, length):
            raise ValueError(f"{str(entry)[:80]!r} is no host name, .host name or *.host name")
        self._put(text, length, ways)
        return 0

    cdef int _put(self, const uint8_t* name, size_t length, uint8_t ways) except -1:
        cdef uint64_t hash_ = _hash(name, length)
        cdef NameSlot* slot
        cdef size_t at
        if 2 * (self.n_names + 1) > self.n_slots:
            self._grow()
        slot = self._probe(hash_, name, length)
        if slot != NULL:
            slot.ways |= ways
            return 0
        self._room(length)
        memcpy(self.text + self.used, name, length)
        at = hash_ & (self.n_slots - 1)
        while self.slots[at].ways:
            at = (at + 1) & (self.n_slots - 1)
        slot = &self.slots[at]
        slot.place, slot.tag, slot.length, slot.ways = self.used, <uint32_t>(hash_ >> 32), <uint8_t>length, ways
        self.used += <uint32_t>length
        self.n_names += 1
        return 0

    cdef int _room(self, size_t wanted) except -1:
        """Room for `wanted` more bytes of text."""
        cdef uint8_t* grown
        cdef size_t capacity = self.capacity
        if self.used + wanted <= capacity:
            return 0
        capacity = max(1024, 2 * capacity)
        if capacity > 0xFFFFFFFF:
            raise MemoryError("a name list of 4 GB")
        grown = <uint8_t*>realloc(self.text, capacity)
        if grown == NULL:
            raise MemoryError
        self.text, self.capacity = grown, capacity
        return 0

    cdef int _grow(self) except -1:
        """Twice as many slots."""
        cdef size_t n_slots = max(16, 2 * self.n_slots), i, at
        cdef NameSlot* slots = <NameSlot*>calloc(n_slots, sizeof(NameSlot))
        if slots == NULL:
            raise MemoryError
        for i in range(self.n_slots):
            if not self.slots[i].ways:
                continue
            at = _hash(self.text + self.slots[i].place, self.slots[i].length) & (n_slots - 1)
            while slots[at].ways:
                at = (at + 1) & (n_slots - 1)
            slots[at] = self.slots[i]
        free(self.slots)
        self.slots, self.n_slots = slots, n_slots
        return 0


cdef bytes _plain(entry):
    """Lower case, A-labels."""
    if not isinstance(entry, str):
        raise ValueError(f"{str(entry)[:80]!r} is no host name: it is no text")
    if entry.isascii():
        return entry.lower().encode("ascii")
    front = "*." if entry.startswith("*.") else "." if entry.startswith(".") else ""
    try:
        return front.encode() + entry[len(front):].encode("idna").lower()
    except UnicodeError as error:
        raise ValueError(f"{entry[:80]!r} is no host name: {error}") from None
