"""A TCP conversation of a test: two ends that send segments and, once more, what was dropped, and join what arrives."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

from wfpd.imagined import Imagined, flag_bits
from wfpd.testing.results import Call, PacketResult

_TCP = 6
_MODULO = 1 << 32


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; a SYN's is at -1, the first byte at 0."""

    at: int
    data: bytes
    flags: str


@dataclass(slots=True)
class End:
    """One of the two."""

    address: str
    port: int
    initial: int
    """The SYN's sequence number."""
    next_at: int = 0
    waiting: list[tuple[Segment, PacketResult]] = field(default_factory=list)
    """Sent and dropped without an answer."""
    _arrived: dict[int, bytes] = field(default_factory=dict)

    @property
    def received(self) -> bytes:
        """The bytes that have arrived, up to the first that is missing."""
        found = bytearray()
        for at, data in sorted(self._arrived.items()):
            if at > len(found):
                break
            found += data[len(found) - at :]
        return bytes(found)

    def arrive(self, at: int, data: bytes) -> None:
        """A segment has passed."""
        if data and len(data) > len(self._arrived.get(at, b"")):
            self._arrived[at] = data


class Conversation:
    """One connection.  `decide` is asked about each packet.

    An end acknowledges what it has received, and sends what was dropped without an answer again after each packet that
    passed.  A reset ends the conversation for both.
    """

    def __init__(
        self, decide: Callable[[bytes], PacketResult], client: tuple[str, int], server: tuple[str, int],
        initial: tuple[int, int] = (1000, 9000),
    ) -> None:  # fmt: skip
        """`client` and `server` are address and port."""
        self._decide = decide
        self._client = End(*client, initial[0])
        self._server = End(*server, initial[1])
        self.packets: list[PacketResult] = []
        """Of every packet, sent again or not."""
        self.reset = False
        """An end got a reset."""
        self.is_open = False
        self._refused = False

    # --- what the ends do

    def open(self) -> bool:
        """The handshake; whether it went through."""
        for end, flags in ((self._client, "syn"), (self._server, "syn,ack")):
            if self._transmit(end, Segment(-1, b"", flags)).verdict == "block":
                self._refused = True
                return False
        self.is_open = self._transmit(self._client, Segment(0, b"", "ack")).verdict == "permit"
        return self.is_open

    def client(self, data: bytes, *, at: int | None = None, flags: str = "psh,ack") -> PacketResult:
        """The client sends a segment, `at`: not behind its last byte.  ConnectionResetError after a reset."""
        return self._send(self._client, data, at, flags)

    def server(self, data: bytes, *, at: int | None = None, flags: str = "psh,ack") -> PacketResult:
        """The server does."""
        return self._send(self._server, data, at, flags)

    def close(self) -> None:
        """Both ends send a FIN, the client first."""
        for end in (self._client, self._server):
            if not self.over:
                self._send(end, b"", None, "fin,ack")
                end.next_at += 1
        self.is_open = False

    # --- what has come of it

    @property
    def client_received(self) -> bytes:
        """What the server has sent and the client has got."""
        return self._client.received

    @property
    def server_received(self) -> bytes:
        """What the client has sent and the server has got."""
        return self._server.received

    @property
    def over(self) -> bool:
        """Nothing can be sent any more."""
        return self.reset or self._refused

    @property
    def verdict(self) -> str:
        """block: refused, reset, or data blocked by a filter; held: data still wait for a decision; else permit."""
        if self.over:
            return "block"
        waiting = [result for end in (self._client, self._server) for _, result in end.waiting]
        if any(result.filter is not None for result in waiting):
            return "block"
        return "held" if waiting else "permit"

    @property
    def calls(self) -> tuple[Call, ...]:
        """Callouts that were asked, in order."""
        return tuple(call for one in self.packets for call in one.calls)

    @property
    def explain(self) -> str:
        """A line for each packet, and why the last one was decided."""
        return "".join(f"{one}\n" for one in self.packets) + (f"\n{self.packets[-1].explain}" if self.packets else "")

    # --- parts

    def _send(self, end: End, data: bytes, at: int | None, flags: str) -> PacketResult:
        if self.over:
            raise ConnectionResetError("the connection was reset" if self.reset else "the connection was refused")
        segment = Segment(end.next_at if at is None else at, data, flags)
        end.next_at = max(end.next_at, segment.at + len(data))
        found = self._transmit(end, segment)
        passed = self._send_again()  # Those before it, which this one may have decided.
        if found.verdict == "block" and not self.reset:
            end.waiting.append((segment, found))
        while passed:
            passed = self._send_again()
        return found

    def _send_again(self) -> bool:
        """Each segment that waits, once; whether one has passed."""
        passed = False
        for end in (self._client, self._server):
            before, end.waiting = end.waiting, []
            for segment, _ in before:
                if self.reset:
                    return False
                found = self._transmit(end, segment)
                passed = passed or found.verdict == "permit"
                if found.verdict == "block":
                    end.waiting.append((segment, found))
        return passed and not self.reset

    def _transmit(self, end: End, segment: Segment) -> PacketResult:
        other = self._server if end is self._client else self._client
        flags = flag_bits(segment.flags)
        acknowledged = (other.initial + 1 + len(end.received)) % _MODULO if flags & flag_bits("ack") else 0
        packet = Imagined(
            _TCP, ipaddress.ip_address(end.address), ipaddress.ip_address(other.address), end.port, other.port,
            flags=flags, content=segment.data, sequence=(end.initial + 1 + segment.at) % _MODULO,
            acknowledged=acknowledged,
        )  # fmt: skip
        found = self._decide(packet.data())
        self.packets.append(found)
        if found.packet is not None:
            other.arrive(segment.at, tcp_data(found.packet))
        elif found.reply == "tcp_reset":
            self.reset = True
        return found


def tcp_data(packet: bytes) -> bytes:
    """What follows the TCP header of an IP packet without extension headers."""
    head = 40 if packet[0] >> 4 == 6 else (packet[0] & 15) * 4
    return packet[head + (packet[head + 12] >> 4) * 4 :]
