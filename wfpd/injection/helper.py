"""The helper: a process with CAP_NET_RAW of its own that sends what the daemon orders, and nothing else.

`python -m wfpd.injection.helper FD` serves one connected socket, as a child of the daemon; without FD it serves the
listening socket that systemd hands over (wfpd-inject.socket), and ends when nobody has been connected for a
while.  It trusts nothing it reads: what is no order with one whole packet is counted and left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys

from wfpd.injection import wire

IPV6_HDRINCL = 36
"""linux/in6.h; Python has no name for it."""
SO_MARK: int = socket.SO_MARK
BURST = 64
"""Messages between two reports."""
IDLE_SECONDS = 30.0
FIRST_FD = 3
"""SD_LISTEN_FDS_START."""
CAPABILITY_VERSION_3, CAP_NET_RAW, PR_SET_NO_NEW_PRIVS = 0x20080522, 13, 38
"""linux/capability.h, linux/prctl.h."""
_RESULT_OF = {
    errno.EMSGSIZE: "too_long",
    errno.ENETUNREACH: "no_route", errno.EHOSTUNREACH: "no_route", errno.ENETDOWN: "no_route", errno.ENODEV: "no_route",
    errno.EPERM: "refused", errno.EACCES: "refused",
    errno.ENOBUFS: "no_buffers", errno.EAGAIN: "no_buffers", errno.ENOMEM: "no_buffers",
}  # fmt: skip


class RawSockets:
    """Raw sockets, which send IP packets with a header of our own."""

    def __init__(self) -> None:
        """OSError without CAP_NET_RAW.  A kernel without IPv6 has IPv4 alone."""
        self._marks: dict[socket.socket, int] = {}
        self._sockets: dict[tuple[int, bool], socket.socket] = {}
        """By IP version, and whether packets are for this host only."""
        try:
            self._sockets[4, False] = _opened(socket.AF_INET)
            self._sockets[4, True] = _opened(socket.AF_INET)
            self._sockets[4, True].setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            self._sockets[6, False] = self._sockets[6, True] = _opened(socket.AF_INET6)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                self.close()
                raise

    def send(self, order: wire.Order) -> str:
        """What became of it, one of wire.RESULTS."""
        packet = order.packet
        family = packet[0] >> 4
        try:
            sock = self._marked(family, order)
            if family == 4:
                sock.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            else:
                address = socket.inet_ntop(socket.AF_INET6, packet[24:40])
                if order.local and not _is_here(address, order.interface):
                    return "no_route"
                sock.sendto(packet, (address, 0, 0, order.interface))
        except KeyError:
            return "no_route"
        except OSError as error:
            return _RESULT_OF.get(error.errno or 0, "error")
        return "sent"

    def _marked(self, family: int, order: wire.Order) -> socket.socket:
        sock = self._sockets[family, order.local]
        if self._marks.get(sock) != order.mark:
            self._marks.pop(sock, None)
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", order.mark))  # A number would be signed.
            self._marks[sock] = order.mark
        return sock

    def close(self) -> None:
        """Let go of all."""
        for sock in self._sockets.values():
            sock.close()


def _is_here(address: str, interface: int) -> bool:
    """Whether this host has an IPv6 address: only then can it be bound.  Unlike IPv4 there is no way to it by `lo`."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0, 0, interface))
        except OSError:
            return False
    return True


def _opened(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # Such sockets receive nothing.
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
    return sock


class Service:
    """Serves one daemon."""

    def __init__(self, daemon: socket.socket, raw: RawSockets | None, error: int = 0) -> None:
        """`raw` is None where it could not be opened, and `error` says why."""
        self._daemon, self._raw = daemon, raw
        self.counts = dict.fromkeys(wire.RESULTS, 0)
        self._daemon.setblocking(True)
        self._daemon.send(wire.hello(error))

    def run(self) -> None:
        """Until the daemon hangs up."""
        while self._raw is not None and self._burst():
            self._report()

    def _burst(self) -> bool:
        """Wait for a message, take what else is there; False: the daemon has hung up."""
        flags = 0
        for _ in range(BURST):
            try:
                message, _, how, _ = self._daemon.recvmsg(wire.HEADER.size + wire.MOST, 0, flags)
            except BlockingIOError:
                break
            except ConnectionError:
                return False
            if not message:
                return False
            self.counts["invalid" if how & socket.MSG_TRUNC else self.serve(message)] += 1
            flags = socket.MSG_DONTWAIT
        return True

    def serve(self, message: bytes) -> str:
        """Do what one message says; its result."""
        assert self._raw is not None
        try:
            return self._raw.send(wire.decode(message))
        except ValueError:
            return "invalid"

    def _report(self) -> None:
        try:
            self._daemon.send(wire.COUNTS.pack(*self.counts.values()), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return  # The next one has these too; a daemon that is gone is seen when its socket is read.


def serve(daemon: socket.socket) -> None:
    """One connection, to its end."""
    raw, error = None, 0
    with daemon:
        try:
            raw = RawSockets()
        except OSError as refused:
            error = refused.errno or errno.EPERM
        try:
            Service(daemon, raw, error).run()
        except ConnectionError:
            return  # The daemon did not wait for the hello.
        finally:
            if raw is not None:
                raw.close()


def drop_capabilities() -> None:
    """Keep CAP_NET_RAW of whatever the daemon has handed down.  OSError without it."""
    # Here, because its import makes a callback, which MemoryDenyWriteExecute may refuse the unit.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    wanted = struct.pack("=6I", 1 << CAP_NET_RAW, 1 << CAP_NET_RAW, 0, 0, 0, 0)  # Effective, permitted, inheritable.
    if libc.capset(header, wanted) != 0 or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def _listen(listener: socket.socket) -> None:
    """One daemon after the other; back when none has come for IDLE_SECONDS."""
    listener.settimeout(IDLE_SECONDS)
    while True:
        try:
            daemon, _ = listener.accept()
        except TimeoutError:
            return
        serve(daemon)


def main(arguments: list[str] | None = None) -> int:
    """The process's whole life."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        with contextlib.suppress(Exception):
            drop_capabilities()  # Who has not got it, or may not import ctypes, cannot open raw sockets and says so.
        serve(socket.socket(fileno=int(arguments[0])))
        return 0
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        print("wfpd-inject: it is started by wfpd, or by systemd for wfpd-inject.socket", file=sys.stderr)
        return 2
    with socket.socket(fileno=FIRST_FD) as listener:
        _listen(listener)
    return 0


if __name__ == "__main__":
    sys.exit(main())
