"""Host facts for the packet path; filled by the control side from rtnetlink."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset


cdef const HostInterface* host_interface(const HostTable* host, uint32_t index) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high, middle
    if host == NULL or index == 0:
        return NULL
    high = host.n_interfaces
    while low < high:
        middle = (low + high) // 2
        if host.interfaces[middle].index < index:
            low = middle + 1
        else:
            high = middle
    if low < host.n_interfaces and host.interfaces[low].index == index:
        return &host.interfaces[low]
    return NULL


cdef bint _is_broadcast(const HostTable* host, uint32_t address) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = host.n_broadcast4
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if host.broadcast4[middle] < address:
            low = middle + 1
        else:
            high = middle
    return low < host.n_broadcast4 and host.broadcast4[low] == address


cdef bint _is_anycast(const HostTable* host, uint64_t hi, uint64_t lo) noexcept nogil:
    cdef uint32_t i
    for i in range(host.n_anycast6):  # A handful: one for each local prefix.
        if host.anycast6[2 * i] == hi and host.anycast6[2 * i + 1] == lo:
            return True
    return False


cdef uint8_t host_address_type(const HostTable* host, uint8_t family, uint64_t hi, uint64_t lo) noexcept nogil:
    if family == 4:
        if lo == 0:
            return 0
        if (lo >> 28) == 0xE:
            return 3
        if <uint32_t>lo == <uint32_t>0xFFFFFFFF:
            return 4
        if host != NULL and _is_broadcast(host, <uint32_t>lo):
            return 4
        return 1
    if hi == 0 and lo == 0:
        return 0
    if (hi >> 56) == 0xFF:
        return 3
    if host != NULL and _is_anycast(host, hi, lo):
        return 2
    return 1


cdef class Host:
    """One immutable view of the host.

    `interfaces`: (ifindex, name bytes, IANA ifType, is loopback, FWP tunnel type) tuples;
    `broadcast4`: integers; `anycast6`: 128-bit integers; `listening`: TCP ports;
    `compartment`: inode of the network namespace.
    """

    def __cinit__(self, interfaces=(), broadcast4=(), anycast6=(), listening=(), unsigned int compartment=0):
        cdef uint32_t i = 0
        cdef bytes name
        memset(&self.table, 0, sizeof(HostTable))
        ordered = sorted(interfaces)
        self.table.interfaces = <HostInterface*>calloc(max(1, len(ordered)), sizeof(HostInterface))
        addresses = sorted(set(broadcast4))
        self.table.broadcast4 = <uint32_t*>calloc(max(1, len(addresses)), sizeof(uint32_t))
        anycast = sorted(set(anycast6))
        self.table.anycast6 = <uint64_t*>calloc(max(1, len(anycast)), 2 * sizeof(uint64_t))
        if self.table.interfaces == NULL or self.table.broadcast4 == NULL or self.table.anycast6 == NULL:
            raise MemoryError()
        for index, raw_name, kind, loopback, tunnel in ordered:
            name = raw_name[:16]
            self.table.interfaces[i].index = index
            self.table.interfaces[i].type = kind
            self.table.interfaces[i].loopback = bool(loopback)
            self.table.interfaces[i].tunnel = tunnel
            self.table.interfaces[i].name_length = <uint8_t>len(name)
            memcpy(self.table.interfaces[i].name, <const char*>name, len(name))
            i += 1
        self.table.n_interfaces = i
        for i, address in enumerate(addresses):
            self.table.broadcast4[i] = address
        self.table.n_broadcast4 = <uint32_t>len(addresses)
        for i, address in enumerate(anycast):
            self.table.anycast6[2 * i] = address >> 64
            self.table.anycast6[2 * i + 1] = address & 0xFFFFFFFFFFFFFFFF
        self.table.n_anycast6 = <uint32_t>len(anycast)
        for port in listening:
            self.table.listening[port >> 3] |= <uint8_t>(1 << (port & 7))
        self.table.compartment = compartment

    def __dealloc__(self):
        free(self.table.interfaces)
        free(self.table.broadcast4)
        free(self.table.anycast6)

    def address_type(self, int family, address):
        """Cold door for tests: the NL_ADDRESS_TYPE of `address` (an integer)."""
        return host_address_type(&self.table, <uint8_t>family, address >> 64, address & 0xFFFFFFFFFFFFFFFF)
