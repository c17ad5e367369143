"""The packed policy, checked once so that the packet path may trust every index in it.

The buffer is the compiler's, yet it is treated as a stranger's: whatever is in it, either
Snapshot raises ValueError or no later access leaves it.  Filters, conditions, terms and atoms
must follow each other without gaps (each record's first child is the one after its predecessor's
last), which makes the check one linear pass and overlap impossible.
"""

import struct
import sys

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memset

from ._classify cimport classify, tables_build, tables_free
from ._types cimport (
    FILTER_CALLOUT_TERMINATING, FILTER_CALLOUT_UNKNOWN, FILTER_PERMIT, FieldValues, N_FIELDS, N_SLOTS, NO_FILTER,
    REPLY_ICMP_UNREACHABLE, WORD_BLOCK, WORD_PERMIT, value_present, value_set128, value_set_text,
)

from wfpd.compiler import format as packed
from wfpd.model.conditions import Op
from wfpd.model.fields import FIELD, FIELD_ALIASES, FIELDS
from wfpd.model.layers import BY_SLOT, slot_name
from wfpd.model.policy import Action, FilterFlag

include "_evaluate.pxi"
include "_check.pxi"

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
    """Which counter slot belongs to which filter, over all snapshots of one engine."""

    def __cinit__(self):
        self._free = []

    def __dealloc__(self):
        free(self.uses)

    cdef uint32_t take(self) except 0xFFFFFFFF:
        cdef uint32_t slot, capacity
        cdef uint32_t* grown
        if self._free:
            slot = self._free.pop()
        else:
            if self.size == self.capacity:
                capacity = self.capacity * 2 if self.capacity else 64
                grown = <uint32_t*>realloc(self.uses, capacity * sizeof(uint32_t))
                if grown == NULL:
                    raise MemoryError()
                self.uses = grown
                self.capacity = capacity
            slot = self.size
            self.size += 1
        self.uses[slot] = 1
        return slot

    cdef void release(self, uint32_t slot) noexcept:
        self.uses[slot] -= 1
        if self.uses[slot] == 0:
            self._free.append(slot)


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
        self._resolve_layers(previous)
        self._resolve_counters(previous)
        if tables_build(&self.policy) != 0:
            raise MemoryError()

    def __dealloc__(self):
        cdef uint32_t i
        tables_free(&self.policy)
        if self.policy.counter_slots != NULL:
            for i in range(self._n_held):
                self.slots.release(self.policy.counter_slots[i])
        free(self.policy.counter_slots)
        free(self.policy.callout_registered)

    cdef int _adopt(self, buffer) except -1:
        """Point into the buffer once it is found sound."""
        cdef const uint8_t[::1] view
        cdef Sections sections
        cdef const char* fault
        exported = memoryview(buffer).cast("B")
        view = exported
        if not exported.readonly or (view.shape[0] and <size_t>&view[0] % 16):
            exported = memoryview(bytes(exported))
            view = exported
        self.buffer = exported.obj
        self._view = exported
        if view.shape[0] < <Py_ssize_t>HEADER_SIZE:
            raise ValueError("packed policy: shorter than its header")
        fault = sections_read(&view[0], view.shape[0], &sections)
        if fault == NULL:
            policy_point(&self.policy, &sections)
            fault = policy_check(&self.policy, &sections)
        if fault != NULL:
            memset(&self.policy, 0, sizeof(self.policy))
            raise ValueError(f"packed policy: {fault.decode()}")
        self._names = self._decode_strings(sections.count[SECTION_STRINGS], <PackedText*>sections.at[SECTION_STRINGS])
        self._callout_names = <PackedCallout*>sections.at[SECTION_CALLOUTS]
        return 0

    cdef tuple _decode_strings(self, uint64_t count, const PackedText* strings):
        cdef uint64_t i
        return tuple([
            (<const char*>self.policy.bytes)[strings[i].offset:strings[i].offset + strings[i].length].decode()
            for i in range(count)
        ])

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
            self.policy.callout_registered[i] = item is not None
        for i in range(self.policy.n_filters):
            if self.policy.filters[i].callout != NO_FILTER:
                item = self.callouts[self.policy.filters[i].callout]
                if item is not None and getattr(item, "needs_payload", True):
                    self.policy.needs_payload = 1
        return 0

    cdef int _resolve_layers(self, Snapshot previous) except -1:
        cdef uint32_t slot, i, j
        cdef uint16_t field
        cdef const PackedFilter* item
        for slot in range(N_SLOTS):
            self.policy.layer_generation[slot] = self.generation
            if previous is not None and previous.policy.layers[slot].hash == self.policy.layers[slot].hash:
                self.policy.layer_generation[slot] = previous.policy.layer_generation[slot]
            self.policy.max_layer_filters = max(self.policy.max_layer_filters, self.policy.layers[slot].count)
        for i in range(self.policy.n_filters):
            item = &self.policy.filters[i]
            for j in range(item.n_conditions):
                field = self.policy.conditions[item.first_condition + j].field
                self.policy.fields_needed[item.slot][field >> 6] |= (<uint64_t>1) << (field & 63)
        return 0

    cdef int _resolve_counters(self, Snapshot previous) except -1:
        """Give each filter the counter slot of the same key and content in `previous`, or a fresh one."""
        cdef uint32_t i, slot
        cdef dict old = previous._counters if previous is not None else {}
        cdef list fresh = []
        self.slots = previous.slots if previous is not None else CounterSlots()
        self._counters = {}
        self.policy.counter_slots = <uint32_t*>calloc(self.policy.n_filters + 1, sizeof(uint32_t))
        if self.policy.counter_slots == NULL:
            raise MemoryError()
        for i in range(self.policy.n_filters):
            item = &self.policy.filters[i]
            identity = (<const char*>item.key)[:16] + item.hash.to_bytes(8, "little")
            known = old.get(identity)
            if known is None or identity in self._counters:
                slot = self.slots.take()
                fresh.append(slot)
            else:
                slot = known
                self.slots.uses[slot] += 1
            self.policy.counter_slots[i] = slot
            self._n_held = i + 1
            self._counters[identity] = slot
        self._new_slots = tuple(fresh)
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
    def max_layer_filters(self) -> int:
        return self.policy.max_layer_filters

    def layer_generation(self, unsigned int slot) -> int:
        """The generation at which the content of `slot` last changed."""
        return self.policy.layer_generation[self._slot(slot)]

    def layer_count(self, unsigned int slot) -> int:
        """How many filters `slot` has."""
        return self.policy.layers[self._slot(slot)].count

    def fields_needed(self, unsigned int slot) -> set:
        """Names of the fields that the filters of `slot` look at."""
        cdef uint64_t* bits = self.policy.fields_needed[self._slot(slot)]
        return {item.name for item in FIELDS if bits[<uint32_t>item.id >> 6] >> (<uint32_t>item.id & 63) & 1}

    def counter_slots(self) -> list:
        """The counter slot of each filter, by filter index."""
        cdef uint32_t i
        return [self.policy.counter_slots[i] for i in range(self.policy.n_filters)]

    def new_counter_slots(self) -> tuple:
        """Slots that `previous` did not count in: their counters are to be zeroed before publishing."""
        return self._new_slots

    def filter_name(self, uint32_t index) -> str:
        return self._names[self._filter(index).name]

    def sublayer_name(self, uint32_t index) -> str:
        if index >= self.policy.n_sublayers:
            raise IndexError(f"no sublayer {index}")
        return self._names[self.policy.sublayers[index].name]

    def callout_name(self, uint32_t index) -> str:
        if index >= self.policy.n_callouts:
            raise IndexError(f"no callout {index}")
        return self._names[self._callout_names[index].name]

    def filter_info(self, uint32_t index) -> dict:
        """Everything about one filter that a person may ask for; keys as in the policy file."""
        cdef const PackedFilter* item = self._filter(index)
        return {
            "name": self._names[item.name],
            "provider": self._names[item.provider],
            "layer": slot_name(item.slot),
            "slot": item.slot,
            "sublayer": self.sublayer_name(item.sublayer),
            "action": Action(item.action).name.lower(),
            "key": (<const char*>item.key)[:16],
            "weight": item.weight,
            "flags": FilterFlag(item.flags),
            "callout": None if item.callout == NO_FILTER else self.callout_name(item.callout),
            "provider_context": None if item.context == NO_FILTER else self._names[item.context],
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
