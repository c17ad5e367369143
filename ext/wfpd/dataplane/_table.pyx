"""One policy in the form that packets are decided by: a base, what is gone of it, what was added to it.

Immutable once published.  A change makes another snapshot over the same base (`_root`), which costs
the changes and not the policy.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ._layered cimport classify
from ._part cimport Part
from ._policy cimport MAX_ADDED, filter_matches, is_gone
from ._root cimport Added, Root
from ._types cimport FieldValues, N_SLOTS, NO_FILTER, WORD_BLOCK, WORD_PERMIT, value_set128, value_set_text

from wfpd.model.fields import FIELD, FIELD_ALIASES, FIELDS
from wfpd.model.layers import slot_name
from wfpd.model.policy import Action, FilterFlag

from ._root import says


cdef class Snapshot:
    """One policy in the form that packets are decided by; immutable.

    `buffer` is what `wfpd.compiler.pack.pack` made (a writable one is copied), a Part of it, or a Root;
    `callouts` holds for each of its callouts a callable, or None where the callout is not registered (a Root has
    them already).  `on_error`, `on_malformed`, `on_late` and `flows_full` are `policy.Word` PERMIT or
    BLOCK.  With `previous` the counters and layer generations of what did not change go on.  `added` are the
    root's parts (`_root.Added`).
    """

    def __cinit__(self, buffer, list callouts, *, uint64_t generation, Snapshot previous=None, int on_error,
                  int on_malformed, int on_late, int flows_full, bint audit=False, info=None, tuple added=()):
        if any(word not in (WORD_PERMIT, WORD_BLOCK) for word in (on_error, on_malformed, on_late, flows_full)):
            raise ValueError("a word is neither PERMIT nor BLOCK")
        if isinstance(buffer, Root):
            self.root = buffer
        else:
            part = buffer if isinstance(buffer, Part) else Part(buffer)
            self.root = Root(part, callouts) if previous is None else Root(part, callouts, previous.root, previous.added)
        self.policy = self.root.part.policy
        self.generation = self.policy.generation = generation
        self.info = info
        self.policy.on_error = on_error
        self.policy.on_malformed = on_malformed
        self.policy.on_late = on_late
        self.policy.flows_full = flows_full
        self.policy.audit = audit
        self._take(added)
        for slot in range(N_SLOTS):
            self.policy.layer_generation[<uint32_t>slot] = generation
            if previous is not None and previous.layers[<uint32_t>slot].hash == self.layers[<uint32_t>slot].hash and (
                    previous.root is self.root or not previous._is_changed(slot)):
                self.policy.layer_generation[<uint32_t>slot] = previous.policy.layer_generation[<uint32_t>slot]

    def __dealloc__(self):
        free(self.parts)
        free(self.gone)

    cdef int _take(self, tuple added) except -1:
        """The base as it is now, and the added parts."""
        cdef CompiledPolicy* policy = &self.policy
        cdef Root root = self.root
        cdef uint32_t slot
        cdef size_t words = (root.n_filters >> 6) + 1
        if len(added) > MAX_ADDED:
            raise ValueError(f"more than {<int>MAX_ADDED} added parts")
        memcpy(self.layers, policy.layers, sizeof(self.layers))
        policy.layers = self.layers
        for slot in range(N_SLOTS):
            self.layers[slot].count = <uint32_t>root.content[slot].count
            self.layers[slot].hash = root.content[slot].hash
        policy.counter_slots = root.counter_slots
        policy.briefs = root.briefs
        policy.added_weights = root.added_weights
        policy.sublayer_weights = root.sublayer_weights
        policy.callout_registered = root.registered
        policy.filter_contexts = root.context_numbers
        policy.n_ids = root.n_ids
        policy.needs_payload = root.needs_payload
        policy.callout_slots = root.callout_slots
        policy.has_native = root.has_native
        policy.context_texts = root.context_texts
        self.n_callouts_known = policy.n_callout_slots = <uint32_t>len(root.callouts)
        if root.n_gone:
            self.gone = <uint64_t*>calloc(words, sizeof(uint64_t))
            if self.gone == NULL:
                raise MemoryError()
            memcpy(self.gone, root.gone, words * sizeof(uint64_t))
            policy.gone = self.gone
        self.added = added
        self.parts = <CompiledPolicy*>calloc(len(added) + 1, sizeof(CompiledPolicy))
        if self.parts == NULL:
            raise MemoryError()
        for slot in range(<uint32_t>len(added)):
            self._take_part(slot)
        for slot in range(N_SLOTS):
            self.n_live += self.layers[slot].count
        return 0

    cdef int _take_part(self, uint32_t at) except -1:
        cdef Added entry = self.added[at]
        cdef CompiledPolicy* policy = &self.policy
        cdef uint32_t slot
        self.parts[at] = entry.part.policy
        self.parts[at].gone = entry.gone
        policy.added[at].policy = &self.parts[at]
        policy.added[at].ids = entry.ids
        policy.n_added = at + 1
        policy.max_layer_filters += entry.part.policy.max_layer_filters
        for slot in range(N_SLOTS):
            self.layers[slot].count += <uint32_t>entry.content[slot].count
            self.layers[slot].hash ^= entry.content[slot].hash
            policy.fields_needed[slot][0] |= entry.part.policy.fields_needed[slot][0]
            policy.fields_needed[slot][1] |= entry.part.policy.fields_needed[slot][1]
        return 0

    def _is_changed(self, unsigned int slot) -> bool:
        """Whether filters of the slot are gone or added, so that the numbers of a new base are others."""
        cdef const PackedLayer* base = &self.root.part.policy.layers[slot]
        return base.hash != self.layers[slot].hash

    def changed(self, uint64_t generation, tuple added) -> Snapshot:
        """The snapshot over the same root as it is now, with these parts beside the base."""
        return self.moved(self.root, generation, added)

    def moved(self, Root root not None, uint64_t generation, tuple added) -> Snapshot:
        """The same words over a root."""
        return Snapshot(root, [], generation=generation, previous=self, on_error=self.policy.on_error,
                        on_malformed=self.policy.on_malformed, on_late=self.policy.on_late,
                        flows_full=self.policy.flows_full, audit=self.policy.audit, info=self.info, added=added)

    cdef const PackedFilter* _filter(self, uint32_t index) except NULL:
        part, place = self.root.place(index)
        return (<Part>part).filter(place)

    @property
    def buffer(self):
        """The base's packed bytes."""
        return self.root.part.buffer

    @property
    def slots(self):
        return self.root.slots

    @property
    def callouts(self) -> list:
        """Callables or None, by callout."""
        return self.root.callouts[:self.n_callouts_known]

    @property
    def n_filters(self) -> int:
        return self.n_live

    @property
    def n_callouts(self) -> int:
        return self.n_callouts_known

    def filter_ids(self) -> list:
        """The number of every filter: of the base's in rank order, then of the added ones."""
        cdef uint32_t i
        cdef Added entry
        found = [i for i in range(self.root.n_filters) if not is_gone(self.gone, i)]
        for entry in self.added:
            found += [entry.ids[i] for i in range(entry.part.policy.n_filters)
                      if not is_gone(entry.gone, i)]
        return found

    @property
    def audit(self) -> bool:
        return bool(self.policy.audit)

    @property
    def needs_payload(self) -> bool:
        return bool(self.policy.needs_payload)

    @property
    def parks(self) -> bool:
        """A callout says that it parks packets."""
        return any(item is not None and says(item, "parks", False) for item in self.callouts)

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
        """The number of the filter at `place` from the first of `slot` on (added ones lie behind all others)."""
        cdef uint64_t index = self.policy.layers[self._slot(slot)].first + <uint64_t>place
        if index >= self.policy.n_ids or self.policy.briefs[index].slot != slot:
            raise IndexError(f"no filter {place} at {slot_name(slot)}")
        return index

    def fields_needed(self, unsigned int slot) -> set:
        """Names of the fields that the filters of `slot` look at."""
        cdef uint64_t* bits = self.policy.fields_needed[self._slot(slot)]
        return {item.name for item in FIELDS if bits[<uint32_t>item.id >> 6] >> (<uint32_t>item.id & 63) & 1}

    def counter_slots(self) -> list:
        """The counter slot of each filter, in the order of `filter_ids`."""
        return [self.policy.counter_slots[<uint32_t>i] for i in self.filter_ids()]

    def filters_with(self, unsigned int flags) -> list:
        """(number, counter slot) of every filter that has one of the FilterFlag bits; the others cost no object."""
        cdef uint32_t i
        cdef Added entry
        found = []
        for i in range(self.root.n_filters):
            if self.policy.briefs[i].flags & flags and not is_gone(self.gone, i):
                found.append((i, self.policy.counter_slots[i]))
        for entry in self.added:
            for i in range(entry.part.policy.n_filters):
                if entry.part.policy.filters[i].flags & flags and not is_gone(entry.gone, i):
                    found.append((entry.ids[i], self.policy.counter_slots[entry.ids[i]]))
        return found

    def new_counter_slots(self) -> tuple:
        """Slots of this root that its predecessor did not count in."""
        cdef uint32_t i
        return tuple([self.root.fresh[i] for i in range(self.root.n_fresh)])

    def filter_name(self, uint32_t index) -> str:
        part, place = self.root.place(index)
        return (<Part>part).name((<Part>part).filter(place).name)

    def sublayer_name(self, uint32_t index) -> str:
        return self.root.sublayer_names[index]

    def callout_name(self, uint32_t index) -> str:
        return self.root.callout_names[index]

    def find(self, bytes key not None):
        """The number of the filter of this key that is not gone, or None."""
        cdef Added entry
        for entry in self.added:
            place = entry.find(key)
            if place is not None:
                return entry.ids[<uint32_t>place]
        return self.root.find(key)

    def part_of(self, uint32_t index) -> int:
        """Which of the packed policies has a filter: equal for two filters of one."""
        part, _ = self.root.place(index)
        return id(part)

    def filter_info(self, uint32_t index) -> dict:
        """Everything about one filter that a person may ask for; keys as in the policy file."""
        cdef Part part
        cdef const PackedFilter* item
        part, place = self.root.place(index)
        item = part.filter(place)
        brief = &self.policy.briefs[index]
        return {
            "name": part.name(item.name),
            "provider": part.name(item.provider),
            "layer": slot_name(item.slot),
            "slot": item.slot,
            "sublayer": self.sublayer_name(brief.sublayer),
            "sublayer_weight": self.policy.sublayer_weights[brief.sublayer],
            "action": Action(item.action).name.lower(),
            "key": (<const char*>item.key)[:16],
            "weight": item.weight,
            "flags": FilterFlag(item.flags),
            "reply": item.reply,
            "on_error": item.on_error,
            "callout": None if brief.callout == NO_FILTER else self.callout_name(brief.callout),
            "provider_context": None if item.context == NO_FILTER else part.name(item.context),
            "counter_slot": brief.counter_slot,
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
        """Every filter of `slot` whose conditions hold, by looking at each; in order of arbitration."""
        cdef FieldValues vector
        cdef const PackedLayer* layer = &self.root.part.policy.layers[self._slot(slot)]
        cdef Added entry
        cdef uint32_t i
        texts = _fill_values(&vector, values, slot & 1)
        found = [i for i in range(layer.first, layer.first + layer.count)
                 if not is_gone(self.gone, i) and filter_matches(&self.root.part.policy, i, &vector)]
        for entry in self.added:
            layer = &entry.part.policy.layers[slot]
            for i in range(layer.first, layer.first + layer.count):
                if not is_gone(entry.gone, i) and filter_matches(&entry.part.policy, i, &vector):
                    found.append(entry.ids[i])
        del texts
        return sorted(found, key=self._rank) if self.added else found

    def _rank(self, uint32_t index) -> tuple:
        """The order of arbitration, the first one smallest."""
        sublayer = self.policy.briefs[index].sublayer
        return -<int>self.policy.sublayer_weights[sublayer], sublayer, -<object>self._filter(index).weight, index

    def set_filter_contexts(self, dict values not None) -> None:
        """By filter number; of a snapshot that is not published yet."""
        for index, value in values.items():
            self.root.set_filter_context(index, value)
        self.policy.filter_contexts = self.root.context_numbers

    def filter_context_number(self, uint32_t index) -> int:
        """What a native callout finds as the filter's context; 0: nothing, or no number."""
        if index >= self.policy.n_ids:
            raise IndexError(f"no filter {index}")
        return 0 if self.policy.filter_contexts == NULL else self.policy.filter_contexts[index]

    def callout_of(self, uint32_t index):
        """What is registered for the filter's callout; None where nothing is, or it names none."""
        if index >= self.policy.n_ids:
            raise IndexError(f"no filter {index}")
        number = self.policy.briefs[index].callout
        return None if number == NO_FILTER else self.root.callouts[number]

    def provider_context(self, uint32_t index):
        """The data of the filter's provider context, or None."""
        cdef const PackedFilter* item
        part, place = self.root.place(index)
        item = (<Part>part).filter(place)
        if item.context == NO_FILTER:
            return None
        return self.root.provider_contexts.get((<Part>part).name(item.context))

    def filters_of_callouts(self, callouts) -> list:
        """(number, callout's number) of every filter that names one of these callouts; the others cost no object."""
        cdef uint32_t i, j, n = <uint32_t>len(self.root.callouts)
        cdef Added entry
        wanted = bytearray(n + 1)
        cdef uint8_t[::1] asked = wanted
        found = []
        for i in callouts:
            asked[i] = 1
        for i in range(self.root.n_filters):
            j = self.policy.briefs[i].callout
            if j != NO_FILTER and asked[j] and not is_gone(self.gone, i):
                found.append((i, j))
        for entry in self.added:
            for i in range(entry.part.policy.n_filters):
                j = self.policy.briefs[entry.ids[i]].callout
                if j != NO_FILTER and asked[j] and not is_gone(entry.gone, i):
                    found.append((entry.ids[i], j))
        return found

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
        bits = FIELDS[index].type_for(6 if is_v6 else 4).bits
        if not bits:
            text = value.encode() if isinstance(value, str) else bytes(value)
            texts.append(text)
            value_set_text(vector, index, <const uint8_t*><const char*>text, len(text))
        elif value < 0 or value >> bits:
            raise ValueError(f"{name}: {value} is outside of {bits} bits")
        else:
            value_set128(vector, index, value >> 64, value & 0xFFFFFFFFFFFFFFFF)
    return texts
