"""The packed policy, checked once so that the packet path may trust every index in it.

The buffer is the compiler's, yet it is treated as a stranger's: whatever is in it, either
Snapshot raises ValueError or no later access leaves it.  Filters, conditions, terms and atoms
must follow each other without gaps (each record's first child is the one after its predecessor's
last), which makes the check one linear pass and overlap impossible.
"""

import sys

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memset

from ._classify cimport classify
from ._lock cimport wfpd_lock, wfpd_unlock
from ._policy cimport (
    N_OPS, OP_EMPTY, OP_IN_SET, OP_RANGE, OP_TEXT_EQUAL, OP_TEXT_RANGE, SET_RANGES128, SET_RANGES32, SET_TEXTS, at_most,
    filter_matches, text_compare,
)
from ._set cimport SetIndex, set_build, set_free
from ._tables cimport tables_build, tables_free
from ._types cimport (
    FILTER_CALLOUT_TERMINATING, FILTER_CALLOUT_UNKNOWN, FILTER_PERMIT, FieldValues, N_FIELDS, N_SLOTS, NO_FILTER,
    REPLY_ICMP_UNREACHABLE, WORD_BLOCK, WORD_PERMIT, value_present, value_set128, value_set_text,
)

from wfpd.model.fields import FIELD, FIELD_ALIASES, FIELDS
from wfpd.model.layers import BY_SLOT, slot_name
from wfpd.model.policy import Action, FilterFlag

include "_check.pxi"
include "_resolve.pxi"

if sys.byteorder != "little":
    raise ImportError("wfpd's packed policy is little-endian; this host is not")
if len(FIELDS) != N_FIELDS:
    raise ImportError("_field_ids.pxi is older than wfpd/model/fields.py: generate it anew")
_learn_schema()


def packed_sizes() -> dict:
    """Bytes of each packed record as the packet path sees it, by the record's name in the format."""
    return {
        "LAYER": sizeof(PackedLayer), "FILTER": sizeof(PackedFilter), "CONDITION": sizeof(PackedCondition),
        "TERM": sizeof(PackedTerm), "ATOM": sizeof(PackedAtom), "SET": sizeof(PackedSet), "TEXT": sizeof(PackedText),
        "SUBLAYER": sizeof(PackedSublayer), "CALLOUT": sizeof(PackedCallout), "STRING": sizeof(PackedText),
    }


cdef class CounterSlots:
    """Which counter slots are in use, over all snapshots of one engine."""

    def __dealloc__(self):
        free(self.uses)
        free(self.unused)

    cdef int hold(self, uint32_t* slots, uint32_t n, uint32_t* fresh, uint32_t* n_fresh) noexcept nogil:
        cdef uint32_t i
        n_fresh[0] = 0
        for i in range(n):
            n_fresh[0] += slots[i] == NO_FILTER
        wfpd_lock(&self.lock)
        if self._reserve(n_fresh[0]):
            wfpd_unlock(&self.lock)
            return -1
        n_fresh[0] = 0
        for i in range(n):
            if slots[i] == NO_FILTER:
                slots[i] = self._take()
                fresh[n_fresh[0]] = slots[i]
                n_fresh[0] += 1
            self.uses[slots[i]] += 1
        wfpd_unlock(&self.lock)
        return 0

    cdef void let_go(self, const uint32_t* slots, uint32_t n) noexcept nogil:
        cdef uint32_t i
        wfpd_lock(&self.lock)
        for i in range(n):
            self.uses[slots[i]] -= 1
            if self.uses[slots[i]] == 0:
                self.unused[self.n_unused] = slots[i]
                self.n_unused += 1
        wfpd_unlock(&self.lock)

    cdef uint32_t _take(self) noexcept nogil:
        if self.n_unused:
            self.n_unused -= 1
            return self.unused[self.n_unused]
        self.uses[self.size] = 0
        self.size += 1
        return self.size - 1

    cdef int _reserve(self, uint32_t n) noexcept nogil:
        """Room to take `n` slots."""
        cdef size_t capacity = self.capacity if self.capacity else 64
        cdef uint32_t* grown
        while capacity + self.n_unused < <size_t>self.size + n:
            capacity *= 2
        if capacity == self.capacity:
            return 0
        grown = <uint32_t*>realloc(self.uses, capacity * sizeof(uint32_t))
        if grown == NULL:
            return -1
        self.uses = grown
        grown = <uint32_t*>realloc(self.unused, capacity * sizeof(uint32_t))
        if grown == NULL:
            return -1
        self.unused = grown
        self.capacity = <uint32_t>capacity
        return 0


def _says(item, name, default):
    """What a callout says of itself: the callable, or the object whose method it is."""
    return getattr(item, name, getattr(getattr(item, "__self__", None), name, default))


cdef int _index_sets(CompiledPolicy* policy) noexcept nogil:
    """Directories of the sets of numbers; -1 when memory ran out."""
    cdef uint32_t i
    cdef const PackedSet* item
    cdef int status = 0
    policy.set_index = <SetIndex*>calloc(policy.n_sets + 1, sizeof(SetIndex))
    if policy.set_index == NULL:
        return -1
    for i in range(policy.n_sets):
        item = &policy.sets[i]
        if item.kind == SET_RANGES32:
            status = set_build(&policy.set_index[i], policy.ranges32 + 2 * <uint64_t>item.first, NULL, item.count)
        elif item.kind == SET_RANGES128:
            status = set_build(&policy.set_index[i], NULL, policy.ranges128 + 4 * <uint64_t>item.first, item.count)
        if status != 0:
            return -1
    return 0


cdef void _forget_sets(CompiledPolicy* policy) noexcept nogil:
    cdef uint32_t i
    if policy.set_index != NULL:
        for i in range(policy.n_sets):
            set_free(&policy.set_index[i])
    free(policy.set_index)


@cython.no_gc_clear  # __dealloc__ gives the counter slots back and needs `slots` for it.
cdef class Snapshot:
    """One policy in the form that packets are decided by; immutable.

    `buffer` is what `wfpd.compiler.pack.pack` made (a writable one is copied); `callouts` holds
    for each of its callouts a callable, or None where the callout is not registered.  `on_error`,
    `on_malformed`, `on_late` and `flows_full` are `policy.Word` PERMIT or BLOCK.  With `previous`
    the counters and layer generations of what did not change go on.
    """

    def __cinit__(self, buffer, list callouts, *, uint64_t generation, Snapshot previous=None, int on_error,
                  int on_malformed, int on_late, int flows_full, bint audit=False, info=None):
        if any(word not in (WORD_PERMIT, WORD_BLOCK) for word in (on_error, on_malformed, on_late, flows_full)):
            raise ValueError("a word is neither PERMIT nor BLOCK")
        self._adopt(buffer)
        self.callouts = list(callouts)
        self.generation = self.policy.generation = generation
        self.info = info
        self.policy.on_error = on_error
        self.policy.on_malformed = on_malformed
        self.policy.on_late = on_late
        self.policy.flows_full = flows_full
        self.policy.audit = audit
        self._resolve_callouts()
        self._resolve_counters(previous)
        self._build()

    def __dealloc__(self):
        # What takes time with the number of filters lets other threads run.
        with nogil:
            tables_free(&self.policy)
            _forget_sets(&self.policy)
            if self._holds_counters:
                self.slots.let_go(self.policy.counter_slots, self.policy.n_filters)
            free(self.policy.counter_slots)
            free(self.policy.briefs)
            free(self.policy.callout_registered)
            free(self._fresh)

    cdef int _build(self) except -1:
        cdef CompiledPolicy* policy = &self.policy
        cdef int failed
        with nogil:
            failed = _index_sets(policy) or tables_build(policy)
        if failed:
            raise MemoryError()
        return 0

    cdef int _adopt(self, buffer) except -1:
        """Point into the buffer once it is found sound."""
        cdef const uint8_t[::1] view
        cdef Sections sections
        cdef CompiledPolicy* policy = &self.policy
        cdef const char* fault
        cdef const uint8_t* data
        cdef uint64_t size
        exported = memoryview(buffer).cast("B")
        view = exported
        if not exported.readonly or (view.shape[0] and <size_t>&view[0] % 16):
            exported = memoryview(bytes(exported))
            view = exported
        self.buffer = exported.obj
        self._view = exported
        if view.shape[0] < <Py_ssize_t>HEADER_SIZE:
            raise ValueError("packed policy: shorter than its header")
        data, size = &view[0], view.shape[0]
        with nogil:
            fault = sections_read(data, size, &sections)
            if fault == NULL:
                policy_point(policy, &sections)
                fault = policy_check(policy, &sections)
        if fault != NULL:
            memset(&self.policy, 0, sizeof(self.policy))
            raise ValueError(f"packed policy: {fault.decode()}")
        self._strings = <const PackedText*>sections.at[SECTION_STRINGS]
        self._callouts = <const PackedCallout*>sections.at[SECTION_CALLOUTS]
        self._names = {}
        return 0

    cdef str _name(self, uint32_t index):
        """A string of the policy, decoded when it is first asked for."""
        cdef const PackedText* text = self._strings + index
        name = self._names.get(index)
        if name is None:
            raw = (<const char*>self.policy.bytes)[text.offset:<uint64_t>text.offset + text.length]
            name = self._names[index] = raw.decode("utf-8", "replace")
        return name

    cdef int _resolve_callouts(self) except -1:
        cdef uint32_t i
        if len(self.callouts) != self.policy.n_callouts:
            raise ValueError(f"{self.policy.n_callouts} callouts in the policy, {len(self.callouts)} given")
        self.policy.callout_registered = <uint8_t*>calloc(self.policy.n_callouts + 1, 1)
        if self.policy.callout_registered == NULL:
            raise MemoryError()
        for i, item in enumerate(self.callouts):
            if item is not None and not callable(item):
                raise ValueError(f"callout {self.callout_name(i)!r} is not callable")
        with nogil:
            callouts_in_use(&self.policy, self.policy.callout_registered)
        for i, item in enumerate(self.callouts):
            if self.policy.callout_registered[i] and item is not None and _says(item, "needs_payload", True):
                self.policy.needs_payload = 1
            self.policy.callout_registered[i] = item is not None
        return 0

    cdef int _resolve_counters(self, Snapshot previous) except -1:
        """Give each filter the counter slot of the same key and content in `previous`, or a fresh one."""
        cdef const CompiledPolicy* old = NULL if previous is None else &previous.policy
        cdef CompiledPolicy* policy = &self.policy
        cdef CounterSlots slots = previous.slots if previous is not None else CounterSlots()
        cdef size_t n = <size_t>policy.n_filters + 1
        cdef int failed
        self.slots = slots
        with nogil:
            policy.counter_slots = <uint32_t*>calloc(n, sizeof(uint32_t))
            policy.briefs = <FilterBrief*>calloc(n, sizeof(FilterBrief))
            self._fresh = <uint32_t*>calloc(n, sizeof(uint32_t))
            failed = policy.counter_slots == NULL or policy.briefs == NULL or self._fresh == NULL
            if not failed:
                layers_resolve(policy, old)
                failed = (counters_inherit(policy, old)
                          or slots.hold(policy.counter_slots, policy.n_filters, self._fresh, &self._n_fresh))
            if not failed:
                self._holds_counters = True
                briefs_make(policy)
        if failed:
            raise MemoryError()
        return 0

    @property
    def n_filters(self) -> int:
        return self.policy.n_filters

    @property
    def n_callouts(self) -> int:
        return self.policy.n_callouts

    @property
    def audit(self) -> bool:
        return bool(self.policy.audit)

    @property
    def needs_payload(self) -> bool:
        return bool(self.policy.needs_payload)

    @property
    def parks(self) -> bool:
        """A callout says that it parks packets."""
        return any(item is not None and _says(item, "parks", False) for item in self.callouts)

    @property
    def max_layer_filters(self) -> int:
        return self.policy.max_layer_filters

    def layer_generation(self, unsigned int slot) -> int:
        """The generation at which the content of `slot` last changed."""
        return self.policy.layer_generation[self._slot(slot)]

    def layer_count(self, unsigned int slot) -> int:
        """How many filters `slot` has."""
        return self.policy.layers[self._slot(slot)].count

    def layer_filter(self, unsigned int slot, uint32_t place) -> int:
        """The index of the filter at `place` among those of `slot`."""
        if place >= self.policy.layers[self._slot(slot)].count:
            raise IndexError(f"no filter {place} at {slot_name(slot)}")
        return self.policy.layers[slot].first + place

    def fields_needed(self, unsigned int slot) -> set:
        """Names of the fields that the filters of `slot` look at."""
        cdef uint64_t* bits = self.policy.fields_needed[self._slot(slot)]
        return {item.name for item in FIELDS if bits[<uint32_t>item.id >> 6] >> (<uint32_t>item.id & 63) & 1}

    def counter_slots(self) -> list:
        """The counter slot of each filter, by filter index."""
        cdef uint32_t i
        return [self.policy.counter_slots[i] for i in range(self.policy.n_filters)]

    def filters_with(self, unsigned int flags) -> list:
        """(index, counter slot) of every filter that has one of the FilterFlag bits; the others cost no object."""
        cdef uint32_t i
        found = []
        for i in range(self.policy.n_filters):
            if self.policy.filters[i].flags & flags:
                found.append((i, self.policy.counter_slots[i]))
        return found

    def new_counter_slots(self) -> tuple:
        """Slots that `previous` did not count in."""
        cdef uint32_t i
        return tuple([self._fresh[i] for i in range(self._n_fresh)])

    def filter_name(self, uint32_t index) -> str:
        return self._name(self._filter(index).name)

    def sublayer_name(self, uint32_t index) -> str:
        if index >= self.policy.n_sublayers:
            raise IndexError(f"no sublayer {index}")
        return self._name(self.policy.sublayers[index].name)

    def callout_name(self, uint32_t index) -> str:
        if index >= self.policy.n_callouts:
            raise IndexError(f"no callout {index}")
        return self._name(self._callouts[index].name)

    def filter_info(self, uint32_t index) -> dict:
        """Everything about one filter that a person may ask for; keys as in the policy file."""
        cdef const PackedFilter* item = self._filter(index)
        return {
            "name": self._name(item.name),
            "provider": self._name(item.provider),
            "layer": slot_name(item.slot),
            "slot": item.slot,
            "sublayer": self.sublayer_name(item.sublayer),
            "action": Action(item.action).name.lower(),
            "key": (<const char*>item.key)[:16],
            "weight": item.weight,
            "flags": FilterFlag(item.flags),
            "callout": None if item.callout == NO_FILTER else self.callout_name(item.callout),
            "provider_context": None if item.context == NO_FILTER else self._name(item.context),
            "counter_slot": self.policy.counter_slots[index],
        }

    def match(self, unsigned int slot, dict values not None) -> list:
        """Cold door to classify(): the filters of `slot` that arbitration can need for `values`."""
        cdef FieldValues vector
        cdef uint32_t count, i
        cdef uint32_t* found = <uint32_t*>calloc(self.policy.max_layer_filters + 1, sizeof(uint32_t))
        if found == NULL:
            raise MemoryError()
        try:
            texts = _fill_values(&vector, values, self._slot(slot) & 1)
            count = classify(&self.policy, slot, &vector, found)
            del texts
            return [found[i] for i in range(count)]
        finally:
            free(found)

    def matches_slow(self, unsigned int slot, dict values not None) -> list:
        """Every filter of `slot` whose conditions hold, by looking at each."""
        cdef FieldValues vector
        cdef const PackedLayer* layer = &self.policy.layers[self._slot(slot)]
        cdef uint32_t i
        texts = _fill_values(&vector, values, slot & 1)
        found = [i for i in range(layer.first, layer.first + layer.count) if filter_matches(&self.policy, i, &vector)]
        del texts
        return found

    cdef const PackedFilter* _filter(self, uint32_t index) except NULL:
        if index >= self.policy.n_filters:
            raise IndexError(f"no filter {index}")
        return &self.policy.filters[index]

    cdef unsigned int _slot(self, unsigned int slot) except? 0xFFFF:
        if slot >= N_SLOTS:
            raise IndexError(f"no slot {slot}")
        return slot


cdef list _fill_values(FieldValues* vector, dict values, unsigned int is_v6):
    """Fill `vector` from names; the list returned keeps the texts' memory."""
    cdef bytes text
    cdef uint32_t bits
    memset(vector, 0, sizeof(FieldValues))
    texts = []
    for name, value in values.items():
        if value is None:
            continue
        index = FIELD[FIELD_ALIASES.get(name, name)].id
        bits = field_bits[is_v6][<uint32_t>index]
        if not bits:
            text = value.encode() if isinstance(value, str) else bytes(value)
            texts.append(text)
            value_set_text(vector, index, <const uint8_t*><const char*>text, len(text))
        elif value < 0 or value >> bits:
            raise ValueError(f"{name}: {value} is outside of {bits} bits")
        else:
            value_set128(vector, index, value >> 64, value & 0xFFFFFFFFFFFFFFFF)
    return texts
