"""The policy that snapshots are built from, and what is known of every filter added to it since.

The base is never edited.  What a change adds gets the next numbers, in arrays with room for
ADDED_ROOM filters that only ever grow, so that the snapshots before it, which are in use, lose and
gain nothing; what it removes is a bit in a map that each snapshot copies.  A base is built anew when
the room is used up, or in the background long before (`wfpd.control.tables`).
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

import json

from ._budget cimport CalloutSlot, Watch, slot_fill
from ._counters cimport CounterSlots
from ._part cimport Part
from ._policy cimport (
    CALLOUT_CONDITIONAL, CALLOUT_PASSES, CALLOUT_PASSES_OWN, CALLOUT_REGISTERED, CompiledPolicy, ContextText, FilterBrief,
    PackedFilter, is_gone,
)
from ._types cimport N_SLOTS, NO_FILTER

include "_resolve.pxi"


def says(item, name, default):
    """What a callout says of itself: the callable, or the object whose method it is."""
    return getattr(item, name, getattr(getattr(item, "__self__", None), name, default))


def _called(given):
    """What the interpreter calls of a callout; of a compiled one only when it pends."""
    if says(given, "native", None) is None:
        return getattr(given, "classify", None) or given
    told = says(given, "pended", None)

    def pends(c):
        if told is None:
            raise TypeError("a compiled callout pends, and its class has no method pended(c, handle)")
        told(c, c.pend())

    return pends


def _no_classify(c):
    raise TypeError("a compiled callout asks Python, and its class has no method classify(c)")


cdef uint8_t _registered(given) except 0xFF:
    """CalloutBits of a callable, 0 without one."""
    if given is None:
        return 0
    mode = says(given, "stream_mode", "hold")
    if mode not in ("hold", "pass"):
        raise ValueError(f"stream_mode is {mode!r}: a callout holds or passes (\"hold\", \"pass\")")
    return (CALLOUT_REGISTERED | (CALLOUT_PASSES if mode == "pass" else 0)
            | (CALLOUT_CONDITIONAL if says(given, "conditional_on_flow", False) else 0)
            | (CALLOUT_PASSES_OWN if says(given, "injects", False) and not says(given, "sees_injected", False) else 0))


cdef inline uint64_t _filter_hash(const PackedFilter* item) noexcept nogil:
    cdef uint64_t h = _identity_hash(item)
    return (h ^ h >> 29) * <uint64_t>0xBF58476D1CE4E5B9


cdef inline void _count_out(SlotContent* content, const PackedFilter* item) noexcept nogil:
    content[item.slot].count -= 1
    content[item.slot].hash ^= _filter_hash(item)


cdef void _brief(FilterBrief* brief, const PackedFilter* item, uint16_t sublayer, uint32_t callout,
                 uint32_t counter) noexcept nogil:
    brief.callout, brief.counter_slot = callout, counter
    brief.sublayer, brief.flags = sublayer, item.flags
    brief.action, brief.reply = item.action, item.reply
    brief.slot, brief.on_error = item.slot, item.on_error


@cython.no_gc_clear  # __dealloc__ gives the counter slots back and needs `slots` for it.
cdef class Root:
    """A base of snapshots.

    `callouts` holds for each of the part's callouts a callable, or None where it is not registered.
    Filters of the same key and content as in `previous` with its `added` parts go on with their
    counters, or, with `inherited`, the counter slots are given by filter (NO_FILTER: a fresh one).
    `dynamic` is a map of the filters that do not belong to a policy file (`dynamic_of`).
    """

    def __cinit__(self, Part part not None, list callouts, Root previous=None, tuple added=(), inherited=None,
                  dynamic=None):
        cdef uint32_t i
        cdef const PackedFilter* item
        self.part = part
        self.n_filters = self.n_ids = part.policy.n_filters
        self.callouts, self.callout_names, self.sublayer_names, self.places = [], [], [], []
        self.calls, self.asks, self.filter_contexts, self._provider_contexts = [], [], {}, {}
        self.callout_numbers, self.sublayer_numbers = {}, {}
        self.callouts_kept, self.names_kept, self.texts_kept = [], [], {}
        self._allocate()
        for i in range(part.policy.n_sublayers):
            self._sublayer(part, i)
        self._take_callouts(callouts)
        self._take_counters(previous, added, inherited)
        self._take_dynamic(dynamic)
        with nogil:
            for i in range(self.n_filters):
                item = &part.policy.filters[i]
                _brief(&self.briefs[i], item, item.sublayer, item.callout, self.counter_slots[i])
            for i in range(N_SLOTS):
                self.content[i].count = <int32_t>part.policy.layers[i].count
                self.content[i].hash = part.policy.layers[i].hash

    def __dealloc__(self):
        # What takes time with the number of filters lets other threads run.
        with nogil:
            if self.n_held:
                self.slots.let_go(self.counter_slots, self.n_held)
            free(self.briefs)
            free(self.counter_slots)
            free(self.added_weights)
            free(self.sublayer_weights)
            free(self.registered)
            free(self.callout_slots)
            free(self.gone)
            free(self.dynamic)
            free(self.fresh)
            free(self.context_numbers)
            free(self.context_texts)

    cdef int _allocate(self) except -1:
        cdef size_t n = <size_t>self.n_filters + ADDED_ROOM
        cdef CompiledPolicy* policy = &self.part.policy
        self.briefs = <FilterBrief*>calloc(n, sizeof(FilterBrief))
        self.counter_slots = <uint32_t*>calloc(n, sizeof(uint32_t))
        self.fresh = <uint32_t*>calloc(n, sizeof(uint32_t))
        self.added_weights = <uint64_t*>calloc(ADDED_ROOM, sizeof(uint64_t))
        self.gone = <uint64_t*>calloc((self.n_filters >> 6) + 1, sizeof(uint64_t))
        self.sublayer_weights = <uint16_t*>calloc(policy.n_sublayers + <size_t>SUBLAYER_ROOM, sizeof(uint16_t))
        self.registered = <uint8_t*>calloc(policy.n_callouts + <size_t>CALLOUT_ROOM, 1)
        self.callout_slots = <CalloutSlot*>calloc(policy.n_callouts + <size_t>CALLOUT_ROOM, sizeof(CalloutSlot))
        if (self.callout_slots == NULL or self.briefs == NULL or self.counter_slots == NULL or self.fresh == NULL or self.added_weights == NULL
                or self.gone == NULL or self.sublayer_weights == NULL or self.registered == NULL):
            raise MemoryError()
        return 0

    cdef int _take_callouts(self, list callouts) except -1:
        cdef CompiledPolicy* policy = &self.part.policy
        cdef uint32_t i
        if len(callouts) != policy.n_callouts:
            raise ValueError(f"{policy.n_callouts} callouts in the policy, {len(callouts)} given")
        for i in range(policy.n_callouts):
            self._callout(self.part, i, callouts[i])
        in_use = bytearray(policy.n_callouts + 1)
        cdef uint8_t[::1] used = in_use
        with nogil:
            for i in range(policy.n_filters):
                if policy.filters[i].callout != NO_FILTER:
                    used[policy.filters[i].callout] = 1
        for i in range(policy.n_callouts):
            if used[i]:
                self._use_callout(i)
        return 0

    cdef int _use_callout(self, uint32_t number) except -1:
        """A filter names it."""
        item = self.callouts[number]
        if item is not None and (says(item, "needs_payload", True) or says(item, "modifies", False)
                                 or says(item, "injects", False)):
            self.needs_payload = True
        if self.callout_slots[number].native != NULL:
            self.has_native = True
            if self.context_texts == NULL:
                self.context_texts = <ContextText*>calloc(<size_t>self.n_filters + ADDED_ROOM, sizeof(ContextText))
                if self.context_texts == NULL:
                    raise MemoryError()
        return 0

    cdef int _take_counters(self, Root previous, tuple added, inherited) except -1:
        """Each filter's counter slot, held."""
        cdef const uint32_t[::1] given
        self.slots = previous.slots if previous is not None else CounterSlots()
        if inherited is not None:
            given = memoryview(inherited).cast("B").cast("I")
            if given.shape[0] != self.n_filters:
                raise ValueError("not a counter slot for each filter")
            if self.n_filters:
                memcpy(self.counter_slots, &given[0], self.n_filters * sizeof(uint32_t))
        else:
            self._inherit(previous, added)
        return self._hold(0, self.n_filters)

    cdef int _take_dynamic(self, given) except -1:
        cdef size_t words = (self.n_filters >> 6) + 1
        if given is None:
            return 0
        if len(given) != words * sizeof(uint64_t):
            raise ValueError("not a bit for each filter")
        self.dynamic = <uint64_t*>calloc(words, sizeof(uint64_t))
        if self.dynamic == NULL:
            raise MemoryError()
        memcpy(self.dynamic, <const char*>given, words * sizeof(uint64_t))
        return 0

    cdef int _inherit(self, Root previous, tuple added) except -1:
        cdef uint32_t n = 0 if previous is None else previous.n_ids, i
        cdef const PackedFilter** items = <const PackedFilter**>calloc(<size_t>n + 1, sizeof(void*))
        cdef CompiledPolicy* policy = &self.part.policy
        cdef const CompiledPolicy* old = NULL
        cdef const uint32_t* counted = NULL
        cdef Added entry
        cdef int failed
        if items == NULL:
            raise MemoryError()
        if previous is not None:
            counted = previous.counter_slots
            old = &previous.part.policy
        for entry in added:
            for i in range(entry.part.policy.n_filters):
                if not is_gone(entry.gone, i):
                    items[entry.ids[i]] = &entry.part.policy.filters[i]
        with nogil:
            if old != NULL:
                for i in range(previous.n_filters):
                    if not is_gone(previous.gone, i):
                        items[i] = &old.filters[i]
            failed = counters_inherit(policy, items, n, counted, self.counter_slots)
            free(items)
        if failed:
            raise MemoryError()
        return 0

    cdef int _hold(self, uint32_t first, uint32_t n) except -1:
        """Hold the counter slots of filters `first` on; NO_FILTER becomes a fresh one."""
        cdef uint32_t n_fresh = 0
        cdef int failed
        with nogil:
            failed = self.slots.hold(self.counter_slots + first, n, self.fresh + self.n_fresh, &n_fresh)
        if failed:
            raise MemoryError()
        self.n_fresh += n_fresh
        self.n_held = first + n
        return 0

    cdef uint32_t _sublayer(self, Part part, uint32_t index) except 0xFFFFFFFF:
        """The number of a part's sublayer; one that is new gets the next."""
        item = &part.policy.sublayers[index]
        key = (<const char*>item.key)[:16]
        number = self.sublayer_numbers.get(key)
        # The base's own are numbered as they stand, whatever their keys.
        if number is None or part is self.part:
            number = len(self.sublayer_names)
            if number >= self.part.policy.n_sublayers + <uint32_t>SUBLAYER_ROOM:
                raise MemoryError("no room for another sublayer: build the base anew")
            self.sublayer_weights[<uint32_t>number] = item.weight
            self.sublayer_names.append(part.name(item.name))
            self.sublayer_numbers.setdefault(key, number)
        return number

    cdef uint32_t _callout(self, Part part, uint32_t index, given) except 0xFFFFFFFF:
        """The number of a part's callout; one that is new gets the next, with `given` as its callable."""
        item = &part.callouts[index]
        key = (<const char*>item.key)[:16]
        number = self.callout_numbers.get(key)
        if number is None or part is self.part:
            number = len(self.callouts)
            if number >= self.part.policy.n_callouts + <uint32_t>CALLOUT_ROOM:
                raise MemoryError("no room for another callout: build the base anew")
            if given is not None and not callable(given) and says(given, "native", None) is None:
                raise ValueError(f"callout {part.name(item.name)!r} is not callable")
            kept = slot_fill(&self.callout_slots[<uint32_t>number], given)
            self.callouts_kept.append(kept)
            self.registered[<uint32_t>number] = _registered(given)
            self.callouts.append(given)
            self.calls.append(_called(given))
            self.asks.append(says(given, "classify", None) or _no_classify)
            self.callout_names.append(part.name(item.name))
            self.names_kept.append(part.name(item.name).encode())
            self.callout_slots[<uint32_t>number].name = <const char*><bytes>self.names_kept[<uint32_t>number]
            self.callout_numbers.setdefault(key, number)
        return number

    cdef tuple place(self, uint32_t index):
        """(the part that has the filter, its number there), also of one that is gone."""
        if index >= self.n_ids:
            raise IndexError(f"no filter {index}")
        return (self.part, index) if index < self.n_filters else self.places[index - self.n_filters]

    def has_callout(self, bytes key not None) -> bool:
        """Whether a callout has this key."""
        return key in self.callout_numbers

    def callable_of(self, bytes key not None):
        """What is registered for the callout of this key, or None."""
        return self.callouts[self.callout_numbers[key]]

    def watches(self) -> dict:
        """By callout name, the counts of those that are compiled or have a budget, and which of both (`compiled`, `budget`)."""
        found = {}
        for number, (name, kept) in enumerate(zip(self.callout_names, self.callouts_kept)):
            if kept[1] is not None:
                budget = self.callout_slots[<uint32_t>number].budget_ns != 0
                counts = (<Watch>kept[1]).counters()
                found[name] = counts | {"budget": budget, "suspended": budget and counts["suspended"],
                                        "compiled": kept[0] is not None}
        return found

    @property
    def provider_contexts(self):
        """Name to data."""
        return self._provider_contexts

    @provider_contexts.setter
    def provider_contexts(self, given):
        self._provider_contexts = given
        self._take_texts()

    cdef int _take_texts(self) except -1:
        """The texts of filters that have come since the last time, which no packet meets yet."""
        cdef const PackedFilter* item
        cdef uint32_t i
        made = {}
        for i in range(self.n_texted, self.n_ids if self.context_texts != NULL else 0):
            if self.briefs[i].callout == NO_FILTER or self.callout_slots[self.briefs[i].callout].native == NULL:
                continue
            part, place = self.place(i)
            item = (<Part>part).filter(place)
            if item.context == NO_FILTER:
                continue
            name = (<Part>part).name(item.context)
            if name not in made:
                made[name] = self._text_of(name)
            text = made[name]
            if text is not None:
                self.context_texts[i].text, self.context_texts[i].length = <const char*><bytes>text, <uint32_t>len(text)
        self.n_texted = self.n_ids
        return 0

    def _text_of(self, name):
        """A provider context's data as text that lives as long as the root; None without data."""
        data = self._provider_contexts.get(name)
        if data is None:
            return None
        # A lone surrogate becomes its escape in JSON.
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        return self.texts_kept.setdefault(text, text)

    cdef int count_calls(self, uint32_t n) except -1:
        for number, kept in enumerate(self.callouts_kept if self.has_native else ()):
            if self.callout_slots[<uint32_t>number].native != NULL:
                (<Watch>kept[1]).count_calls(n)
        return 0

    def set_filter_context(self, uint32_t index, value) -> None:
        """What the filter's callout finds as its filter context from now on; None: nothing."""
        if index >= self.n_ids:
            raise IndexError(f"no filter {index}")
        if value is None:
            self.filter_contexts.pop(index, None)
        else:
            self.filter_contexts[index] = value
        number = value if isinstance(value, int) and 0 <= value < 1 << 64 else 0
        if self.context_numbers == NULL:
            if not number:
                return
            self.context_numbers = <uint64_t*>calloc(<size_t>self.n_filters + ADDED_ROOM, sizeof(uint64_t))
            if self.context_numbers == NULL:
                raise MemoryError()
        self.context_numbers[index] = number

    @property
    def room(self) -> int:
        """Filters that can still be added."""
        return self.n_filters + ADDED_ROOM - self.n_ids

    def add(self, Part part not None, list callouts, inherited=None) -> memoryview:
        """Give every filter of the part a number; the numbers, as unsigned 32-bit integers.

        `callouts` and `inherited` are as for the base.  MemoryError where there is no room: nothing has
        changed then but names of sublayers and callouts.
        """
        cdef CompiledPolicy* policy = &part.policy
        cdef const PackedFilter* item
        cdef const uint32_t[::1] given
        cdef uint32_t i, id, callout
        if len(callouts) != policy.n_callouts:
            raise ValueError(f"{policy.n_callouts} callouts in the part, {len(callouts)} given")
        if policy.n_filters > <uint32_t>self.room:
            raise MemoryError("no room for more filters: build the base anew")
        sublayers = [self._sublayer(part, i) for i in range(policy.n_sublayers)]
        numbers = [self._callout(part, i, callouts[i]) for i in range(policy.n_callouts)]
        for i in range(policy.n_filters):
            self.counter_slots[self.n_ids + i] = NO_FILTER
        if inherited is not None:
            given = memoryview(inherited).cast("B").cast("I")
            for i in range(policy.n_filters):
                self.counter_slots[self.n_ids + i] = given[i]
        self._hold(self.n_ids, policy.n_filters)
        ids = bytearray(4 * <size_t>policy.n_filters)
        cdef uint32_t[::1] out = memoryview(ids).cast("I") if policy.n_filters else None
        for i in range(policy.n_filters):
            item = &policy.filters[i]
            id = self.n_ids + i
            callout = item.callout
            if callout != NO_FILTER:
                callout = numbers[callout]
                self._use_callout(callout)
            _brief(&self.briefs[id], item, sublayers[item.sublayer], callout, self.counter_slots[id])
            self.added_weights[id - self.n_filters] = item.weight
            out[i] = id
            self.places.append((part, i))
        self.n_ids += policy.n_filters
        return memoryview(ids).toreadonly()

    def find(self, bytes key not None):
        """The base's filter of this key that is not gone, or None."""
        cdef uint32_t found
        if len(key) != 16:
            raise ValueError("a key has 16 bytes")
        found = self.part.find(<const uint8_t*><const char*>key, self.gone)
        return None if found == NO_FILTER else found

    def is_of_file(self, bytes key not None) -> bool:
        """Whether a filter of this key is in the base and came with a policy file."""
        found = self.find(key)
        return found is not None and not is_gone(self.dynamic, found)

    def has_room_for(self, Part part not None) -> bool:
        """Whether add() can take the part's filters, with the sublayers and callouts that are new."""
        cdef CompiledPolicy* policy = &part.policy
        cdef uint32_t i, n_sublayers = 0, n_callouts = policy.n_callouts
        for i in range(policy.n_sublayers):
            n_sublayers += (<const char*>policy.sublayers[i].key)[:16] not in self.sublayer_numbers
        # Any callout may be registered anew.
        return (policy.n_filters <= <uint32_t>self.room
                and len(self.sublayer_names) + n_sublayers <= self.part.policy.n_sublayers + <uint32_t>SUBLAYER_ROOM
                and len(self.callouts) + n_callouts <= self.part.policy.n_callouts + <uint32_t>CALLOUT_ROOM)

    def register(self, Part part not None, uint32_t index, given) -> None:
        """Make `given` the callable of a part's callout, for the filters that are added from now on.

        Nothing where it is that already, or where the root has no callout of its key.
        """
        item = &part.callouts[index]
        key = (<const char*>item.key)[:16]
        number = self.callout_numbers.get(key)
        if number is None or self.callouts[number] is given:
            return
        del self.callout_numbers[key]
        try:
            self.callout_slots[<uint32_t>number].successor = self._callout(part, index, given)
        except BaseException:
            self.callout_numbers[key] = number
            raise

    def remove(self, uint32_t index) -> None:
        """Mark a filter of the base as gone, in the snapshots made from now on."""
        cdef const PackedFilter* item = self.part.filter(index)
        if is_gone(self.gone, index):
            raise KeyError(index)
        self.gone[index >> 6] |= <uint64_t>1 << (index & 63)
        self.n_gone += 1
        _count_out(self.content, item)

    def restore(self, uint32_t index) -> None:
        """Take a removal back."""
        cdef const PackedFilter* item = self.part.filter(index)
        if not is_gone(self.gone, index):
            raise KeyError(index)
        self.gone[index >> 6] &= ~(<uint64_t>1 << (index & 63))
        self.n_gone -= 1
        self.content[item.slot].count += 1
        self.content[item.slot].hash ^= _filter_hash(item)

    def counters_of(self, Added added not None) -> bytes:
        """The counter slots of an added part's filters, as unsigned 32-bit integers."""
        cdef uint32_t i
        out = bytearray(4 * <size_t>added.part.policy.n_filters)
        cdef uint32_t[::1] found = memoryview(out).cast("I") if added.part.policy.n_filters else None
        for i in range(added.part.policy.n_filters):
            if added.ids[i] >= self.n_ids:
                raise IndexError(f"no filter {added.ids[i]}")
            found[i] = self.counter_slots[added.ids[i]]
        return bytes(out)

    def dynamic_of(self, bytes origins not None) -> bytes:
        """A map of the filters that merge() took from parts beside this root, or that were dynamic here."""
        cdef const uint32_t* pairs = <const uint32_t*><const char*>origins
        cdef uint32_t i, n = <uint32_t>(len(origins) // 8)
        out = bytearray(8 * ((<size_t>n >> 6) + 1))
        cdef uint64_t[::1] found = memoryview(out).cast("Q")
        with nogil:
            for i in range(n):
                if pairs[2 * i] or is_gone(self.dynamic, pairs[2 * i + 1]):
                    found[i >> 6] |= <uint64_t>1 << (i & 63)
        return bytes(out)

    @property
    def has_dynamic(self) -> bool:
        """Some filter of the base may be dynamic."""
        return self.dynamic != NULL

    def counters_of_origins(self, bytes origins not None, tuple added) -> bytes:
        """The counter slots of filters that merge() took from this root and its `added` parts."""
        cdef const uint32_t* pairs = <const uint32_t*><const char*>origins
        cdef uint32_t i, n = <uint32_t>(len(origins) // 8)
        cdef Added entry
        cdef const uint32_t** ids = <const uint32_t**>calloc(len(added) + 1, sizeof(void*))
        out = bytearray(4 * <size_t>n)
        cdef uint32_t[::1] found = memoryview(out).cast("I") if n else None
        if ids == NULL:
            raise MemoryError()
        for i in range(<uint32_t>len(added)):
            entry = added[i]
            ids[i] = entry.ids
        with nogil:
            for i in range(n):
                found[i] = self.counter_slots[
                    pairs[2 * i + 1] if pairs[2 * i] == 0 else ids[pairs[2 * i] - 1][pairs[2 * i + 1]]]
            free(ids)
        return bytes(out)


cdef class Added:
    """A part whose filters have numbers in a root; `gone`: positions of those that are removed."""

    def __cinit__(self, Part part not None, ids, gone=()):
        cdef const uint32_t[::1] numbers
        cdef const PackedFilter* item
        cdef uint32_t i
        self.part = part
        self._ids = memoryview(ids).cast("B").cast("I") if part.policy.n_filters else None
        if part.policy.n_filters:
            numbers = self._ids
            if numbers.shape[0] != part.policy.n_filters:
                raise ValueError("not a number for each filter")
            self.ids = &numbers[0]
        for i in range(part.policy.n_filters):
            item = &part.policy.filters[i]
            self.content[item.slot].count += 1
            self.content[item.slot].hash ^= _filter_hash(item)
        for i in gone:
            self._remove(i)

    def __dealloc__(self):
        free(self.gone)

    def _remove(self, uint32_t place):
        cdef const PackedFilter* item = self.part.filter(place)
        if self.gone == NULL:
            self.gone = <uint64_t*>calloc((self.part.policy.n_filters >> 6) + 1, sizeof(uint64_t))
            if self.gone == NULL:
                raise MemoryError()
        if is_gone(self.gone, place):
            raise KeyError(place)
        self.gone[place >> 6] |= <uint64_t>1 << (place & 63)
        self.n_gone += 1
        _count_out(self.content, item)

    def without(self, places) -> Added:
        """The same with more of its filters gone."""
        cdef Added other = Added.__new__(Added, self.part, self._ids if self._ids is not None else b"")
        cdef size_t words = (self.part.policy.n_filters >> 6) + 1
        if self.gone != NULL:
            other.gone = <uint64_t*>calloc(words, sizeof(uint64_t))
            if other.gone == NULL:
                raise MemoryError()
            memcpy(other.gone, self.gone, words * sizeof(uint64_t))
        memcpy(other.content, self.content, sizeof(self.content))
        other.n_gone = self.n_gone
        for place in places:
            other._remove(place)
        return other

    def find(self, bytes key not None):
        """The position of the filter of this key that is not gone, or None."""
        cdef uint32_t found
        if len(key) != 16:
            raise ValueError("a key has 16 bytes")
        found = self.part.find(<const uint8_t*><const char*>key, self.gone)
        return None if found == NO_FILTER else found

    def gone_places(self) -> list:
        """Positions of the filters that are gone."""
        cdef uint32_t i
        if self.gone == NULL:
            return []
        return [i for i in range(self.part.policy.n_filters) if is_gone(self.gone, i)]

    def live(self) -> int:
        """Filters that are not gone."""
        return self.part.policy.n_filters - self.n_gone


def merged_added(Part part not None, bytes origins not None, parts, Root root=None) -> Added:
    """What merge() made of `parts`, with a base of those of `root`: the filters keep the numbers that they had."""
    cdef const uint32_t* pairs = <const uint32_t*><const char*>origins
    cdef uint32_t i, n = part.policy.n_filters, first = 0 if root is None else 1
    cdef Added entry
    if <size_t>len(origins) != 8 * <size_t>n:
        raise ValueError("not an origin for each filter")
    ids = bytearray(4 * <size_t>n)
    cdef uint32_t[::1] found = memoryview(ids).cast("I") if n else None
    cdef const uint32_t** of = <const uint32_t**>calloc(len(parts) + 2, sizeof(void*))
    if of == NULL:
        raise MemoryError()
    for i in range(<uint32_t>len(parts)):
        entry = parts[i]
        of[first + i] = entry.ids
    with nogil:
        for i in range(n):
            found[i] = of[pairs[2 * i]][pairs[2 * i + 1]] if of[pairs[2 * i]] != NULL else pairs[2 * i + 1]
        free(of)
    return Added(part, ids)
