"""What the packet path knows of this host: interfaces, broadcast and anycast addresses, listeners.

Immutable once published, replaced as a whole when the host changes.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct HostInterface:
    uint32_t index                  # ifindex
    uint32_t type                   # IANA ifType (6 Ethernet, 24 loopback, 131 tunnel ...).
    uint8_t loopback
    uint8_t tunnel                  # FWP tunnel type: 0 none, 1 other.
    uint8_t name_length
    uint8_t name[16]

cdef struct HostTable:
    HostInterface* interfaces       # Sorted by index.
    uint32_t n_interfaces
    uint32_t* broadcast4            # Sorted, host order.
    uint32_t n_broadcast4
    uint64_t* anycast6              # Pairs high, low; sorted.
    uint32_t n_anycast6
    uint32_t compartment            # Network namespace (inode number), 0 unknown.
    uint8_t listening[8192]         # Bit p: some TCP socket listens on port p.

cdef const HostInterface* host_interface(const HostTable* host, uint32_t index) noexcept nogil

# NL_ADDRESS_TYPE of an address as this host routes it: 0 unspecified, 1 unicast, 2 anycast,
# 3 multicast, 4 broadcast.  `host` may be NULL: then by the address alone.
cdef uint8_t host_address_type(const HostTable* host, uint8_t family, uint64_t hi, uint64_t lo) noexcept nogil

cdef class Host:
    cdef HostTable table
