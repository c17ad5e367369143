"""A worker's batch.

Life of a batch: receive, pin the published policy (epoch odd), decide packet by packet, plan the
verdicts, one send, let go (epoch even).  A packet that asks for a Python callout interrupts the
deciding; _engine then takes the GIL once and finishes the rest.  Before it does, everything
decided so far is sent, and what is left is *held*: visible to batch_enforce_late(), which may
answer it from another thread.  `lock` guards `decided`, `given` and `held`; the packet path
takes it only while held.
"""

from libc.errno cimport ENOENT
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ._accounts cimport account_received
from ._cache cimport cache_create, cache_destroy
from ._clock cimport CLOCK_REALTIME, wfpd_clock, wfpd_monotonic
from ._flow cimport FlowTable, flow_prefetch
from ._lock cimport wfpd_lock, wfpd_unlock
from ._netlink cimport (
    Datagram, KernelAnswer, MESSAGE_ANSWER, MESSAGE_END, MESSAGE_MALFORMED, MESSAGE_PACKET, MESSAGE_VERDICT,
    MESSAGE_VERDICT_BATCH, MessageKind, NF_ACCEPT, NF_DROP, NF_QUEUE, NF_QUEUE_BYPASS, Outcome, QueuedPacket, SKB_GSO,
    Verdicts, datagram_next, verdict_with_payload, verdicts_add, verdicts_capacity, verdicts_plan,
)
from ._modify cimport edit_create, edit_free, edit_packet
from ._parse cimport PARSE_WHOLE_LENGTH_KNOWN, PacketView, parse_packet
from ._recorder cimport Recorded, recorder_block, recorder_create, recorder_free, recorder_permit, recorder_samples
from ._ring cimport SUPPRESS_ENTRIES, SuppressEntry, ring_create, ring_free, ring_next, ring_push, suppress_admit
from ._socket cimport arena_create, arena_datagram, arena_free, arena_receive, verdicts_send
from ._stage_ring cimport StageRings, stage_write
from ._table cimport CompiledPolicy
from ._stats cimport EVENT_BYTES, EventRecord, WorkerStats, histogram_add
from ._types cimport *
from ._visit cimport (
    VISIT_CALLOUT, VISIT_DONE, VisitInput, VisitStep, visit_begin, visit_leave, visit_prepare,
    visit_tracks,
)

cdef extern from *:
    """
    static inline void *wfpd_load(void *at) { return __atomic_load_n((void **)at, __ATOMIC_SEQ_CST); }
    static inline void wfpd_epoch(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_SEQ_CST); }
    """
    void* wfpd_load(void* at) noexcept nogil
    void wfpd_epoch(uint64_t* at, uint64_t value) noexcept nogil

cdef enum:
    N_HOOKS = 5
    LOOK_AHEAD = 16                 # Packets: as many misses as a core keeps open, well within its first cache.
    MARK_UNREACHABLE = 1            # Decision bits of a reply mark (wfpd.netfilter.marks).
    MARK_RESET = 3
    EVENT_DROP = 0                  # EventRecord.kind
    EVENT_PERMIT = 1
    EVENT_AUDIT = 2

cdef uint8_t NO_BYTES[1]


cdef uint64_t clock_monotonic() noexcept nogil:
    return wfpd_monotonic()


cdef int worker_create(Worker* worker, Shared* shared, WorkerStats* stats, FlowTable* flows, uint32_t index,
                       uint32_t batch, uint32_t events, uint32_t recorded) noexcept nogil:
    memset(worker, 0, sizeof(Worker))
    worker.shared = shared
    worker.stats = stats
    worker.index = index
    worker.visitor.flows = flows
    worker.visitor.stats = stats
    worker.visitor.live = 1
    worker.visitor.calls_native = 1
    worker.visitor.caller = index
    worker.visitor.cache = &worker.cache
    worker.verdicts.capacity = worker.late_verdicts.capacity = verdicts_capacity(batch)
    worker.verdicts.bytes = <uint8_t*>calloc(1, worker.verdicts.capacity)
    worker.late_verdicts.bytes = <uint8_t*>calloc(1, worker.verdicts.capacity)
    worker.packets = <QueuedPacket*>calloc(batch, sizeof(QueuedPacket))
    worker.views = <PacketView*>calloc(batch, sizeof(PacketView))
    worker.outcomes = <Outcome*>calloc(batch, sizeof(Outcome))
    worker.decided = <uint8_t*>calloc(batch, 1)
    worker.visitor.edit = edit_create()
    worker.suppress = <SuppressEntry*>calloc(SUPPRESS_ENTRIES, sizeof(SuppressEntry))
    if (arena_create(&worker.arena, batch) or ring_create(&worker.ring, events) or worker.verdicts.bytes == NULL
            or worker.late_verdicts.bytes == NULL or worker.packets == NULL or worker.outcomes == NULL or worker.views == NULL
            or worker.decided == NULL or worker.suppress == NULL
            or worker.visitor.edit == NULL
            or recorder_create(&worker.recorder, recorded)
            or cache_create(&worker.cache, flows.seed[0], flows.seed[1])):
        worker_free(worker)
        return -1
    worker.visitor.trace = &worker.trace if recorded else NULL
    return 0


cdef void worker_free(Worker* worker) noexcept nogil:
    cdef uint32_t i
    arena_free(&worker.arena)
    ring_free(&worker.ring)
    free(worker.verdicts.bytes)
    free(worker.late_verdicts.bytes)
    free(worker.packets)
    free(worker.views)
    free(worker.outcomes)
    free(worker.decided)
    free(worker.suppress)
    edit_free(worker.visitor.edit)
    recorder_free(&worker.recorder)
    cache_destroy(&worker.cache)
    for i in range(worker.n_queues):
        free(worker.queues[i])
    memset(worker, 0, sizeof(Worker))


cdef uint32_t error_verdict(const CompiledPolicy* policy) noexcept nogil:
    return NF_DROP if policy.on_error == WORD_BLOCK and not policy.audit else NF_ACCEPT


cdef void _take_answer(QueueState* queue, const KernelAnswer* answer) noexcept nogil:
    if answer.sequence:
        queue.answer_error = answer.error
        queue.answer_sequence = answer.sequence
    elif answer.error == ENOENT:
        # The packet is gone: its interface went away, or a batch had nothing left to decide.
        queue.not_found += 1
    elif answer.error and (answer.type == MESSAGE_VERDICT or answer.type == MESSAGE_VERDICT_BATCH):
        queue.refused += 1


cdef void _answer_stray(Worker* worker, QueueState* queue, const QueuedPacket* packet) noexcept nogil:
    """A packet of a queue that is not served here: nobody else will ever answer it."""
    cdef Outcome outcome
    memset(&outcome, 0, sizeof(outcome))
    outcome.id = packet.id
    outcome.verdict = error_verdict(worker.published.policy)
    worker.verdicts.queue = packet.queue
    verdicts_add(&worker.verdicts, MESSAGE_VERDICT, &outcome)
    account_received(1)
    verdicts_send(&worker.verdicts, queue.fd)
    queue.strays += 1


cdef void _read_all(Worker* worker, QueueState* queue, Datagram* datagram) noexcept nogil:
    """Append the packets of one datagram to the batch."""
    cdef KernelAnswer answer
    cdef MessageKind kind
    while worker.n < worker.arena.n_slots:
        kind = datagram_next(datagram, &worker.packets[worker.n], &answer)
        if kind == MESSAGE_END:
            return
        if kind == MESSAGE_PACKET and worker.packets[worker.n].queue == queue.number:
            worker.n += 1
        elif kind == MESSAGE_PACKET:
            _answer_stray(worker, queue, &worker.packets[worker.n])
        elif kind == MESSAGE_ANSWER:
            _take_answer(queue, &answer)
        elif kind == MESSAGE_MALFORMED:
            queue.malformed += 1


cdef void batch_pin(Worker* worker) noexcept nogil:
    # The epoch is stored before the pointer is loaded, both sequentially consistent: a publisher that
    # has stored a new pointer and then reads an even epoch knows that we shall load the new one.
    wfpd_epoch(&worker.epoch, worker.epoch + 1)
    worker.published = <Published*>wfpd_load(&worker.shared.current)
    worker.visitor.policy = worker.published.policy
    worker.visitor.host = worker.published.host
    worker.visitor.matches = worker.published.matches[worker.index]
    worker.visitor.hits = worker.published.hits[worker.index]
    worker.visitor.hooks_attached = worker.shared.hooks_attached


cdef void batch_unpin(Worker* worker) noexcept nogil:
    wfpd_epoch(&worker.epoch, worker.epoch + 1)


cdef int batch_receive(Worker* worker, QueueState* queue) noexcept nogil:
    cdef Datagram datagram
    cdef int n = arena_receive(&worker.arena, queue.fd), i
    if n <= 0:
        return n
    worker.received_ns = wfpd_monotonic()
    worker.received_real_ns = 0
    worker.queue = queue
    worker.n = worker.next = worker.flushed = worker.prepared = 0
    batch_pin(worker)
    for i in range(n):
        arena_datagram(&worker.arena, i, &datagram)
        queue.truncated += datagram.cut
        _read_all(worker, queue, &datagram)
    account_received(worker.n)
    memset(worker.decided, 0, worker.n)
    for i in range(<int>worker.n):
        worker.outcomes[i].id = worker.packets[i].id
        worker.outcomes[i].given = 0
    worker.verdicts.queue = worker.late_verdicts.queue = queue.number
    return n


cdef inline uint64_t _now(const Worker* worker) noexcept nogil:
    return worker.resumed_ns if worker.resumed_ns else worker.received_ns


cdef void _visit_input(const Worker* worker, uint32_t index, VisitInput* given) noexcept nogil:
    cdef const QueuedPacket* packet = &worker.packets[index]
    memset(given, 0, sizeof(VisitInput))
    given.data = packet.data if packet.data != NULL else NO_BYTES
    given.captured = packet.captured
    given.original = packet.original
    given.hook = packet.hook if packet.hook < N_HOOKS else <uint8_t>HOOK_FORWARD
    given.has_mark = packet.has_mark
    given.mark = packet.mark
    given.in_interface = packet.in_interface
    given.out_interface = packet.out_interface
    given.physical_in = packet.physical_in
    given.physical_out = packet.physical_out
    given.parse_flags = PARSE_WHOLE_LENGTH_KNOWN
    given.now_ns = _now(worker)
    given.gso = (packet.skb_info & SKB_GSO) != 0
    given.injected = packet.mark != 0 and _is_injected(worker.shared, packet.mark)


cdef void _look_ahead(Worker* worker) noexcept nogil:
    """Parse the next packets and fetch their flows' memory: one after the other each would wait for its own."""
    cdef uint64_t hashes[LOOK_AHEAD]
    cdef VisitInput given
    cdef uint32_t i, first = worker.next, n = min(worker.n - worker.next, <uint32_t>LOOK_AHEAD)
    cdef bint any_flow = False
    cdef int stage
    for i in range(n):
        _visit_input(worker, first + i, &given)
        hashes[i] = visit_prepare(&worker.visitor, &given, &worker.views[first + i])
        any_flow |= hashes[i] != 0
    worker.prepared = first + n
    if not any_flow:
        return
    for stage in range(1, 3):
        for i in range(n):
            if hashes[i]:
                flow_prefetch(worker.visitor.flows, hashes[i], stage)


cdef VisitStep batch_begin_packet(Worker* worker) noexcept nogil:
    cdef VisitInput given
    if worker.next >= worker.prepared and visit_tracks(&worker.visitor):
        _look_ahead(worker)
    _visit_input(worker, worker.next, &given)
    if worker.next < worker.prepared:
        given.view = &worker.views[worker.next]
    worker.visitor.given = &worker.outcomes[worker.next].given
    return visit_begin(&worker.visitor, &given)


cdef VisitStep batch_decide(Worker* worker) noexcept nogil:
    if worker.published.policy.has_native:
        batch_hold(worker)          # A compiled callout may hang: the packets are not to wait for it.
    while worker.next < worker.n:
        if worker.outcomes[worker.next].given:
            batch_settle_word(worker, worker.published.policy.on_late, REASON_LATE, NO_FILTER)
        elif batch_begin_packet(worker) == VISIT_DONE:
            batch_settle(worker)
        elif worker.outcomes[worker.next].given:
            batch_settle_word(worker, worker.published.policy.on_late, REASON_LATE, worker.visitor.arbitration.asked)
        else:
            return VISIT_CALLOUT
    return VISIT_DONE


cdef inline uint32_t _reply_mark(const Worker* worker, uint8_t reply) noexcept nogil:
    """Our mark bits of a block that kernel rules answer (wfpd.netfilter.marks, "reply mark")."""
    return <uint32_t>(MARK_RESET if reply == REPLY_TCP_RESET else MARK_UNREACHABLE) << (8 + worker.shared.marks_shift)


cdef inline bint _is_injected(const Shared* shared, uint32_t mark) noexcept nogil:
    """Whether it is the mark of an injected packet, which keeps it at later hooks (wfpd.netfilter.marks)."""
    cdef uint32_t ours = (mark & shared.marks_mask) >> shared.marks_shift
    return shared.injects and ours <= 0xFF and ours & 63 != 0


cdef void batch_outcome(const Worker* worker, const QueuedPacket* packet, const Decision* decision,
                        Outcome* outcome) noexcept nogil:
    cdef uint32_t mask = worker.shared.marks_mask
    outcome.has_mark = 0
    outcome.mark = 0
    outcome.verdict = NF_ACCEPT
    if decision.verdict != ACTION_BLOCK:
        # Left over from an earlier visit or set by others: rules of ours must not act on it.
        if packet.mark & mask and not _is_injected(worker.shared, packet.mark):
            outcome.has_mark = 1
            outcome.mark = packet.mark & ~mask
    elif decision.reply != REPLY_NONE and packet.hook != HOOK_POSTROUTING:
        outcome.has_mark = 1
        outcome.mark = (packet.mark & ~mask) | _reply_mark(worker, decision.reply)
    else:
        outcome.verdict = NF_DROP


cdef inline uint64_t _mix(uint64_t a, uint64_t b) noexcept nogil:
    a = (a ^ b) * <uint64_t>0x9E3779B97F4A7C15
    return a ^ (a >> 29)


cdef uint64_t _suppress_key(const PacketView* view, const Decision* decision, uint8_t kind) noexcept nogil:
    """The flow in either direction, the filter, and what is said of it."""
    cdef uint64_t source = _mix(_mix(view.source_hi, view.source_lo), view.source_port if view.has_ports else 0)
    cdef uint64_t target = _mix(_mix(view.destination_hi, view.destination_lo),
                                view.destination_port if view.has_ports else 0)
    cdef uint64_t key = _mix(source + target, (<uint64_t>view.protocol << 8) | decision.slot)
    return _mix(key, (<uint64_t>decision.filter << 16) | (<uint64_t>kind << 8) | decision.reason)


cdef int64_t batch_arrival(Worker* worker, const QueuedPacket* packet) noexcept nogil:
    if packet.timestamp_ns:
        return packet.timestamp_ns
    if worker.received_real_ns == 0:
        worker.received_real_ns = <int64_t>(
            wfpd_clock(CLOCK_REALTIME) - (wfpd_monotonic() - worker.received_ns))
    return worker.received_real_ns


cdef void _record(Worker* worker, const QueuedPacket* packet, const Decision* decision, uint64_t generation,
                  uint64_t key) noexcept nogil:
    """`key` is that of flow and filter; 0: a permit."""
    cdef Recorded what
    what.view = &worker.visitor.view
    what.packet = packet
    what.decision = decision
    what.trace = &worker.trace
    what.generation = generation
    what.real_ns = batch_arrival(worker, packet)
    what.now_ns = _now(worker)
    if key:
        recorder_block(&worker.recorder, &what, key)
    else:
        recorder_permit(&worker.recorder, &what)


cdef void _write_event(Worker* worker, const QueuedPacket* packet, const Decision* decision, uint8_t kind,
                       uint64_t generation, uint64_t key) noexcept nogil:
    """What is blocked, or would be, is told once in ten seconds a flow and filter; what is permitted always."""
    cdef EventRecord* record
    cdef uint32_t suppressed = 0
    if (kind != EVENT_PERMIT or decision.would_block) and not suppress_admit(
            worker.suppress, key, _now(worker), &suppressed):
        return
    record = ring_next(&worker.ring)
    if record == NULL:
        worker.stats.events_lost += 1
        return
    record.timestamp_ns = batch_arrival(worker, packet)
    record.generation = generation
    record.decision = decision[0]
    record.hook = packet.hook
    record.family = worker.visitor.view.family
    record.protocol = worker.visitor.view.protocol
    record.kind = kind
    record.in_interface = packet.in_interface
    record.out_interface = packet.out_interface
    record.length = packet.original
    record.suppressed = suppressed
    record.n_bytes = <uint16_t>min(packet.captured, <uint32_t>EVENT_BYTES)
    memcpy(record.bytes, packet.data if packet.data != NULL else NO_BYTES, record.n_bytes)
    ring_push(&worker.ring)


cdef void _write_noted(Worker* worker, const QueuedPacket* packet) noexcept nogil:
    """An event for each filter in audit mode that matched, and of a permitted packet for each that logs."""
    cdef const CompiledPolicy* policy = worker.published.policy
    cdef Decision said
    cdef uint32_t i, filter
    cdef uint8_t kind
    cdef bint audit
    for i in range(worker.visitor.n_noted):
        filter = worker.visitor.noted[i]
        audit = (policy.briefs[filter].flags & FLAG_AUDIT) != 0
        said = worker.visitor.decision
        if not audit and (said.verdict == ACTION_BLOCK or said.would_block):
            continue
        said.would_block = 0
        said.slot = policy.briefs[filter].slot
        said.filter = filter
        said.callout = policy.briefs[filter].callout
        said.reason = worker.visitor.noted_reason[i]
        said.veto = 0
        kind = EVENT_AUDIT if audit else EVENT_PERMIT
        _write_event(worker, packet, &said, kind, policy.generation, _suppress_key(&worker.visitor.view, &said, kind))


cdef void _count(Worker* worker, const QueuedPacket* packet, const Decision* decision) noexcept nogil:
    cdef uint8_t verdict = decision.verdict
    worker.stats.packets[verdict] += 1
    worker.stats.octets[verdict] += packet.original
    worker.queue.packets[verdict] += 1
    worker.queue.octets[verdict] += packet.original
    if verdict == ACTION_BLOCK:
        worker.stats.drops[decision.slot if decision.slot < N_SLOTS else <int>N_SLOTS][decision.reason] += 1


cdef void _tell_stage(Worker* worker, const QueuedPacket* packet, const Decision* decision,
                      uint64_t generation) noexcept nogil:
    # Loaded within the batch, so that the epoch says when nobody holds the rings any more.
    cdef StageRings* rings = <StageRings*>wfpd_load(&worker.shared.stage)
    if rings != NULL:
        stage_write(rings, worker.index, packet, &worker.visitor.view, decision, generation, _now(worker))


cdef void batch_account(Worker* worker, const QueuedPacket* packet, Decision* decision,
                        uint64_t generation) noexcept nogil:
    cdef uint64_t key
    cdef uint8_t kind
    if decision.verdict == ACTION_BLOCK and worker.published.policy.audit:
        decision.verdict = ACTION_PERMIT
        decision.would_block = 1
        worker.stats.would_block[decision.slot if decision.slot < N_SLOTS else <int>N_SLOTS] += 1
    _count(worker, packet, decision)
    if decision.verdict == ACTION_BLOCK or decision.would_block:
        kind = EVENT_DROP if decision.verdict == ACTION_BLOCK else EVENT_PERMIT
        key = _suppress_key(&worker.visitor.view, decision, kind)
        _write_event(worker, packet, decision, kind, generation, key)
        _record(worker, packet, decision, generation, key | 1)
    elif recorder_samples(&worker.recorder):
        _record(worker, packet, decision, generation, 0)
    if worker.shared.stage != NULL:
        _tell_stage(worker, packet, decision, generation)


cdef int _send_decided(Worker* worker) noexcept nogil:
    """Plan and send the verdicts of packets flushed to next, all of which are settled."""
    if not worker.resumed_ns:
        verdicts_plan(&worker.verdicts, &worker.queue.ids, worker.outcomes + worker.flushed,
                      worker.next - worker.flushed, error_verdict(worker.published.policy))
    elif worker.next > worker.flushed and not worker.outcomes[0].given:
        verdicts_add(&worker.verdicts, MESSAGE_VERDICT, &worker.outcomes[0])
    worker.flushed = worker.next
    return verdicts_send(&worker.verdicts, worker.queue.fd)


cdef void _write_back(Worker* worker) noexcept nogil:
    """Give packet worker.next its verdict with what callouts made of it, after those before it: order stays."""
    cdef Outcome* outcome = &worker.outcomes[worker.next]
    cdef Verdicts message
    if worker.next > worker.flushed:
        _send_decided(worker)
    verdict_with_payload(&message, worker.queue.number, outcome, edit_packet(&worker.visitor), worker.visitor.n_edited)
    verdicts_send(&message, worker.queue.fd)
    outcome.given = 1
    worker.queue.modified += 1


cdef void batch_settle(Worker* worker) noexcept nogil:
    cdef Decision* decision = &worker.visitor.decision
    cdef const QueuedPacket* packet = &worker.packets[worker.next]
    batch_account(worker, packet, decision, worker.published.policy.generation)
    if decision.log:
        _write_noted(worker, packet)
    if worker.held:
        wfpd_lock(&worker.lock)
    if not worker.outcomes[worker.next].given:
        batch_outcome(worker, packet, decision, &worker.outcomes[worker.next])
        if worker.visitor.n_edited and decision.verdict == ACTION_PERMIT and not worker.published.policy.audit:
            _write_back(worker)
    worker.decided[worker.next] = 1
    worker.next += 1
    if worker.held:
        wfpd_unlock(&worker.lock)
    worker.visitor.replaced = 0


cdef void batch_settle_word(Worker* worker, uint8_t word, uint8_t reason, uint32_t filter) noexcept nogil:
    cdef Decision* decision = &worker.visitor.decision
    cdef const QueuedPacket* packet = &worker.packets[worker.next]
    cdef uint64_t flow_id = decision.flow_id if filter != NO_FILTER else 0
    cdef uint8_t to_server = decision.to_server
    visit_leave(&worker.visitor)
    if worker.visitor.replaced:
        word, reason, filter = WORD_BLOCK, REASON_CALLOUT, worker.visitor.replaced - 1
    elif filter == NO_FILTER:         # Never visited: the view, which the event needs, is another packet's.
        worker.trace.n_rows = 0
        parse_packet(packet.data if packet.data != NULL else NO_BYTES, packet.captured, packet.original,
                     PARSE_WHOLE_LENGTH_KNOWN, &worker.visitor.view)
    memset(decision, 0, sizeof(Decision))
    decision.verdict = ACTION_BLOCK if word == WORD_BLOCK else ACTION_PERMIT
    decision.reason = reason
    decision.filter = filter
    decision.slot = NO_SLOT
    decision.callout = NO_FILTER
    decision.flow_id = flow_id
    decision.to_server = to_server
    if filter != NO_FILTER:
        decision.slot = worker.published.policy.briefs[filter].slot
        decision.callout = worker.published.policy.briefs[filter].callout
    worker.queue.late += reason == REASON_LATE
    worker.visitor.n_edited = 0
    batch_settle(worker)


cdef void batch_note_block(Worker* worker) noexcept nogil:
    if worker.published.policy.audit:
        return                      # Late or not, it is permitted.
    wfpd_lock(&worker.lock)
    if not worker.outcomes[worker.next].given:
        batch_outcome(worker, &worker.packets[worker.next], &worker.visitor.decision, &worker.outcomes[worker.next])
        worker.decided[worker.next] = 1
    wfpd_unlock(&worker.lock)


cdef bint batch_park(Worker* worker, uint16_t parking) noexcept nogil:
    cdef Outcome* outcome = &worker.outcomes[worker.next]
    cdef bint given
    wfpd_lock(&worker.lock)
    given = outcome.given
    if not given and worker.resumed_ns:
        outcome.given = 1           # No verdict: it is in that queue already.
        worker.decided[worker.next] = 1
        worker.next += 1
    elif not given:
        outcome.verdict = NF_QUEUE | <uint32_t>parking << 16
        if error_verdict(worker.published.policy) == NF_ACCEPT:
            outcome.verdict |= NF_QUEUE_BYPASS
        outcome.has_mark = 0
        worker.decided[worker.next] = 1
        worker.next += 1
        worker.queue.parked += 1
    wfpd_unlock(&worker.lock)
    return not given


cdef bint batch_replace(Worker* worker, uint32_t filter) noexcept nogil:
    cdef Outcome* outcome = &worker.outcomes[worker.next]
    cdef bint late
    wfpd_lock(&worker.lock)
    late = batch_is_late(worker)
    if not late:
        outcome.verdict = NF_DROP
        outcome.has_mark = 0
        worker.decided[worker.next] = 1
        worker.visitor.replaced = filter + 1
    wfpd_unlock(&worker.lock)
    return not late


cdef void batch_restore(Worker* worker) noexcept nogil:
    wfpd_lock(&worker.lock)
    if not worker.outcomes[worker.next].given:
        worker.decided[worker.next] = 0
        worker.visitor.replaced = 0
    wfpd_unlock(&worker.lock)


cdef bint batch_is_late(Worker* worker) noexcept nogil:
    if worker.outcomes[worker.next].given:
        return 1
    return wfpd_monotonic() - worker.received_ns > worker.shared.late_after_ns


cdef inline void _release_held(Worker* worker) noexcept nogil:
    if worker.held:
        wfpd_lock(&worker.lock)
        worker.held = 0
        wfpd_unlock(&worker.lock)


cdef int batch_hold(Worker* worker) noexcept nogil:
    cdef int status = 0
    if worker.next > worker.flushed:
        _release_held(worker)
        status = _send_decided(worker)
    wfpd_lock(&worker.lock)
    worker.held = 1
    wfpd_unlock(&worker.lock)
    return status


cdef int batch_finish(Worker* worker) noexcept nogil:
    cdef int status
    cdef uint64_t elapsed
    _release_held(worker)
    status = _send_decided(worker)
    if worker.n and not worker.resumed_ns:
        elapsed = wfpd_monotonic() - worker.received_ns
        histogram_add(&worker.stats.batch, elapsed)
        histogram_add(&worker.queue.batch, elapsed)
    batch_unpin(worker)
    return status


cdef uint32_t _answer_held(Worker* worker) noexcept nogil:
    cdef uint32_t i, n = 0
    cdef Decision late
    memset(&late, 0, sizeof(late))
    late.verdict = ACTION_PERMIT
    if worker.published.policy.on_late == WORD_BLOCK and not worker.published.policy.audit:
        late.verdict = ACTION_BLOCK
    for i in range(worker.flushed, worker.n):
        if worker.outcomes[i].given:
            continue
        if not worker.decided[i]:
            batch_outcome(worker, &worker.packets[i], &late, &worker.outcomes[i])
            n += 1
        worker.outcomes[i].given = 1
        verdicts_add(&worker.late_verdicts, MESSAGE_VERDICT, &worker.outcomes[i])
    verdicts_send(&worker.late_verdicts, worker.queue.fd)
    return n


cdef uint32_t batch_enforce_late(Worker* worker, uint64_t now_ns) noexcept nogil:
    cdef uint32_t n = 0
    wfpd_lock(&worker.lock)
    if worker.held and now_ns > worker.received_ns and now_ns - worker.received_ns > worker.shared.late_after_ns:
        n = _answer_held(worker)
    wfpd_unlock(&worker.lock)
    return n
