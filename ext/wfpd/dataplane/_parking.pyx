"""The parking queue.

Problem: a packet that has to wait (for a callout that answers later) may not stay in its packet
queue, because no batch may run past it there.  So its verdict is NF_QUEUE: the kernel puts it into
the parking queue, where it has an id of its own, and the packet queue goes on.

The kernel does not say which packet of the parking queue was which before.  It moves the packet
while the worker's send() runs, with its bytes unchanged, so an arrival belongs to the oldest ticket
of the same packet; packets that are equal in all we compare are one packet to their callout too.
A ticket is taken before the verdict is sent, hence an arrival without one is not ours: on_error.
A ticket whose batch was seen to be over, and whose packet is still not there when the socket has
been read empty after that, will never see it: the kernel lost it (its interface went away).

Single verdicts only: nothing here may decide a packet that nobody has decided.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

import os

from ._batch cimport (
    batch_account, batch_arrival, batch_outcome, batch_pin, batch_receive, batch_unpin, clock_monotonic, wfpd_read,
    wfpd_read32, worker_create, worker_free,
)
from ._lock cimport wfpd_lock, wfpd_unlock
from ._netlink cimport MESSAGE_VERDICT, Outcome, VERDICT_BYTES, verdicts_add
from ._parse cimport PARSE_WHOLE_LENGTH_KNOWN, parse_packet
from ._socket cimport POLLIN, poll, pollfd, verdicts_send
from ._types cimport *

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* bytes, size_t size) noexcept

cdef enum:
    ARRIVALS = 64                   # Packets read in one turn.
    IDLE_MILLISECONDS = 250
    STOPPING_MILLISECONDS = 10
    QUIET_TURNS = 3                 # Without packet or ticket, before it stops.

_VERDICTS = {"permit": int(ACTION_PERMIT), "block": int(ACTION_BLOCK)}
_REPLIES = {None: 0, "none": 0, "tcp_reset": int(REPLY_TCP_RESET), "icmp_unreachable": int(REPLY_ICMP_UNREACHABLE)}


cdef bint _is_packet(const Ticket* ticket, const QueuedPacket* packet) noexcept nogil:
    cdef uint32_t n = min(ticket.n_bytes, packet.captured)
    return (ticket.state == TICKET_SENT and packet.original == ticket.packet.original
            and packet.hook == ticket.packet.hook and packet.family == ticket.packet.family
            and packet.in_interface == ticket.packet.in_interface
            and packet.out_interface == ticket.packet.out_interface
            and (n == 0 or memcmp(packet.data, ticket.bytes, n) == 0))


cdef void _send(Lot* lot, uint32_t id, const QueuedPacket* packet, const Decision* decision) noexcept nogil:
    cdef Outcome outcome
    memset(&outcome, 0, sizeof(outcome))
    batch_outcome(&lot.worker, packet, decision, &outcome)
    outcome.id = id
    verdicts_add(&lot.worker.verdicts, MESSAGE_VERDICT, &outcome)


cdef void _decide_stray(Lot* lot, const QueuedPacket* packet) noexcept nogil:
    """A packet that no worker of ours has sent here."""
    cdef Decision decision
    cdef uint8_t none = 0
    memset(&decision, 0, sizeof(decision))
    decision.verdict = ACTION_BLOCK if lot.worker.published.policy.on_error == WORD_BLOCK else ACTION_PERMIT
    decision.reason = REASON_ERROR
    decision.filter = decision.callout = NO_FILTER
    decision.slot = NO_SLOT
    lot.worker.queue.strays += 1
    lot.worker.trace.n_rows = 0
    parse_packet(packet.data if packet.data != NULL else &none, packet.captured, packet.original,
                 PARSE_WHOLE_LENGTH_KNOWN, &lot.worker.visitor.view)
    batch_account(&lot.worker, packet, &decision, lot.worker.published.policy.generation)
    _send(lot, packet.id, packet, &decision)


cdef void _arrive(Lot* lot, const QueuedPacket* packet) noexcept nogil:
    cdef Ticket* found = NULL
    cdef uint32_t i
    for i in range(lot.capacity):
        if _is_packet(&lot.tickets[i], packet) and (found == NULL or lot.tickets[i].epoch < found.epoch):
            found = &lot.tickets[i]
    if found == NULL:
        _decide_stray(lot, packet)
        return
    found.state = TICKET_PARKED
    found.parked_id = packet.id


cdef void _release(Lot* lot, Ticket* ticket) noexcept nogil:
    ticket.state = TICKET_FREE
    lot.used -= 1


cdef void _conclude(Lot* lot, Ticket* ticket) noexcept nogil:
    """The packet is here and decided."""
    cdef QueuedPacket packet = ticket.packet
    packet.data = ticket.bytes
    packet.captured = ticket.n_bytes
    parse_packet(packet.data, packet.captured, packet.original, PARSE_WHOLE_LENGTH_KNOWN, &lot.worker.visitor.view)
    lot.worker.trace.n_rows = ticket.n_rows
    memcpy(lot.worker.trace.rows, ticket.rows, ticket.n_rows * sizeof(TraceRow))
    if ticket.decision.reason == REASON_LATE:
        lot.worker.queue.late += 1
    else:
        lot.completed += 1
    batch_account(&lot.worker, &packet, &ticket.decision, ticket.generation)
    _send(lot, ticket.parked_id, &packet, &ticket.decision)
    _release(lot, ticket)


cdef void _look(Lot* lot, Ticket* ticket, uint64_t now, bint stopping, bint read_empty) noexcept nogil:
    cdef uint64_t due = ticket.received_ns + lot.worker.shared.late_after_ns
    if not ticket.decided and (stopping or now > due):
        ticket.decided = 1
        ticket.decision.reason = REASON_LATE
        ticket.decision.verdict = (ACTION_BLOCK if lot.worker.published.policy.on_late == WORD_BLOCK
                                   else ACTION_PERMIT)
        ticket.decision.reply = REPLY_NONE
    if ticket.state == TICKET_SENT and ticket.batch_over and read_empty:
        lot.lost += 1
        _release(lot, ticket)
    elif ticket.state == TICKET_SENT and wfpd_read(ticket.batch) != ticket.batch_epoch:
        ticket.batch_over = 1
        lot.due_ns = now
    elif ticket.state == TICKET_PARKED and ticket.decided:
        _conclude(lot, ticket)
    elif not ticket.decided:
        lot.due_ns = min(lot.due_ns, due)


cdef void _count_gap(Worker* worker, uint32_t id) noexcept nogil:
    if worker.queue.ids.started:
        worker.queue.ids.gaps += id - worker.queue.ids.decided_through - 1
    worker.queue.ids.started = 1
    worker.queue.ids.decided_through = id


cdef int lot_turn(Lot* lot, bint stopping) noexcept nogil:
    cdef Worker* worker = &lot.worker
    cdef int n = batch_receive(worker, worker.queues[0]), status
    cdef uint32_t i
    cdef uint64_t now = clock_monotonic()
    if n < 0:
        return n
    if n == 0:
        batch_pin(worker)
        worker.queue = worker.queues[0]
        worker.n = 0
        worker.received_ns = now
        worker.received_real_ns = 0
    worker.verdicts.queue = worker.queue.number
    lot.due_ns = UINT64_MAX
    wfpd_lock(&lot.lock)
    for i in range(worker.n):
        _count_gap(worker, worker.packets[i].id)
        _arrive(lot, &worker.packets[i])
    if lot.used:
        for i in range(lot.capacity):
            if lot.tickets[i].state != TICKET_FREE:
                _look(lot, &lot.tickets[i], now, stopping, n == 0)
    wfpd_unlock(&lot.lock)
    status = verdicts_send(&worker.verdicts, worker.queue.fd)
    batch_unpin(worker)
    return status if status else n


cdef int _wait(Lot* lot, int stop_read, bint stopping) noexcept nogil:
    cdef pollfd fds[3]
    cdef uint8_t taken[64]
    cdef uint64_t now = clock_monotonic()
    cdef int milliseconds = STOPPING_MILLISECONDS if stopping else IDLE_MILLISECONDS, n
    if lot.due_ns < now + <uint64_t>milliseconds * 1000000:
        milliseconds = 1 + <int>((lot.due_ns - now) // 1000000) if lot.due_ns > now else 1
    fds[0].fd, fds[1].fd, fds[2].fd = lot.worker.queues[0].fd, lot.wake_read, stop_read
    fds[0].events = fds[1].events = fds[2].events = POLLIN
    n = poll(fds, 2 if stopping else 3, milliseconds)     # The stop pipe stays readable.
    if n > 0 and fds[1].revents:
        read(lot.wake_read, taken, sizeof(taken))
    return -errno if n < 0 and errno != EINTR else 0


cdef int lot_serve(Lot* lot, const uint64_t* stop_at_ns, int stop_read, const uint32_t* n_serving) noexcept nogil:
    cdef int n, status, quiet = 0
    cdef bint stopping, last
    while quiet < QUIET_TURNS:
        stopping = wfpd_read(stop_at_ns) != 0
        last = stopping and wfpd_read32(n_serving) == 0
        n = lot_turn(lot, stopping)
        if n < 0:
            return n
        lot.worker.progress += 1
        if last and n == 0 and lot.used == 0:
            quiet += 1
        if n == 0:
            status = _wait(lot, stop_read, stopping)
            if status:
                return status
    return 0


cdef class Parking:
    """The parking queue and its tickets; an engine has one if a policy asks for it."""

    def __cinit__(self):
        self.lot.wake_read = self.lot.wake_write = -1

    def __dealloc__(self):
        worker_free(&self.lot.worker)
        free(self.lot.tickets)
        for fd in (self.lot.wake_read, self.lot.wake_write):
            if fd >= 0:
                os.close(fd)

    cdef int open(self, Shared* shared, WorkerStats* stats, FlowTable* flows, uint32_t index,
                  uint32_t capacity, uint32_t events, uint32_t recorded) except -1:
        cdef uint32_t size = (capacity + ARRIVALS) * VERDICT_BYTES
        self.lot.capacity = capacity
        self.lot.tickets = <Ticket*>calloc(capacity, sizeof(Ticket))
        if self.lot.tickets == NULL or worker_create(&self.lot.worker, shared, stats, flows, index, ARRIVALS, events,
                                                     recorded):
            raise MemoryError
        free(self.lot.worker.verdicts.bytes)    # One turn may decide all that is parked and all that comes.
        self.lot.worker.verdicts.bytes = <uint8_t*>calloc(1, size)
        self.lot.worker.verdicts.capacity = size
        if self.lot.worker.verdicts.bytes == NULL:
            raise MemoryError
        self.lot.wake_read, self.lot.wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        return 0

    cdef ParkedPacket take(self, Worker* worker, const Decision* decision):
        cdef Lot* lot = &self.lot
        cdef Ticket* ticket
        cdef uint32_t i, place = 0
        cdef ParkedPacket handle = ParkedPacket.__new__(ParkedPacket)
        wfpd_lock(&lot.lock)
        if lot.used == lot.capacity:
            lot.refused += 1
            wfpd_unlock(&lot.lock)
            return None
        for i in range(lot.capacity):
            place = (lot.next + i) % lot.capacity
            if lot.tickets[place].state == TICKET_FREE:
                break
        ticket = &lot.tickets[place]
        lot.next = (place + 1) % lot.capacity
        lot.used += 1
        lot.epoch += 1
        _fill(ticket, worker, decision)
        ticket.epoch = lot.epoch
        lot.parked += 1
        wfpd_unlock(&lot.lock)
        handle.parking = self
        handle.place = place
        handle.queue = worker.queue.number
        handle.id = ticket.packet.id
        handle.epoch = lot.epoch
        return handle

    cdef int forget(self, ParkedPacket handle) except -1:
        cdef Ticket* ticket = &self.lot.tickets[handle.place]
        wfpd_lock(&self.lot.lock)
        if ticket.state == TICKET_SENT and ticket.epoch == handle.epoch:
            self.lot.parked -= 1
            _release(&self.lot, ticket)
        wfpd_unlock(&self.lot.lock)
        return 0

    def counters(self) -> dict:
        """What is parked now, and what became of the rest."""
        return {"waiting": self.lot.used, "capacity": self.lot.capacity, "parked": self.lot.parked,
                "completed": self.lot.completed, "late": self.lot.worker.queue.late, "lost": self.lot.lost,
                "refused": self.lot.refused}


cdef void _fill(Ticket* ticket, Worker* worker, const Decision* decision) noexcept nogil:
    cdef const QueuedPacket* packet = &worker.packets[worker.next]
    memset(ticket, 0, sizeof(Ticket))
    ticket.state = TICKET_SENT
    ticket.received_ns = worker.received_ns
    ticket.generation = worker.published.policy.generation
    ticket.batch = &worker.epoch
    ticket.batch_epoch = worker.epoch
    ticket.packet = packet[0]
    ticket.packet.data = NULL
    ticket.packet.timestamp_ns = batch_arrival(worker, packet)
    ticket.decision = decision[0]
    ticket.n_bytes = min(packet.captured, <uint32_t>RECORD_BYTES) if packet.data != NULL else 0
    memcpy(ticket.bytes, packet.data if packet.data != NULL else ticket.bytes, ticket.n_bytes)
    if worker.visitor.trace != NULL:
        ticket.n_rows = min(worker.trace.n_rows, <uint32_t>RECORD_ROWS)
        memcpy(ticket.rows, worker.trace.rows, ticket.n_rows * sizeof(TraceRow))


cdef class ParkedPacket:
    """A parked packet: the queue it came from, its id there, and an epoch that no other packet has.

    May be kept and completed by any thread; of no use once the packet has a verdict.
    """

    def __init__(self):
        raise TypeError("a parked packet comes from a callout's pend()")

    def __repr__(self):
        return f"<parked packet {self.id} of queue {self.queue}, epoch {self.epoch}>"

    def complete(self, verdict, *, reply=None) -> bool:
        """Decide the packet: 'permit', or 'block' with the reply that the kernel gives.

        False when it is decided already: by an earlier call, or because it was late.  Raises
        ValueError for other words.
        """
        cdef Ticket* ticket = &self.parking.lot.tickets[self.place]
        cdef uint8_t action, answer
        cdef bint done
        if verdict not in _VERDICTS or reply not in _REPLIES or (verdict == "permit" and _REPLIES[reply]):
            raise ValueError(f"complete({verdict!r}, reply={reply!r}): permit or block; a reply goes with a block")
        action, answer = _VERDICTS[verdict], _REPLIES[reply]
        wfpd_lock(&self.parking.lot.lock)
        done = ticket.epoch == self.epoch and ticket.state != TICKET_FREE and not ticket.decided
        if done:
            ticket.decided = 1
            ticket.decision.verdict = action
            ticket.decision.reply = answer
            ticket.decision.reason = REASON_CALLOUT
        wfpd_unlock(&self.parking.lot.lock)
        if done:
            try:
                os.write(self.parking.lot.wake_write, b"x")
            except BlockingIOError:
                pass                # It is awake already.
        return done
