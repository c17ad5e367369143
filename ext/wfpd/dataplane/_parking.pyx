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

A packet whose callout has answered is visited again from the start, by the thread of the queue and the
policy that runs then, on the copy that its ticket keeps: the callouts that were asked before are not
asked again (_visit, Resume), so that the visit goes on where it has stopped.  What they have made of
the packet is made of it again, each at its place; the kernel's copy stays as it came until the verdict.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

import os

from wfpd.model.layers import BY_SLOT

from ._arbitrate cimport ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, CalloutAnswer
from ._batch cimport (
    batch_account, batch_arrival, batch_outcome, batch_pin, batch_receive, batch_unpin, clock_monotonic, wfpd_read,
    wfpd_read32, worker_create, worker_free,
)
from ._flow cimport flow_is, flow_not_made
from ._lock cimport wfpd_lock, wfpd_unlock
from ._netlink cimport MESSAGE_VERDICT, NF_ACCEPT, Outcome, VERDICT_BYTES, verdicts_add
from ._parse cimport PARSE_WHOLE_LENGTH_KNOWN, parse_packet
from ._part cimport Part
from ._policy cimport FilterBrief
from ._socket cimport POLLIN, poll, pollfd, verdicts_send
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport GivenAnswer

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* bytes, size_t size) noexcept

cdef enum:
    ARRIVALS = 64                   # Packets read in one turn.
    IDLE_MILLISECONDS = 250
    STOPPING_MILLISECONDS = 10
    QUIET_TURNS = 3                 # Without packet or ticket, before it stops.
    AT_ONCE = 32                    # Verdicts of late packets in one send.

_KINDS = {None: int(ANSWER_CONTINUE), "continue": int(ANSWER_CONTINUE), "permit": int(ANSWER_PERMIT),
          "block": int(ANSWER_BLOCK)}
_REPLIES = {None: 0, "none": 0, "tcp_reset": int(REPLY_TCP_RESET), "icmp_unreachable": int(REPLY_ICMP_UNREACHABLE)}


cdef bint _is_packet(const Ticket* ticket, const QueuedPacket* packet) noexcept nogil:
    cdef uint32_t n = min(ticket.packet.captured, packet.captured)
    return (ticket.state == TICKET_SENT and packet.original == ticket.packet.original
            and packet.hook == ticket.packet.hook and packet.family == ticket.packet.family
            and packet.in_interface == ticket.packet.in_interface
            and packet.out_interface == ticket.packet.out_interface
            and packet.physical_in == ticket.packet.physical_in
            and packet.physical_out == ticket.packet.physical_out
            and (packet.mark if packet.has_mark else 0) == (ticket.packet.mark if ticket.packet.has_mark else 0)
            and (n == 0 or memcmp(packet.data, ticket.packet.data, n) == 0))


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


cdef inline bint _was_sent_before(const Ticket* ticket, const Ticket* other) noexcept nogil:
    """A packet whose call goes on has not been sent yet: the one that comes is more likely another one like it."""
    if ticket.calling != other.calling:
        return other.calling
    return ticket.epoch < other.epoch


cdef void _arrive(Lot* lot, const QueuedPacket* packet) noexcept nogil:
    cdef Ticket* found = NULL
    cdef uint32_t i
    for i in range(lot.capacity):
        if _is_packet(&lot.tickets[i], packet) and (found == NULL or _was_sent_before(&lot.tickets[i], found)):
            found = &lot.tickets[i]
    if found == NULL:
        _decide_stray(lot, packet)
        return
    found.state = TICKET_PARKED
    found.parked_id = packet.id


cdef void _release(Lot* lot, Ticket* ticket) noexcept nogil:
    ticket.state = TICKET_FREE
    lot.used -= 1
    lot.bytes -= ticket.held
    free(<void*>ticket.packet.data)
    ticket.packet.data = NULL
    if ticket.resume.provisional:   # The packet has made no flow.
        flow_not_made(lot.worker.visitor.flows, ticket.resume.flow_id)
    ticket.resume = NULL


cdef void _conclude(Lot* lot, Ticket* ticket) noexcept nogil:
    """The packet is here and too late."""
    parse_packet(ticket.packet.data, ticket.packet.captured, ticket.packet.original, PARSE_WHOLE_LENGTH_KNOWN,
                 &lot.worker.visitor.view)
    lot.worker.trace.n_rows = ticket.n_rows
    memcpy(lot.worker.trace.rows, ticket.rows, ticket.n_rows * sizeof(TraceRow))
    lot.worker.queue.late += 1
    batch_account(&lot.worker, &ticket.packet, &ticket.decision, ticket.generation)
    if not ticket.given:
        _send(lot, ticket.parked_id, &ticket.packet, &ticket.decision)
    _release(lot, ticket)


cdef void _is_late(Lot* lot, Ticket* ticket) noexcept nogil:
    ticket.decided = TICKET_LATE
    ticket.decision.reason = REASON_LATE
    ticket.decision.verdict = (ACTION_BLOCK if lot.worker.published.policy.on_late == WORD_BLOCK else ACTION_PERMIT)
    ticket.decision.reply = REPLY_NONE


cdef void _look(Lot* lot, Ticket* ticket, uint64_t now, bint stopping, bint read_empty) noexcept nogil:
    cdef uint64_t due = ticket.received_ns + lot.worker.shared.late_after_ns
    if ticket.decided == TICKET_WAITS and (stopping or now > due):
        _is_late(lot, ticket)
    if ticket.state == TICKET_SENT and ticket.batch_over and read_empty:
        lot.lost += 1
        _release(lot, ticket)
    elif ticket.state == TICKET_SENT and wfpd_read(ticket.batch) != ticket.batch_epoch:
        ticket.batch_over = 1
        lot.due_ns = now
    elif ticket.state == TICKET_PARKED and ticket.decided == TICKET_LATE:
        _conclude(lot, ticket)
    elif ticket.state == TICKET_PARKED and ticket.decided == TICKET_COMPLETED:
        lot.n_ready += 1
    elif ticket.decided == TICKET_WAITS:
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
    lot.n_ready = 0
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
    cdef int n, status
    cdef bint stopping, last
    while lot.quiet < QUIET_TURNS:
        stopping = wfpd_read(stop_at_ns) != 0
        last = stopping and wfpd_read32(n_serving) == 0
        n = lot_turn(lot, stopping)
        if n < 0:
            return n
        lot.worker.progress += 1
        if lot.n_ready:
            return 1
        if last and n == 0 and lot.used == 0:
            lot.quiet += 1
        if n == 0:
            status = _wait(lot, stop_read, stopping)
            if status:
                return status
    return 0


cdef Ticket* lot_begin(Lot* lot) noexcept nogil:
    cdef Worker* worker = &lot.worker
    cdef Ticket* found = NULL
    cdef Ticket* ticket
    cdef uint32_t i
    wfpd_lock(&lot.lock)
    for i in range(lot.capacity):
        ticket = &lot.tickets[i]
        if (ticket.state == TICKET_PARKED and ticket.decided == TICKET_COMPLETED
                and (found == NULL or ticket.epoch < found.epoch)):
            found = ticket
    if found != NULL:
        found.state = TICKET_VISITED
    lot.visited = found
    lot.again = 0
    wfpd_unlock(&lot.lock)
    if found == NULL:
        return NULL
    batch_pin(worker)
    worker.queue = worker.queues[0]
    worker.n = 1
    worker.next = worker.flushed = worker.prepared = 0
    worker.packets[0] = found.packet
    memset(&worker.outcomes[0], 0, sizeof(Outcome))
    worker.outcomes[0].id = found.parked_id
    worker.decided[0] = 0
    worker.received_ns = found.received_ns
    worker.received_real_ns = 0
    worker.resumed_ns = clock_monotonic()
    worker.visitor.resume = found.resume
    worker.verdicts.queue = worker.late_verdicts.queue = worker.queue.number
    return found


cdef void lot_end(Lot* lot) noexcept nogil:
    cdef Ticket* ticket = lot.visited
    cdef Visitor* visitor = &lot.worker.visitor
    wfpd_lock(&lot.lock)
    lot.visited = NULL
    lot.worker.n = 0
    lot.worker.resumed_ns = 0
    visitor.resume = NULL
    if lot.again:
        ticket.state = TICKET_PARKED
        lot.repeated += 1
    else:
        lot.completed += visitor.decision.reason != REASON_LATE
        if visitor.tracked and flow_is(visitor.flows, &visitor.key, visitor.flow_hash, ticket.resume.flow_id):
            ticket.resume.provisional = 0
        _release(lot, ticket)
    wfpd_unlock(&lot.lock)


cdef uint32_t lot_enforce_late(Lot* lot, uint64_t now_ns) noexcept nogil:
    cdef Worker* worker = &lot.worker
    cdef Ticket* ticket
    cdef Outcome outcome
    cdef uint32_t i, n = 0
    wfpd_lock(&worker.lock)         # While it is held its policy is pinned, and nobody else sends.
    if worker.held:
        wfpd_lock(&lot.lock)
        for i in range(lot.capacity):
            ticket = &lot.tickets[i]
            if (ticket.state != TICKET_PARKED or ticket.given
                    or now_ns <= ticket.received_ns + worker.shared.late_after_ns):
                continue
            _is_late(lot, ticket)
            if ticket.blocked:
                ticket.decision.verdict = ACTION_BLOCK
            ticket.given = 1
            memset(&outcome, 0, sizeof(outcome))
            if worker.published.policy.audit:
                outcome.verdict = NF_ACCEPT
            else:
                batch_outcome(worker, &ticket.packet, &ticket.decision, &outcome)
            outcome.id = ticket.parked_id
            verdicts_add(&worker.late_verdicts, MESSAGE_VERDICT, &outcome)
            n += 1
            if n % AT_ONCE == 0:
                verdicts_send(&worker.late_verdicts, worker.queue.fd)
        wfpd_unlock(&lot.lock)
        verdicts_send(&worker.late_verdicts, worker.queue.fd)
    wfpd_unlock(&worker.lock)
    return n


cdef class Parking:
    """The parking queue and its tickets; an engine has one if a policy asks for it."""

    def __cinit__(self):
        self.lot.wake_read = self.lot.wake_write = -1
        self.joined = {}

    def __dealloc__(self):
        cdef uint32_t i
        worker_free(&self.lot.worker)
        for i in range(self.lot.capacity if self.lot.tickets != NULL else 0):
            free(<void*>self.lot.tickets[i].packet.data)
        free(self.lot.tickets)
        for fd in (self.lot.wake_read, self.lot.wake_write):
            if fd >= 0:
                os.close(fd)

    cdef int open(self, Shared* shared, WorkerStats* stats, FlowTable* flows, uint32_t index,
                  uint32_t capacity, uint64_t most_bytes, uint32_t events, uint32_t recorded) except -1:
        cdef uint32_t size = (capacity + ARRIVALS) * VERDICT_BYTES
        self.lot.capacity = capacity
        self.lot.most_bytes = most_bytes
        self.handles = [None] * capacity
        self.lot.tickets = <Ticket*>calloc(capacity, sizeof(Ticket))
        if self.lot.tickets == NULL or worker_create(&self.lot.worker, shared, stats, flows, index, ARRIVALS, events,
                                                     recorded):
            raise MemoryError
        self.lot.worker.visitor.edit.keeps = 1
        free(self.lot.worker.verdicts.bytes)    # One turn may decide all that is parked and all that comes.
        self.lot.worker.verdicts.bytes = <uint8_t*>calloc(1, size)
        self.lot.worker.verdicts.capacity = size
        if self.lot.worker.verdicts.bytes == NULL:
            raise MemoryError
        self.lot.wake_read, self.lot.wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        return 0

    cdef bint take(self, ParkedPacket handle, Worker* worker, const Decision* decision) except -1:
        cdef Lot* lot = &self.lot
        cdef Ticket* ticket
        cdef uint32_t edited = _n_edited(&handle.resume)
        wfpd_lock(&lot.lock)
        if lot.visited != NULL and worker == &lot.worker:
            ticket = lot.visited
            if not _hold(lot, ticket, edited):
                ticket = NULL
            else:
                lot.again = 1
                ticket.decided = TICKET_WAITS
                _note(ticket, worker, decision)
        else:
            ticket = _new_ticket(lot, worker, decision, edited)
        if ticket == NULL:
            lot.refused += 1
            wfpd_unlock(&lot.lock)
            return False
        lot.epoch += 1
        ticket.epoch = lot.epoch
        ticket.blocked = 0
        ticket.resume = &handle.resume
        handle.parking = self
        handle.place = <uint32_t>(ticket - lot.tickets)
        handle.queue = ticket.queue
        handle.id = ticket.packet.id
        handle.epoch = ticket.epoch
        wfpd_unlock(&lot.lock)
        before, self.handles[handle.place] = self.handles[handle.place], handle
        if ticket == lot.visited:
            (<ParkedPacket>before).before = None
            handle.before = before  # Until its visit is over, which still reads it.
        return True

    cdef int forget(self, ParkedPacket handle) except -1:
        cdef Ticket* ticket = &self.lot.tickets[handle.place]
        wfpd_lock(&self.lot.lock)
        if ticket.epoch == handle.epoch and ticket == self.lot.visited:
            self.lot.again = 0
        elif ticket.state == TICKET_SENT and ticket.epoch == handle.epoch:
            self.lot.parked -= 1
            _release(&self.lot, ticket)
        handle.epoch = 0            # No ticket has it: what completes it meanwhile comes in vain.
        wfpd_unlock(&self.lot.lock)
        return 0

    cdef int left(self, ParkedPacket handle) except -1:
        cdef Ticket* ticket = &self.lot.tickets[handle.place]
        wfpd_lock(&self.lot.lock)
        if ticket.epoch == handle.epoch:
            ticket.calling = 0
        wfpd_unlock(&self.lot.lock)
        return 0

    cdef int tidy(self) except -1:
        cdef ParkedPacket handle
        cdef uint64_t epoch = self.lot.epoch
        cdef uint32_t i
        cdef bint left = False
        if self.tidied == epoch:
            return 0
        for i in range(self.lot.capacity):
            if self.handles[i] is None:
                continue
            if self.lot.tickets[i].state == TICKET_FREE:
                self.handles[i] = None
            else:
                left = True
        for key, handle in list(self.joined.items()):
            if not handle.open():
                self.joined.pop(key, None)
        if not left:
            self.tidied = epoch
        return 0

    def counters(self) -> dict:
        """What is parked now, and what became of the rest."""
        late = self.lot.worker.queues[0].late if self.lot.worker.n_queues else 0
        return {"waiting": self.lot.used, "capacity": self.lot.capacity, "parked": self.lot.parked,
                "again": self.lot.repeated, "completed": self.lot.completed, "late": late, "lost": self.lot.lost,
                "refused": self.lot.refused, "bytes": self.lot.bytes, "most_bytes": self.lot.most_bytes}


cdef void _note(Ticket* ticket, Worker* worker, const Decision* decision) noexcept nogil:
    """What is told of the packet if it is late."""
    ticket.generation = worker.published.policy.generation
    ticket.decision = decision[0]
    ticket.n_rows = 0
    if worker.visitor.trace != NULL:
        ticket.n_rows = min(worker.trace.n_rows, <uint32_t>RECORD_ROWS)
        memcpy(ticket.rows, worker.trace.rows, ticket.n_rows * sizeof(TraceRow))


cdef uint32_t _n_edited(const Resume* resume) noexcept nogil:
    """Bytes of what callouts have made of the packet; 16 packets at most."""
    cdef uint32_t i, n = 0
    for i in range(resume.n):
        n += resume.answers[i].n_packet
    return n


cdef bint _hold(Lot* lot, Ticket* ticket, uint32_t edited) noexcept nogil:
    """It has `edited` bytes beside its copy now; false: there is no room for them."""
    cdef uint64_t others = lot.bytes - ticket.held
    if others + ticket.packet.captured + edited > lot.most_bytes:
        return False
    ticket.held = ticket.packet.captured + edited
    lot.bytes = others + ticket.held
    return True


cdef Ticket* _new_ticket(Lot* lot, Worker* worker, const Decision* decision, uint32_t edited) noexcept nogil:
    """NULL: no place, or no room for the bytes."""
    cdef const QueuedPacket* packet = &worker.packets[worker.next]
    cdef Ticket* ticket = NULL
    cdef uint32_t i, place = 0, n = packet.captured if packet.data != NULL else 0
    cdef uint8_t* bytes
    if lot.used == lot.capacity or lot.bytes + n + edited > lot.most_bytes:
        return NULL
    bytes = <uint8_t*>malloc(n + 1)
    if bytes == NULL:
        return NULL
    for i in range(lot.capacity):
        place = (lot.next + i) % lot.capacity
        if lot.tickets[place].state == TICKET_FREE:
            break
    ticket = &lot.tickets[place]
    lot.next = (place + 1) % lot.capacity
    lot.used += 1
    lot.parked += 1
    _fill(ticket, worker, bytes, n)
    _hold(lot, ticket, edited)
    _note(ticket, worker, decision)
    return ticket


cdef void _fill(Ticket* ticket, Worker* worker, uint8_t* bytes, uint32_t n) noexcept nogil:
    cdef const QueuedPacket* packet = &worker.packets[worker.next]
    memset(ticket, 0, sizeof(Ticket))
    ticket.state = TICKET_SENT
    ticket.calling = 1
    ticket.received_ns = worker.received_ns
    ticket.queue = worker.queue.number
    ticket.batch = &worker.epoch
    ticket.batch_epoch = worker.epoch
    ticket.packet = packet[0]
    ticket.packet.timestamp_ns = batch_arrival(worker, packet)
    ticket.packet.data = bytes
    ticket.packet.captured = n
    if n:
        memcpy(bytes, packet.data, n)


cdef object _named(Snapshot snapshot, uint32_t filter):
    """A filter and its callout, whatever their numbers: (key, slot, the callout's number or itself), or None."""
    cdef Part part
    cdef const FilterBrief* item = &snapshot.policy.briefs[filter]
    if item.callout == NO_FILTER:
        return None
    part, place = snapshot.root.place(filter)
    callout = snapshot.root.callouts[item.callout]
    return (<const char*>part.filter(place).key)[:16], item.slot, getattr(callout, "number", callout)


cdef list _edits_of(const Visitor* visitor, Resume* resume):
    """What answers have left of the packet, kept as long as the list is."""
    cdef const uint8_t* at
    cdef bytes packet
    cdef uint32_t i, n
    if visitor.edit == NULL or not visitor.n_edited:
        return None
    edits = [None] * resume.n
    at = visitor.edit.log
    for i in range(resume.n - 1):
        n = visitor.edit.sizes[i]
        if n:
            packet = (<const char*>at)[:n]
            edits[i] = packet
            resume.answers[i].packet = <const uint8_t*><const char*>packet
            resume.answers[i].n_packet = n
            at += n
    return edits


cdef ParkedPacket parked_new(Visitor* visitor, Snapshot snapshot):
    cdef ParkedPacket handle = ParkedPacket.__new__(ParkedPacket)
    cdef Resume* resume = &handle.resume
    cdef uint32_t i, n = visitor.n_answered
    resume.n = n + 1
    for i in range(n):
        resume.answers[i] = visitor.answered[i]
    resume.answers[n].filter = visitor.arbitration.asked
    handle.edits = _edits_of(visitor, resume)
    resume.stage = visitor.stage
    resume.flow_id = visitor.pending.id if visitor.tracked and not visitor.flow_known else 0
    if visitor.resume != NULL and visitor.resume.provisional:   # Also where another packet has made the flow since.
        resume.provisional, resume.flow_id = visitor.resume.provisional, visitor.resume.flow_id
    if visitor.resume != NULL:
        resume.hurried = visitor.resume.hurried
    handle.filters = [_named(snapshot, resume.answers[i].filter) for i in range(n + 1)]
    handle.followers = []
    handle.absorbs = BY_SLOT[visitor.slot][0].absorb
    handle.decides = snapshot.policy.briefs[visitor.arbitration.asked].action != FILTER_CALLOUT_INSPECTION
    return handle


cdef class ParkedPacket:
    """A parked packet: the queue it came from, its id there, and an epoch that no other packet has.

    May be kept and completed by any thread; of no use once the packet has a verdict.
    """

    def __init__(self):
        raise TypeError("a parked packet comes from a callout's pend()")

    def __repr__(self):
        return f"<parked packet {self.id} of queue {self.queue}, epoch {self.epoch}>"

    cdef bint open(self) noexcept:
        cdef Ticket* ticket
        if self.parking is None:
            return not self.decided
        ticket = &self.parking.lot.tickets[self.place]
        return ticket.epoch == self.epoch and ticket.state != TICKET_FREE and ticket.decided == TICKET_WAITS

    def complete(self, verdict=None, *, reply=None, bint clear_right=False, bint absorb=False, reset_both=None,
                 packet=None) -> bool:
        """Let the visit go on with the callout's answer, 'permit', 'block' or 'continue'; None: it is asked again.

        `clear_right`, `absorb`, `reply` and `reset_both` are those of permit() and block(); `packet` is what the
        packet becomes, as by modify(): where that is refused, on_error decides.  False when it is decided already: by
        an earlier call, or because it was late.  Raises ValueError for what the callout could not have answered.
        """
        cdef bint cut
        if verdict not in _KINDS or reply not in _REPLIES or (verdict != "block" and (_REPLIES[reply] or absorb)):
            raise ValueError(f"complete({verdict!r}, reply={reply!r}): permit, block or continue; "
                             "a reply and absorb go with a block")
        if absorb and (_REPLIES[reply] or not self.absorbs):
            raise ValueError("an absorbed packet gets no reply, and not every layer absorbs (FWP_E_INVALID_PARAMETER)")
        if reset_both and reply != "tcp_reset":
            raise ValueError("reset_both goes with reply='tcp_reset'")
        if packet is not None and verdict is None:
            raise ValueError("a packet goes with an answer")
        cut = _REPLIES[reply] == REPLY_TCP_RESET and (reset_both is None or bool(reset_both))
        return self._complete((verdict, _REPLIES[reply], clear_right, absorb, False, cut),
                              None if packet is None else bytes(memoryview(packet)))

    @property
    def waits(self) -> bool:
        """Whether complete() can still decide it."""
        return self.open()

    def fail(self, word) -> bool:
        """The callout could not answer: what its filter's on_error says, 'permit' or 'block', is its answer."""
        return self._complete((word, 0, word == "block", False, True, False), None)

    cdef bint _complete(self, tuple said, bytes packet) except -1:
        cdef GivenAnswer* last = &self.resume.answers[self.resume.n - 1]
        cdef ParkedPacket follower
        cdef CalloutAnswer answer
        cdef bint done, asks = said[0] is None or packet is not None
        memset(&answer, 0, sizeof(answer))
        verdict, answer.reply, answer.clear_right, answer.absorb, answer.failed, answer.cut = said
        answer.kind = _KINDS[verdict]
        if self.parking is not None:
            wfpd_lock(&self.parking.lot.lock)   # Nothing within may let another thread run.
        done = self.open()
        if done:
            last.answer = answer
            self.resume.asks = asks
            self.resume.hurried += self.called and verdict is None
            self.resume.changes = packet is not None
            self.packet = packet
            self.said = said
            if self.parking is not None:
                self.parking.lot.tickets[self.place].decided = TICKET_COMPLETED
                self.parking.lot.tickets[self.place].blocked = (
                    self.decides and answer.kind == ANSWER_BLOCK and answer.clear_right and not answer.failed)
            self.decided = True
        if self.parking is not None:
            wfpd_unlock(&self.parking.lot.lock)
        if not done:
            return False
        if self.parking is not None:
            try:
                os.write(self.parking.lot.wake_write, b"x")
            except BlockingIOError:
                pass                # It is awake already.
        for follower in list(self.followers):
            follower._complete(said, None)
        return True

    cdef int follow(self, ParkedPacket leader) except -1:
        leader.followers.append(self)
        if leader.said is not None:     # It was completed meanwhile, by another thread.
            self._complete(leader.said, None)
        return 0

    cdef int renumber(self, Snapshot snapshot) except -1:
        cdef uint32_t i, found
        for i in range(self.resume.n):
            place = snapshot.find(self.filters[i][0])
            found = NO_FILTER if place is None else place
            if found != NO_FILTER and _named(snapshot, found) != self.filters[i]:
                found = NO_FILTER
            self.resume.answers[i].filter = found
        self.resume.gone = self.resume.answers[self.resume.n - 1].filter == NO_FILTER
        return 0
