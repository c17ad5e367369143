"""The netlink socket of a queue.

netfilterqueue opens and binds it; from then on it is ours alone (see _netlink).  Two kinds of
callers: the packet loop, which never waits here, and the control side, which configures the
queue before the loop runs, reads the kernel's answers itself, and decides the packets that it
meets among them.
"""

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import errno as errors
import os
import socket as sockets

from wfpd.errors import KernelError

from ._accounts cimport account_received
from ._netlink cimport (
    Datagram, IdSequence, KernelAnswer, MESSAGE_ANSWER, MESSAGE_CONFIG, MESSAGE_END, MESSAGE_PACKET, MESSAGE_VERDICT,
    MessageKind, Outcome, QueuedPacket, Verdicts, datagram_next, verdicts_add, VERDICT_BYTES,
)

cdef extern from "<sys/socket.h>" nogil:
    int recvmmsg(int fd, mmsghdr* headers, unsigned int n, int flags, void* timeout) noexcept
    ssize_t send(int fd, const void* bytes, size_t size, int flags) noexcept
    enum:
        MSG_DONTWAIT

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <time.h>
    #include <arpa/inet.h>
    /* Reserved without being touched; NULL when refused. */
    static void *wfpd_reserve(size_t size) {
        void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return bytes == MAP_FAILED ? NULL : bytes;
    }
    static void wfpd_unreserve(void *bytes, size_t size) { if (bytes) munmap(bytes, size); }
    static void wfpd_pause(void) {
        struct timespec millisecond = {0, 1000000};
        nanosleep(&millisecond, NULL);
    }
    """
    void* wfpd_reserve(size_t size) noexcept nogil
    void wfpd_unreserve(void* bytes, size_t size) noexcept nogil
    void wfpd_pause() noexcept nogil
    uint32_t htonl(uint32_t value) noexcept nogil
    uint16_t htons(uint16_t value) noexcept nogil

cdef enum:
    PIECE_BYTES = 32768             # A send beyond the send buffer (at least 212,992 by default) does nothing at all.
    MAX_RETRIES = 200               # Pauses of 1 ms while the kernel has no memory for our message.
    NFQA_CFG_PARAMS = 2
    NFQA_CFG_QUEUE_MAXLEN = 3
    NFQA_CFG_MASK = 4
    NFQA_CFG_FLAGS = 5
    COPY_META = 1
    COPY_PACKET = 2

SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5
NETLINK_CAP_ACK = 10
FLAG_NAMES = {"fail_open": int(FLAG_FAIL_OPEN), "gso": int(FLAG_GSO), "uid_gid": int(FLAG_UID_GID)}
TRUESIZE_EXTRA = 2048
"""Bytes the kernel accounts for a message beyond its payload: sk_buff, shared info, attributes, rounding."""
ANSWER_SECONDS = 2.0
SEND_BUFFER = 1 << 20


cdef int arena_create(ReceiveArena* arena, uint32_t n_slots) noexcept nogil:
    cdef uint32_t i
    memset(arena, 0, sizeof(ReceiveArena))
    arena.n_slots = n_slots
    arena.headers = <mmsghdr*>calloc(n_slots, sizeof(mmsghdr))
    arena.vectors = <iovec*>calloc(n_slots, sizeof(iovec))
    arena.bytes = <uint8_t*>wfpd_reserve(<size_t>n_slots * SLOT_BYTES)
    if arena.headers == NULL or arena.vectors == NULL or arena.bytes == NULL:
        arena_free(arena)
        return -1
    for i in range(n_slots):
        arena.vectors[i].iov_base = arena.bytes + <size_t>i * SLOT_BYTES
        arena.vectors[i].iov_len = SLOT_BYTES
        arena.headers[i].msg_hdr.msg_iov = &arena.vectors[i]
        arena.headers[i].msg_hdr.msg_iovlen = 1
    return 0


cdef void arena_free(ReceiveArena* arena) noexcept nogil:
    wfpd_unreserve(arena.bytes, <size_t>arena.n_slots * SLOT_BYTES)
    free(arena.headers)
    free(arena.vectors)
    memset(arena, 0, sizeof(ReceiveArena))


cdef int arena_receive(ReceiveArena* arena, int fd) noexcept nogil:
    cdef int n
    while True:
        # Waiting is poll()'s: recvmmsg() looks at a time-out only between messages (recvmmsg(2), BUGS).
        n = recvmmsg(fd, arena.headers, arena.n_slots, MSG_DONTWAIT, NULL)
        if n >= 0:
            return n
        if errno == EAGAIN:
            return 0
        # ENOBUFS (sockets without NETLINK_NO_ENOBUFS) is reported once and read past: the kernel
        # refuses every delivery until the socket has been read empty.
        if errno != EINTR and errno != ENOBUFS:
            return -errno


cdef int _send_piece(int fd, const uint8_t* bytes, uint32_t size) noexcept nogil:
    cdef int retries = 0
    while send(fd, bytes, size, 0) < 0:
        if errno == EINTR:
            continue
        if (errno != ENOBUFS and errno != ENOMEM and errno != EAGAIN) or retries == MAX_RETRIES:
            return -errno
        retries += 1
        wfpd_pause()
    return 0


cdef int verdicts_send(Verdicts* verdicts, int fd) noexcept nogil:
    cdef uint32_t start = 0, end = 0, length
    cdef int status = 0
    while end < verdicts.size:
        memcpy(&length, verdicts.bytes + end, 4)
        if end > start and end + length - start > PIECE_BYTES:
            status = _send_piece(fd, verdicts.bytes + start, end - start)
            if status:
                break
            start = end
        end += length
    if not status and end > start:
        status = _send_piece(fd, verdicts.bytes + start, end - start)
    verdicts.size = 0
    return status


cdef int config_send(int fd, uint16_t queue, uint32_t sequence, ConfigItem item, uint64_t value) noexcept nogil:
    # nlmsghdr (request, acknowledge), nfgenmsg, one or two attributes.
    cdef uint32_t words[9]
    memset(words, 0, sizeof(words))
    words[1] = MESSAGE_CONFIG | (<uint32_t>5 << 16)
    words[2] = sequence
    words[4] = <uint32_t>htons(queue) << 16
    if item == CONFIG_FLAGS:
        words[0] = 36
        words[5] = 8 | (<uint32_t>NFQA_CFG_FLAGS << 16)
        words[6] = htonl(<uint32_t>value)
        words[7] = 8 | (<uint32_t>NFQA_CFG_MASK << 16)
        words[8] = htonl(<uint32_t>(value >> 32))
    elif item == CONFIG_COPY:
        words[0] = 32
        words[5] = 9 | (<uint32_t>NFQA_CFG_PARAMS << 16)
        words[6] = htonl(<uint32_t>value)
        words[7] = COPY_PACKET if value else COPY_META
    else:
        words[0] = 28
        words[5] = 8 | (<uint32_t>NFQA_CFG_QUEUE_MAXLEN << 16)
        words[6] = htonl(<uint32_t>value)
    return _send_piece(fd, <const uint8_t*>words, words[0])


cdef class _Configurator:
    """Configures one queue before its loop runs; owns the socket's reading side meanwhile."""

    cdef int fd
    cdef uint16_t queue
    cdef uint32_t sequence
    cdef uint32_t error_verdict
    cdef ReceiveArena arena
    cdef readonly uint64_t n_decided
    cdef IdSequence ids

    def __cinit__(self, int fd, uint16_t queue, uint32_t error_verdict):
        self.fd = fd
        self.queue = queue
        self.error_verdict = error_verdict
        if arena_create(&self.arena, 8):
            raise MemoryError

    def __dealloc__(self):
        arena_free(&self.arena)

    def ask(self, ConfigItem item, uint64_t value) -> int:
        """Send, wait for the answer, return its errno (0: done)."""
        import select
        import time

        self.sequence += 1
        status = config_send(self.fd, self.queue, self.sequence, item, value)
        if status:
            return -status
        end = time.monotonic() + ANSWER_SECONDS
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while (left := end - time.monotonic()) > 0:
            poll.poll(left * 1000)
            status = self._read_answer()
            if status >= 0:
                return status
        return errors.ETIMEDOUT

    cdef int _read_answer(self) except -2:
        """The errno of the answer to our last message, or -1 if it has not come."""
        cdef int n = arena_receive(&self.arena, self.fd), found = -1
        cdef Datagram datagram
        cdef QueuedPacket packet
        cdef KernelAnswer answer
        cdef MessageKind kind
        cdef int i
        if n < 0:
            return -n
        for i in range(n):
            arena_datagram(&self.arena, i, &datagram)
            while True:
                kind = datagram_next(&datagram, &packet, &answer)
                if kind == MESSAGE_END:
                    break
                if kind == MESSAGE_PACKET:
                    self._decide(&packet)
                elif kind == MESSAGE_ANSWER and answer.sequence == self.sequence:
                    found = answer.error
        return found

    cdef void _decide(self, const QueuedPacket* packet) noexcept:
        """A packet that came before the loop runs: on_error, one by one."""
        cdef uint8_t bytes[VERDICT_BYTES]
        cdef Verdicts verdicts
        cdef Outcome outcome
        memset(&outcome, 0, sizeof(outcome))
        outcome.id = packet.id
        outcome.verdict = self.error_verdict
        verdicts.bytes = bytes
        verdicts.size = 0
        verdicts.capacity = VERDICT_BYTES
        verdicts.queue = packet.queue
        account_received(1)
        verdicts_add(&verdicts, MESSAGE_VERDICT, &outcome)
        verdicts_send(&verdicts, self.fd)
        self.n_decided += 1


def _prepare(sock, length: int, copy_bytes: int) -> int:
    """Options of the socket; returns the receive buffer's size in bytes as the kernel has it."""
    sock.setsockopt(sockets.SOL_SOCKET, 32, SEND_BUFFER)                    # SO_SNDBUFFORCE
    sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
    try:
        sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    except OSError:
        pass                        # Errors then echo our message: longer, nothing else.
    sock.connect((0, 0))            # From now on only the kernel is heard.
    return _size_receive_buffer(sock, length, copy_bytes)


def _size_receive_buffer(sock, length: int, copy_bytes: int) -> int:
    wanted = length * (min(copy_bytes, COPY_LIMIT) + TRUESIZE_EXTRA)
    sock.setsockopt(sockets.SOL_SOCKET, 33, min(wanted, 0x3FFFFFFF))        # SO_RCVBUFFORCE
    return sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF)


def size_receive_buffer(fd: int, *, length: int, copy_bytes: int) -> int:
    """Make room for `length` packets of `copy_bytes`, so that the queue is full before its socket is.

    Returns the buffer's size in bytes as the kernel has it.  May be called while the loop runs.
    """
    with sockets.socket(fileno=os.dup(fd)) as sock:
        return _size_receive_buffer(sock, length, copy_bytes)


def configure_queue(fd: int, queue: int, *, length: int, copy_bytes: int, fail_open: bool, error_verdict: int) -> dict:
    """Set up a bound queue; returns what the kernel accepted.

    `length` packets at most are queued (1 or more), `copy_bytes` of each are handed over.  Packets
    met meanwhile get `error_verdict`.  Raises KernelError when the queue is not ours to configure.
    """
    if length < 1:
        raise ValueError("a queue of length 0 drops everything")
    copy_bytes = min(copy_bytes, COPY_LIMIT)
    with sockets.socket(fileno=os.dup(fd)) as sock:
        buffer_bytes = _prepare(sock, length, copy_bytes)
    asking = _Configurator(fd, queue, error_verdict)
    for item, value, what in ((CONFIG_COPY, copy_bytes, "copy range"), (CONFIG_LENGTH, length, "length")):
        error = asking.ask(item, value)
        if error:
            raise queue_error(queue, error, f"setting the {what}")
    accepted = {}
    for name, flag in FLAG_NAMES.items():
        wanted = fail_open if name == "fail_open" else True
        error = asking.ask(CONFIG_FLAGS, (<uint64_t>flag << 32) | (flag if wanted else 0))
        if error in (errors.EPERM, errors.ENODEV):
            raise queue_error(queue, error, f"setting {name}")
        accepted[name] = not error and wanted
    return {"flags": accepted, "receive_buffer": buffer_bytes, "decided": asking.n_decided,
            "copy_bytes": copy_bytes, "length": length}


def queue_error(queue: int, error: int, doing: str) -> KernelError:
    """The KernelError for an errno, with its usual cause."""
    causes = {
        errors.EPERM: (f"queue {queue} is taken by another program", "or CAP_NET_ADMIN is missing"),
        errors.EBUSY: (f"queue {queue} is taken by another program", ""),
        errors.ENODEV: (f"queue {queue} is not bound", ""),
        errors.ETIMEDOUT: (f"queue {queue}: the kernel does not answer", "is nfnetlink_queue loaded?"),
    }
    message, hint = causes.get(error, (f"queue {queue}: {os.strerror(error)}", ""))
    return KernelError(f"{message} ({doing})", hint=hint)
