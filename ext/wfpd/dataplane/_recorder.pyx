"""The flight recorder.

Problem: "why was my packet dropped an hour ago?" is asked when the event, if one was written at all, is far
away and the policy is another.  So each worker keeps its last blocks, and a sample of its permits, whole
enough to tell the story: the packet's head, the decision, and every layer's row on the way to it.

A ring of fixed slots, written by the worker alone.  A slot's sequence number is odd while it is
written; a reader copies the slot and takes the copy only if the number was even and is the same
afterwards.  The writer waits for nobody.

A flood must not wash everything else out: a block that equals a recorded one (addresses, ports, hook,
filter, generation, reason) whose last packet came within ten seconds raises that record's count.  It is
found by a table from hash to position; the record itself is compared, so the hash only has to find
it, and two flows that fall on one place cost a record more.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from ._arbitrate cimport decision_dict
from ._types cimport *

cdef extern from *:
    """
    static inline void wfpd_slot_open(uint64_t *sequence) {
        __atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
    }
    static inline void wfpd_slot_close(uint64_t *sequence) {
        __atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELEASE);
    }
    static inline uint64_t wfpd_slot_begin(const uint64_t *sequence) {
        return __atomic_load_n(sequence, __ATOMIC_ACQUIRE);
    }
    static inline uint64_t wfpd_slot_end(const uint64_t *sequence) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return __atomic_load_n(sequence, __ATOMIC_RELAXED);
    }
    static inline void wfpd_written(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
    """
    void wfpd_slot_open(uint64_t* sequence) noexcept nogil
    void wfpd_slot_close(uint64_t* sequence) noexcept nogil
    uint64_t wfpd_slot_begin(const uint64_t* sequence) noexcept nogil
    uint64_t wfpd_slot_end(const uint64_t* sequence) noexcept nogil
    void wfpd_written(uint64_t* at, uint64_t value) noexcept nogil

cdef enum:
    SAME_SECONDS = 10
    TRIES = 64                      # Of a reader at a slot that is being written.

_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_ACTIONS = ("none", "permit", "block")

# ------------------------------------------------------------------------------------- writing


cdef int _ring_create(RecordRing* ring, uint32_t capacity) noexcept nogil:
    cdef uint32_t size = 1
    while size < capacity and size < MOST_RECORDS:
        size *= 2
    ring.slots = <RecordSlot*>calloc(size, sizeof(RecordSlot))
    ring.mask = size - 1
    return 0 if ring.slots != NULL else -1


cdef int recorder_create(Recorder* recorder, uint32_t blocks) noexcept nogil:
    memset(recorder, 0, sizeof(Recorder))
    if blocks == 0:
        return 0
    if _ring_create(&recorder.blocks, blocks) or _ring_create(&recorder.permits, blocks // PERMITS_SHARE):
        recorder_free(recorder)
        return -1
    recorder.places = <uint64_t*>calloc(2 * (<size_t>recorder.blocks.mask + 1), sizeof(uint64_t))
    if recorder.places == NULL:
        recorder_free(recorder)
        return -1
    return 0


cdef void recorder_free(Recorder* recorder) noexcept nogil:
    free(recorder.blocks.slots)
    free(recorder.permits.slots)
    free(recorder.places)
    memset(recorder, 0, sizeof(Recorder))


cdef void _key(const Recorded* what, RecordKey* key) noexcept nogil:
    cdef const PacketView* view = what.view
    memset(key, 0, sizeof(RecordKey))
    key.source_hi, key.source_lo = view.source_hi, view.source_lo
    key.destination_hi, key.destination_lo = view.destination_hi, view.destination_lo
    key.generation = what.generation
    key.filter = what.decision.filter
    if view.has_ports:
        key.source_port, key.destination_port = view.source_port, view.destination_port
    elif view.has_icmp:
        key.source_port, key.destination_port = view.icmp_type, view.icmp_code
    key.slot = what.decision.slot
    key.reason = what.decision.reason
    key.hook = what.packet.hook
    key.family = view.family
    key.protocol = view.protocol
    key.would_block = what.decision.would_block


cdef void _fill(Record* record, const Recorded* what, const RecordKey* key) noexcept nogil:
    cdef const QueuedPacket* packet = what.packet
    cdef uint32_t i
    record.key = key[0]
    record.timestamp_ns = record.last_ns = what.real_ns
    record.seen_ns = what.now_ns
    record.count = 1
    record.decision = what.decision[0]
    record.in_interface = packet.in_interface
    record.out_interface = packet.out_interface
    record.length = packet.original
    record.n_bytes = <uint16_t>min(packet.captured, <uint32_t>RECORD_BYTES) if packet.data != NULL else 0
    if record.n_bytes:
        memcpy(record.bytes, packet.data, record.n_bytes)
    record.n_rows = <uint16_t>min(what.trace.n_rows, <uint32_t>RECORD_ROWS)
    for i in range(record.n_rows):
        record.rows[i].slot = what.trace.rows[i].slot
        record.rows[i].action = what.trace.rows[i].action
        record.rows[i].right = what.trace.rows[i].right
        record.rows[i].discard = what.trace.rows[i].discard
        record.rows[i].filter = what.trace.rows[i].filter


cdef void _write(RecordRing* ring, const Recorded* what, const RecordKey* key) noexcept nogil:
    cdef RecordSlot* slot = &ring.slots[ring.written & ring.mask]
    wfpd_slot_open(&slot.sequence)
    _fill(&slot.record, what, key)
    wfpd_slot_close(&slot.sequence)
    wfpd_written(&ring.written, ring.written + 1)


cdef void recorder_block(Recorder* recorder, const Recorded* what, uint64_t hash) noexcept nogil:
    cdef RecordRing* ring = &recorder.blocks
    cdef RecordKey key
    cdef RecordSlot* slot
    cdef uint64_t* place
    if ring.slots == NULL:
        return
    _key(what, &key)
    place = &recorder.places[(hash ^ (hash >> 32)) & (2 * <uint64_t>ring.mask + 1)]
    if place[0] and ring.written - (place[0] - 1) <= ring.mask + 1:
        slot = &ring.slots[(place[0] - 1) & ring.mask]
        if (memcmp(&slot.record.key, &key, sizeof(key)) == 0
                and what.now_ns - slot.record.seen_ns <= <uint64_t>SAME_SECONDS * 1000000000):
            wfpd_slot_open(&slot.sequence)
            slot.record.count += 1
            slot.record.last_ns = what.real_ns
            slot.record.seen_ns = what.now_ns
            wfpd_slot_close(&slot.sequence)
            return
    place[0] = ring.written + 1
    _write(ring, what, &key)


cdef void recorder_permit(Recorder* recorder, const Recorded* what) noexcept nogil:
    cdef RecordKey key
    _key(what, &key)
    _write(&recorder.permits, what, &key)


# ------------------------------------------------------------------------------------- reading


cdef bint _take(const RecordSlot* slot, Record* copy) noexcept nogil:
    """A whole copy of the slot's record; false if there is none, or its writer was there at every try."""
    cdef uint64_t before
    cdef int i
    for i in range(TRIES):
        before = wfpd_slot_begin(&slot.sequence)
        if before == 0:
            return False
        if before & 1:
            continue
        memcpy(copy, &slot.record, sizeof(Record))
        if wfpd_slot_end(&slot.sequence) == before:
            return True
    return False


cdef dict _record_dict(const Record* record):
    return {
        "timestamp_ns": record.timestamp_ns, "last_ns": record.last_ns, "count": record.count,
        "generation": record.key.generation,
        "hook": _HOOKS[record.key.hook] if record.key.hook < 5 else None, "family": record.key.family,
        "protocol": record.key.protocol, "in_interface": record.in_interface, "out_interface": record.out_interface,
        "length": record.length, "bytes": (<const char*>record.bytes)[:record.n_bytes],
        **decision_dict(&record.decision),
        "rows": [(record.rows[i].slot, _ACTIONS[record.rows[i].action], "set" if record.rows[i].right else "clear",
                  None if record.rows[i].filter == NO_FILTER else record.rows[i].filter, bool(record.rows[i].discard))
                 for i in range(record.n_rows)],
    }


cdef list _read_ring(const RecordRing* ring, int64_t since_ns):
    cdef Record copy
    cdef uint32_t i
    found = []
    if ring.slots == NULL:
        return found
    for i in range(ring.mask + 1):
        if _take(&ring.slots[i], &copy) and copy.last_ns >= since_ns:
            found.append(_record_dict(&copy))
    return found


cdef list recorder_read(Recorder* recorder, int64_t since_ns):
    return _read_ring(&recorder.blocks, since_ns) + _read_ring(&recorder.permits, since_ns)


cdef uint64_t _kept(const RecordRing* ring) noexcept nogil:
    return 0 if ring.slots == NULL else min(ring.written, <uint64_t>ring.mask + 1)


cdef int64_t recorder_oldest(const Recorder* recorder) noexcept nogil:
    cdef Record copy
    cdef int64_t oldest = INT64_MAX
    cdef const RecordRing* ring
    cdef uint32_t i, which
    for which in range(2):
        ring = &recorder.permits if which else &recorder.blocks
        for i in range(<uint32_t>_kept(ring)):
            if _take(&ring.slots[i], &copy):
                oldest = min(oldest, copy.timestamp_ns)
    return oldest


cdef dict recorder_counts(const Recorder* recorder):
    """`kept` and `overwritten` records, and how many there is `room` for."""
    kept = _kept(&recorder.blocks) + _kept(&recorder.permits)
    room = 0 if recorder.blocks.slots == NULL else recorder.blocks.mask + recorder.permits.mask + 2
    return {"kept": kept, "overwritten": recorder.blocks.written + recorder.permits.written - kept, "room": room}


cdef int _ring_filters(const RecordRing* ring, set found) except -1:
    cdef Record copy
    cdef uint32_t i, row
    if ring.slots == NULL:
        return 0
    for i in range(ring.mask + 1):
        if not _take(&ring.slots[i], &copy):
            continue
        if copy.decision.filter != NO_FILTER:
            found.add((copy.key.generation, copy.decision.filter))
        for row in range(copy.n_rows):
            if copy.rows[row].filter != NO_FILTER:
                found.add((copy.key.generation, copy.rows[row].filter))
    return 0


cdef int recorder_filters(const Recorder* recorder, set found) except -1:
    _ring_filters(&recorder.blocks, found)
    _ring_filters(&recorder.permits, found)
    return 0


cdef class RecorderProbe:
    """Cold door for tests: one recorder that is given packets from Python."""

    cdef Recorder recorder

    def __cinit__(self, uint32_t blocks):
        if recorder_create(&self.recorder, blocks):
            raise MemoryError

    def __dealloc__(self):
        recorder_free(&self.recorder)

    cdef void _note(self, uint64_t number, uint64_t now_ns, bint block, uint64_t hash) noexcept nogil:
        """A packet of which everything says `number`."""
        cdef PacketView view
        cdef QueuedPacket packet
        cdef Decision decision
        cdef Trace trace
        cdef Recorded what
        cdef uint8_t bytes[RECORD_BYTES]
        memset(&view, 0, sizeof(view))
        memset(&packet, 0, sizeof(packet))
        memset(&decision, 0, sizeof(decision))
        memset(bytes, <int>(number & 0xFF), sizeof(bytes))
        trace.n_rows = RECORD_ROWS
        memset(trace.rows, 0, sizeof(trace.rows))
        for i in range(RECORD_ROWS):
            trace.rows[i].filter = <uint32_t>number
        view.source_lo, view.family = number, 4
        packet.data, packet.captured, packet.original = bytes, RECORD_BYTES, <uint32_t>number
        packet.in_interface = packet.out_interface = <uint32_t>number
        decision.verdict = ACTION_BLOCK if block else ACTION_PERMIT
        decision.filter, decision.callout, decision.flow_id = <uint32_t>number, <uint32_t>number, number
        what.view, what.packet, what.decision, what.trace = &view, &packet, &decision, &trace
        what.generation, what.real_ns, what.now_ns = number, <int64_t>now_ns, now_ns
        if block:
            recorder_block(&self.recorder, &what, hash)
        elif recorder_samples(&self.recorder):
            recorder_permit(&self.recorder, &what)

    def block(self, uint64_t number, uint64_t now_ns, hash=None) -> None:
        """Record a block of the packet that `number` names; `hash` is that of flow and filter."""
        self._note(number, now_ns, True, number if hash is None else hash)

    def permit(self, uint64_t number, uint64_t now_ns) -> None:
        """A permitted packet, which is recorded if its turn has come."""
        self._note(number, now_ns, False, 0)

    def hammer(self, uint64_t first, uint64_t n) -> None:
        """Record the blocks of `n` packets as fast as it goes, without the GIL."""
        cdef uint64_t i
        with nogil:
            for i in range(n):
                self._note(first + i, first + i, True, first + i)

    def read(self, int64_t since_ns=0) -> list:
        """What Engine.recorded() makes of this recorder."""
        return recorder_read(&self.recorder, since_ns)

    def filters(self) -> set:
        """(generation, filter) of every filter that a record names."""
        found = set()
        recorder_filters(&self.recorder, found)
        return found

    def counts(self) -> dict:
        """Records kept, overwritten, and the room for them."""
        return recorder_counts(&self.recorder)
