"""Sorted, disjoint, inclusive ranges of numbers, as the packed records of them: 8 bytes each, or 32."""

from libc.stdint cimport uint32_t, uint64_t

from collections.abc import Sequence
from struct import Struct

cdef extern from * nogil:
    ctypedef unsigned long long u128 "unsigned __int128"

cdef object _NARROW = Struct("<II")
cdef object _WIDE = Struct("<QQQQ")
cdef object _LOW64 = 0xFFFFFFFFFFFFFFFF


cdef class RangeList:
    """Reads and compares like a tuple of (low, high)."""
    cdef readonly bytes data
    cdef readonly bint wide     # `data` is u64 low_hi, low_lo, high_hi, high_lo; otherwise u32 low, high.
    cdef Py_ssize_t n

    def __init__(self, bytes data not None, bint wide):
        """`data`: the records, sorted and disjoint."""
        self.data, self.wide = data, wide
        self.n = len(data) // (32 if wide else 8)

    def __len__(self):
        return self.n

    cdef tuple _at(self, Py_ssize_t index):
        if not self.wide:
            return _NARROW.unpack_from(self.data, 8 * index)
        low_hi, low_lo, high_hi, high_lo = _WIDE.unpack_from(self.data, 32 * index)
        return low_hi << 64 | low_lo, high_hi << 64 | high_lo

    def __getitem__(self, where):
        if isinstance(where, slice):
            return tuple([self._at(index) for index in range(*where.indices(self.n))])
        index = where + self.n if where < 0 else where
        if not 0 <= index < self.n:
            raise IndexError(where)
        return self._at(index)

    def __iter__(self):
        cdef Py_ssize_t index
        for index in range(self.n):
            yield self._at(index)

    def __eq__(self, other):
        if isinstance(other, RangeList) and (<RangeList>other).wide == self.wide:
            return (<RangeList>other).data == self.data
        if not isinstance(other, (RangeList, tuple, list)):
            return NotImplemented
        return len(other) == self.n and all(one == two for one, two in zip(self, other))

    def __hash__(self):
        return hash(tuple(self))

    def __repr__(self):
        return repr(tuple(self))

    def total(self):
        """How many numbers the ranges hold."""
        cdef Py_ssize_t index
        cdef u128 found = 0, low, high      # Less one for each range: all numbers of 128 bits would not fit.
        cdef const uint64_t* quads = <const uint64_t*><const char*>self.data
        cdef const uint32_t* pairs = <const uint32_t*><const char*>self.data
        for index in range(self.n):
            if self.wide:
                low, high = quads[4 * index], quads[4 * index + 2]
                found += (high << 64 | quads[4 * index + 3]) - (low << 64 | quads[4 * index + 1])
            else:
                found += pairs[2 * index + 1] - pairs[2 * index]
        return (<object>(<uint64_t>(found >> 64)) << 64) + <uint64_t>found + self.n

    def packed(self, bint wide):
        """The records for a field of at most 32 bits, or of more; what a narrow field cannot have is left out."""
        if wide == self.wide:
            return self.data
        if wide:
            return b"".join([_WIDE.pack(0, low, 0, high) for low, high in self])
        top = 0xFFFFFFFF
        return b"".join([_NARROW.pack(low, min(high, top)) for low, high in self if low <= top])


def range_list(ranges):
    """The same ranges, sorted and disjoint, as a RangeList."""
    if isinstance(ranges, RangeList):
        return ranges
    wide = any(high > 0xFFFFFFFF for _, high in ranges)
    if not wide:
        return RangeList(b"".join([_NARROW.pack(low, high) for low, high in ranges]), False)
    return RangeList(b"".join([
        _WIDE.pack(low >> 64, low & _LOW64, high >> 64, high & _LOW64) for low, high in ranges
    ]), True)


Sequence.register(RangeList)
