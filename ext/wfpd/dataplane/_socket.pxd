"""The netlink socket of a queue: receive a batch of datagrams, send verdicts, configure."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._netlink cimport Datagram, Verdicts

cdef extern from "<sys/socket.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    cdef struct msghdr:
        void* msg_name
        uint32_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long n, int timeout) noexcept
    enum:
        POLLIN

cdef enum:
    COPY_LIMIT = 65531              # Largest copy the kernel makes (nfnetlink_queue.c: 0xffff - NLA_HDRLEN).
    # Bytes between two receive buffers: the largest copy, its attributes (under 400 bytes), and an odd
    # number of cache lines, so that the packets' headers do not all fall into the same cache set.
    SLOT_BYTES = 66112

# Preallocated buffers of one worker.  Pages of a slot are touched only by packets that need them.
cdef struct ReceiveArena:
    mmsghdr* headers
    iovec* vectors
    uint8_t* bytes
    uint32_t n_slots

cdef int arena_create(ReceiveArena* arena, uint32_t n_slots) noexcept nogil     # 0 or -1
cdef void arena_free(ReceiveArena* arena) noexcept nogil

# Datagrams received without waiting; 0: none is there; below 0: -errno (never EINTR, EAGAIN).
cdef int arena_receive(ReceiveArena* arena, int fd) noexcept nogil

cdef inline void arena_datagram(const ReceiveArena* arena, uint32_t i, Datagram* datagram) noexcept nogil:
    datagram.bytes = <const uint8_t*>arena.vectors[i].iov_base
    datagram.size = arena.headers[i].msg_len
    datagram.position = 0
    datagram.cut = (arena.headers[i].msg_hdr.msg_flags & 0x20) != 0     # MSG_TRUNC

# Send and empty the buffer, in pieces that the send buffer takes.  0 or -errno of the first piece
# that the kernel refused; what was before it is done, what is after it is not.
cdef int verdicts_send(Verdicts* verdicts, int fd) noexcept nogil

cdef enum ConfigItem:
    CONFIG_FLAGS = 0                # `value` = mask << 32 | flags, NFQA_CFG_F_*
    CONFIG_COPY = 1                 # Copy mode packet with `value` bytes; 0: headers of the message only.
    CONFIG_LENGTH = 2               # Most packets the queue holds.

cdef enum:
    FLAG_FAIL_OPEN = 1              # NFQA_CFG_F_*
    FLAG_GSO = 4
    FLAG_UID_GID = 8

# CONFIG_FLAGS' value that sets or clears fail-open and leaves the other flags alone.
cdef inline uint64_t fail_open_value(bint fail_open) noexcept nogil:
    return (<uint64_t>FLAG_FAIL_OPEN << 32) | (<uint64_t>FLAG_FAIL_OPEN if fail_open else 0)

# Send one configuration message that asks for an acknowledgment.  0 or -errno.
cdef int config_send(int fd, uint16_t queue, uint32_t sequence, ConfigItem item, uint64_t value) noexcept nogil
