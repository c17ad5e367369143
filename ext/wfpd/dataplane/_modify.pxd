"""A packet that a callout changes: checked, its lengths and checksums made right, and kept until its verdict."""

from libc.stdint cimport uint8_t, uint32_t

from ._parse cimport PacketView
from ._visit cimport EditBuffer, Visitor

cdef enum:
    EDIT_HEAD = 64                  # Bytes in front of a kept packet, for the verdict message that carries it.
    EDIT_MOST = 65531               # Bytes: what one netlink attribute holds.

cdef enum ModifyStatus:
    MODIFY_OK = 0
    MODIFY_NOT_WHOLE                # The copy was cut: what is written back would be too.
    MODIFY_TOO_LONG                 # Above EDIT_MOST.
    MODIFY_LENGTH                   # Another length of a TCP, GSO or fragmented packet, or of TCP's payload.
    MODIFY_IDENTITY                 # Addresses, protocol, ports, ICMP type, code or identifier, fragment fields.
    MODIFY_MALFORMED                # Not a well-formed IP packet, before or after.
    MODIFY_FRAGMENT                 # More than the IP header of a fragment.
    MODIFY_ROUTED                   # A source route: the checksum's last destination is not the header's.
    MODIFY_OUTSIDE                  # Bytes beyond the packet's end.
    MODIFY_NO_BUFFER                # Nothing is kept here (explain).
    N_MODIFY_STATUSES

cdef EditBuffer* edit_create() noexcept nogil          # NULL without memory.
cdef void edit_free(EditBuffer* edit) noexcept nogil

# The packet as it was kept last: visitor.n_edited bytes with EDIT_HEAD more in front of them.
cdef uint8_t* edit_packet(const Visitor* visitor) noexcept nogil

# Make the `n` bytes at `packet` what may follow `before` (of which `original` bytes were on the wire): lengths
# and checksums are set.  `packet` is of no use afterwards unless MODIFY_OK, with `after` its view.
cdef ModifyStatus modify_check(const PacketView* before, uint32_t original, bint gso, uint8_t* packet, uint32_t n,
                               PacketView* after) noexcept nogil

# A copy that is changed by the same rules, once its visit is over.
cdef class Draft:
    cdef readonly bytes packet
    cdef readonly bint changed
    cdef readonly bint gso
    cdef uint32_t original          # Bytes on the wire.
    cdef PacketView view            # Of `packet`.
    cdef void _look(self) noexcept
    cdef int _change(self, bytearray packet) except -1

# What of it can be said before it is known what is written.
cdef ModifyStatus modify_writable(const Visitor* visitor) noexcept nogil

# The packet being visited becomes these bytes, or has these bytes at this offset; untouched unless MODIFY_OK.
# What is classified from now on sees it; the layers passed already stay.  For callouts of any language.
cdef ModifyStatus modify_replace(Visitor* visitor, const uint8_t* bytes, uint32_t n) noexcept nogil
cdef ModifyStatus modify_write(Visitor* visitor, uint32_t offset, const uint8_t* bytes, uint32_t n) noexcept nogil
