"""Flow contexts.

Problem: a flow ends where no interpreter is (a worker, under a shard's lock), while flow_delete is Python.
So ending only moves a flow's records to a list, of the memory that they have already: nothing is lost,
and nothing waits.  A control thread drains the list under the GIL and calls flow_delete.

Records are hashed by flow alone: a flow holds few, and its end has to find them all.  A flow without any costs
one load.  Memory is allocated with the first value and never grows; a full table refuses, counted.

Locks: a flow table's lock may be held when one of these is taken, never the other way round.
"""

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from wfpd.callouts._capsule cimport capsule_read
from wfpd.callouts.api cimport WfpdCallout
from wfpd.model.layers import slot_name

from ._lock cimport wfpd_lock, wfpd_unlock

cdef extern from *:
    """
    static inline uint64_t wfpd_count(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void wfpd_add(uint64_t *at, uint64_t n) { __atomic_fetch_add(at, n, __ATOMIC_ACQ_REL); }
    static inline void wfpd_subtract(uint64_t *at, uint64_t n) { __atomic_fetch_sub(at, n, __ATOMIC_ACQ_REL); }
    """
    uint64_t wfpd_count(const uint64_t* at) noexcept nogil
    void wfpd_add(uint64_t* at, uint64_t n) noexcept nogil
    void wfpd_subtract(uint64_t* at, uint64_t n) noexcept nogil

cdef enum:
    NIL = 0xFFFFFFFF


cdef inline ContextShard* _shard(FlowContextTable* table, uint64_t flow_id) noexcept nogil:
    return &table.shards[(flow_id >> 3) & (CONTEXT_SHARDS - 1)]


cdef inline uint32_t* _bucket(ContextShard* shard, uint64_t flow_id) noexcept nogil:
    return &shard.buckets[(flow_id >> 7) & (shard.n_buckets - 1)]


cdef uint32_t* _link_to(ContextShard* shard, uint64_t flow_id, uint8_t slot, uint32_t callout) noexcept nogil:
    """What points to the record, NULL if there is none.  The lock is held."""
    cdef uint32_t* link
    cdef FlowContext* record
    if shard.buckets == NULL:
        return NULL
    link = _bucket(shard, flow_id)
    while link[0] != NIL:
        record = &shard.records[link[0]]
        if record.flow_id == flow_id and record.slot == slot and record.callout == callout:
            return link
        link = &record.next
    return NULL


cdef void _end(FlowContextTable* table, ContextShard* shard, uint32_t* link) noexcept nogil:
    cdef uint32_t index = link[0]
    link[0] = shard.records[index].next
    shard.records[index].next = shard.ended
    shard.ended = index
    shard.used -= 1
    wfpd_subtract(&table.n, 1)
    wfpd_add(&table.n_ended, 1)


cdef uint64_t context_find(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout) noexcept nogil:
    cdef ContextShard* shard = _shard(table, flow_id)
    cdef uint32_t* link
    cdef uint64_t value = 0
    if wfpd_count(&table.n) == 0:
        return 0
    wfpd_lock(&shard.lock)
    link = _link_to(shard, flow_id, slot, callout)
    if link != NULL and not shard.records[link[0]].is_object:
        value = shard.records[link[0]].value
    wfpd_unlock(&shard.lock)
    return value


cdef bint context_has(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout) noexcept nogil:
    cdef ContextShard* shard = _shard(table, flow_id)
    cdef bint found
    if wfpd_count(&table.n) == 0:
        return False
    wfpd_lock(&shard.lock)
    found = _link_to(shard, flow_id, slot, callout) != NULL
    wfpd_unlock(&shard.lock)
    return found


cdef ContextStatus context_add(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout,
                               uint64_t value, bint is_object) noexcept nogil:
    cdef ContextShard* shard = _shard(table, flow_id)
    cdef FlowContext* record
    cdef uint32_t index
    cdef ContextStatus status = CONTEXT_OK
    wfpd_lock(&shard.lock)
    if _link_to(shard, flow_id, slot, callout) != NULL:
        status = CONTEXT_EXISTS
    elif shard.buckets == NULL or (shard.free == NIL and shard.fresh == shard.capacity):
        status = CONTEXT_FULL
        wfpd_add(&table.refused, 1)
    else:
        index = shard.free
        if index != NIL:
            shard.free = shard.records[index].next
        else:
            index = shard.fresh
            shard.fresh += 1
        record = &shard.records[index]
        record.flow_id, record.value, record.callout, record.slot = flow_id, value, callout, slot
        record.is_object = is_object
        record.next = _bucket(shard, flow_id)[0]
        _bucket(shard, flow_id)[0] = index
        shard.used += 1
        wfpd_add(&table.n, 1)
    wfpd_unlock(&shard.lock)
    return status


cdef bint context_remove(FlowContextTable* table, uint64_t flow_id, uint8_t slot, uint32_t callout) noexcept nogil:
    cdef ContextShard* shard = _shard(table, flow_id)
    cdef uint32_t* link
    wfpd_lock(&shard.lock)
    link = _link_to(shard, flow_id, slot, callout)
    if link != NULL:
        _end(table, shard, link)
    wfpd_unlock(&shard.lock)
    return link != NULL


cdef void contexts_flow_ended(FlowContextTable* table, uint64_t flow_id) noexcept nogil:
    cdef ContextShard* shard = _shard(table, flow_id)
    cdef uint32_t* link
    if wfpd_count(&table.n) == 0:
        return
    wfpd_lock(&shard.lock)
    if shard.buckets != NULL:
        link = _bucket(shard, flow_id)
        while link[0] != NIL:
            if shard.records[link[0]].flow_id == flow_id:
                _end(table, shard, link)
            else:
                link = &shard.records[link[0]].next
    wfpd_unlock(&shard.lock)


cdef void _end_some(FlowContextTable* table, const uint32_t* numbers, uint32_t n_numbers) noexcept nogil:
    """End the contexts of these callouts; of all with `numbers` NULL."""
    cdef ContextShard* shard
    cdef uint32_t* link
    cdef uint32_t i, j, k
    cdef bint gone
    for i in range(CONTEXT_SHARDS):
        shard = &table.shards[i]
        wfpd_lock(&shard.lock)
        for j in range(shard.n_buckets if shard.buckets != NULL else 0):
            link = &shard.buckets[j]
            while link[0] != NIL:
                gone = numbers == NULL
                for k in range(n_numbers):
                    gone |= shard.records[link[0]].callout == numbers[k]
                if gone:
                    _end(table, shard, link)
                else:
                    link = &shard.records[link[0]].next
        wfpd_unlock(&shard.lock)


cdef const WfpdCallout* _compiled(item):
    """The compiled callout with a flow_delete that `item` is registered as, or NULL."""
    cdef const WfpdCallout* found
    capsule = getattr(item, "native", None)
    if capsule is None:
        return NULL
    found = capsule_read(capsule)
    return found if found.flow_delete != NULL else NULL


cdef bint _keeps(item) except -1:
    return getattr(item, "flow_delete", None) is not None or _compiled(item) != NULL


cdef bint _is_number(item, value) except -1:
    """Whether compiled code is to see what `item` keeps."""
    return type(value) is int and 0 < value < 1 << 64 and getattr(item, "native", None) is not None


cdef bint has_native_end(item, value) except -1:
    return _is_number(item, value) and _compiled(item) != NULL


class FlowDeleted:
    """What flow_delete(f) gets: the flow's id, the layer's name, and the context that was kept."""

    __slots__ = ("context", "flow_id", "layer")

    def __init__(self, flow_id, layer, context):
        self.flow_id = flow_id
        self.layer = layer
        self.context = context


cdef class FlowContexts:
    """Every context of one flow table; at most `capacity`.

    `on_error(callout name, exception)` is told of flow_delete's exceptions.
    """

    def __cinit__(self, uint32_t capacity=262144):
        cdef uint32_t i
        memset(&self.table, 0, sizeof(FlowContextTable))
        for i in range(CONTEXT_SHARDS):
            self.table.shards[i].ended = self.table.shards[i].free = NIL
        self.table.owner = <void*>self
        self.capacity = capacity
        self.callouts, self.errors, self.on_error, self.coming = {}, {}, None, []

    def __dealloc__(self):
        cdef ContextShard* shard
        cdef uint32_t i, j, index
        for i in range(CONTEXT_SHARDS):
            shard = &self.table.shards[i]
            for j in range(shard.n_buckets + 1 if shard.buckets != NULL else 0):
                index = shard.ended if j == shard.n_buckets else shard.buckets[j]
                while index != NIL:
                    if shard.records[index].is_object:
                        Py_DECREF(<object><PyObject*><uintptr_t>shard.records[index].value)
                    index = shard.records[index].next
            free(shard.buckets)
            free(shard.records)

    def __len__(self):
        return self.table.n

    @property
    def refused(self):
        """Values for which there was no room."""
        return self.table.refused

    def count_of(self, uint32_t callout):
        """How many contexts a callout has; looks at every one."""
        cdef uint32_t i, j, index, n = 0
        cdef ContextShard* shard
        with nogil:
            for i in range(CONTEXT_SHARDS if self.table.n else 0):
                shard = &self.table.shards[i]
                wfpd_lock(&shard.lock)
                for j in range(shard.n_buckets if shard.buckets != NULL else 0):
                    index = shard.buckets[j]
                    while index != NIL:
                        n += shard.records[index].callout == callout
                        index = shard.records[index].next
                wfpd_unlock(&shard.lock)
        return n

    cdef int allocate(self, uint64_t flow_id) except -1:
        """Memory of the flow's shard; under the GIL, so once."""
        cdef ContextShard* shard = _shard(&self.table, flow_id)
        cdef uint32_t n_buckets = 1, each = (self.capacity + CONTEXT_SHARDS - 1) // CONTEXT_SHARDS
        cdef uint32_t* buckets
        if shard.buckets != NULL:
            return 0
        while n_buckets < each:
            n_buckets *= 2
        # calloc: the records' pages are touched only as values come.
        buckets = <uint32_t*>calloc(n_buckets, sizeof(uint32_t))
        shard.records = <FlowContext*>calloc(each, sizeof(FlowContext))
        if buckets == NULL or shard.records == NULL:
            free(buckets)
            free(shard.records)
            shard.records = NULL
            raise MemoryError()
        memset(buckets, 0xFF, n_buckets * sizeof(uint32_t))
        wfpd_lock(&shard.lock)
        shard.capacity, shard.n_buckets, shard.buckets = each, n_buckets, buckets
        wfpd_unlock(&shard.lock)
        return 0

    cdef object of(self, uint64_t flow_id, uint8_t slot, uint32_t callout):
        """The value, None if there is none.  GIL held, so nobody lets go of an object meanwhile."""
        cdef ContextShard* shard = _shard(&self.table, flow_id)
        cdef uint32_t* link
        cdef FlowContext record
        if wfpd_count(&self.table.n) == 0:
            return None
        wfpd_lock(&shard.lock)
        link = _link_to(shard, flow_id, slot, callout)
        if link != NULL:
            record = shard.records[link[0]]
        wfpd_unlock(&shard.lock)
        if link == NULL:
            return None
        return <object><PyObject*><uintptr_t>record.value if record.is_object else record.value

    def find(self, uint64_t flow_id, uint8_t slot, uint32_t callout):
        """The value kept, or None."""
        return self.of(flow_id, slot, callout)

    def add(self, uint64_t flow_id, uint8_t slot, item, value):
        """Keep a value for the callout `item`, of a compiled one a number that it sees: "ok", "exists", or "full"."""
        cdef ContextStatus status
        self.allocate(flow_id)
        if _is_number(item, value):
            status = context_add(&self.table, flow_id, slot, item.number, value, False)
        else:
            Py_INCREF(value)
            status = context_add(&self.table, flow_id, slot, item.number, <uint64_t><uintptr_t><PyObject*>value, True)
            if status != CONTEXT_OK:
                Py_DECREF(value)
        if status != CONTEXT_OK:
            return "exists" if status == CONTEXT_EXISTS else "full"
        self.callouts[item.number] = item
        return "ok"

    def give(self, uint64_t flow_id, uint8_t slot, item, value):
        """As add(), of what another callout keeps for `item`; "refused" where it has no flow_delete, or is compiled and
        the value is no number from 1 to 2^64 - 1."""
        if value is None or not _keeps(item) or _compiled(item) != NULL and not _is_number(item, value):
            return "refused"
        return self.add(flow_id, slot, item, value)

    def add_number(self, uint64_t flow_id, uint8_t slot, uint32_t callout, uint64_t value):
        """As add(), of a number above 0, as native callouts do."""
        self.allocate(flow_id)
        return ("ok", "exists", "full")[context_add(&self.table, flow_id, slot, callout, value, False)]

    def find_number(self, uint64_t flow_id, uint8_t slot, uint32_t callout):
        """A number kept, 0 if there is none; what the packet path sees."""
        return context_find(&self.table, flow_id, slot, callout)

    def remove(self, uint64_t flow_id, uint8_t slot, uint32_t callout):
        """End one context, whose flow_delete drain() calls; False if there is none."""
        return bool(context_remove(&self.table, flow_id, slot, callout))

    def end_flow(self, uint64_t flow_id):
        """End a flow's contexts, as the flow table does."""
        contexts_flow_ended(&self.table, flow_id)

    def end_all(self):
        """End every context: the daemon stops."""
        _end_some(&self.table, NULL, 0)

    def expect(self, items):
        """Before compiled callouts may be called, who cannot ask for memory: these are the policy's callouts."""
        cdef uint64_t shard
        coming = []
        if any(getattr(item, "native", None) is not None for item in items):    # They may set contexts of all others.
            coming = [item for item in items if getattr(item, "number", 0) and _keeps(item)]
        for shard in range(CONTEXT_SHARDS if coming else 0):
            self.allocate(shard << 3)
        self.coming = coming
        self.callouts.update({item.number: item for item in coming})

    def retire(self, live, gone=()):
        """End the contexts of callouts other than `live`, and take what is live now for a number's callout.

        What is expected is live too, unless it is `gone`.
        """
        cdef uint32_t numbers[64]
        cdef uint32_t n = 0
        if not self.callouts:
            return
        known = {item.number: item for item in self.coming if item not in gone}
        known.update({item.number: item for item in live if hasattr(item, "number")})
        for number in list(self.callouts):
            if number in known:
                self.callouts[number] = known[number]
            elif n < 64:
                numbers[n] = number
                n += 1
        if n:
            _end_some(&self.table, numbers, n)
            self.drain()
            for number in numbers[:n]:
                self.callouts.pop(number, None)

    def drain(self, limit=4096):
        """Call flow_delete for contexts that have ended, at most `limit`; how many.  For one thread at a time."""
        cdef FlowContext record
        cdef ContextShard* shard
        cdef uint32_t i, index
        done = 0
        if wfpd_count(&self.table.n_ended) == 0:
            return 0
        for i in range(CONTEXT_SHARDS):
            shard = &self.table.shards[i]
            while done < limit and wfpd_count(&self.table.n_ended):
                wfpd_lock(&shard.lock)
                index = shard.ended
                if index != NIL:
                    record = shard.records[index]
                    shard.ended = record.next
                    shard.records[index].next = shard.free
                    shard.free = index
                wfpd_unlock(&shard.lock)
                if index == NIL:
                    break
                wfpd_subtract(&self.table.n_ended, 1)
                self._drained(&record)
                done += 1
        return done

    cdef int _drained(self, const FlowContext* record) except -1:
        cdef const WfpdCallout* compiled
        item, value = self.callouts.get(record.callout), record.value
        if record.is_object:
            value = <object><PyObject*><uintptr_t>record.value
            Py_DECREF(value)
        elif item is not None:
            compiled = _compiled(item)
            if compiled != NULL:
                with nogil:
                    compiled.flow_delete(compiled.state, record.flow_id, record.value)
                return 0
        self._deleted(item, FlowDeleted(record.flow_id, slot_name(record.slot), value))
        return 0

    def _deleted(self, item, told):
        flow_delete = getattr(item, "flow_delete", None)
        if flow_delete is None:
            return
        try:
            flow_delete(told)
        except Exception as error:
            self.errors[item.name] = self.errors.get(item.name, 0) + 1
            if self.on_error is not None:
                self.on_error(item.name, error)
