"""The filters that are there, as a list: for enumeration, and for who refers to what.

Cold: called by control threads, one pass over the filters' briefs without objects in between.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcmp

from ._part cimport Part
from ._policy cimport (
    OP_IN_SET, SET_RANGES128, SET_RANGES32, SET_TEXTS, CompiledPolicy, PackedAtom, PackedCondition, PackedFilter,
    PackedSet, PackedTerm, PackedText, is_gone,
)
from ._root cimport Added
from ._table cimport Snapshot
from ._types cimport NO_FILTER

cdef struct Place:                  # What orders the filters.
    uint64_t weight
    uint32_t id
    uint16_t sublayer               # Number of it.
    uint16_t sublayer_weight
    uint8_t slot


cdef int _before(const void* a, const void* b) noexcept nogil:
    cdef const Place* one = <const Place*>a
    cdef const Place* other = <const Place*>b
    if one.slot != other.slot:
        return -1 if one.slot < other.slot else 1
    if one.sublayer_weight != other.sublayer_weight:
        return -1 if one.sublayer_weight > other.sublayer_weight else 1
    if one.sublayer != other.sublayer:
        return -1 if one.sublayer < other.sublayer else 1
    if one.weight != other.weight:
        return -1 if one.weight > other.weight else 1
    return -1 if one.id < other.id else 1


cdef uint32_t _take(Place* places, uint32_t n, const CompiledPolicy* policy, const CompiledPolicy* of,
                    const uint32_t* ids, const uint64_t* gone, uint64_t wanted_low, uint64_t wanted_high) noexcept nogil:
    """Add a part's filters that are not gone and whose slot is wanted; how many there are then."""
    cdef uint32_t i, id
    cdef uint8_t slot
    for i in range(of.n_filters):
        if is_gone(gone, i):
            continue
        slot = of.filters[i].slot
        if not ((wanted_low if slot < 64 else wanted_high) >> (slot & 63)) & 1:
            continue
        id = i if ids == NULL else ids[i]
        places[n].weight, places[n].id, places[n].slot = of.filters[i].weight, id, slot
        places[n].sublayer = policy.briefs[id].sublayer
        places[n].sublayer_weight = policy.sublayer_weights[places[n].sublayer]
        n += 1
    return n


def live_ids(Snapshot snapshot not None, slots=None) -> memoryview:
    """The numbers of the filters that are not gone, as unsigned 32-bit integers, in the order of arbitration.

    By slot, then sublayer and weight falling, then the order of adding.  `slots`: of these only.
    """
    cdef uint64_t low = ~<uint64_t>0, high = ~<uint64_t>0
    cdef uint32_t n = 0, i, most = snapshot.root.n_filters
    cdef Added entry
    cdef const CompiledPolicy* base = &snapshot.root.part.policy
    cdef uint32_t[::1] found
    if slots is not None:
        low = sum(1 << slot for slot in slots if slot < 64)
        high = sum(1 << (slot - 64) for slot in slots if slot >= 64)
    for entry in snapshot.added:
        most += entry.part.policy.n_filters
    cdef Place* places = <Place*>calloc(<size_t>most + 1, sizeof(Place))
    if places == NULL:
        raise MemoryError()
    try:
        n = _take(places, n, &snapshot.policy, base, NULL, snapshot.gone, low, high)
        for entry in snapshot.added:
            n = _take(places, n, &snapshot.policy, &entry.part.policy, entry.ids, entry.gone, low, high)
        with nogil:
            qsort(places, n, sizeof(Place), &_before)
        out = bytearray(4 * <size_t>n)
        if n:
            found = memoryview(out).cast("I")
            for i in range(n):
                found[i] = places[i].id
    finally:
        free(places)
    return memoryview(out).toreadonly().cast("I")


cdef bint _is(Part part, uint32_t string, const char* text, size_t length) noexcept:
    """Whether a part's string is this text."""
    cdef const PackedText* found
    if string == NO_FILTER:
        return False
    found = part.strings + string
    return found.length == length and memcmp(part.policy.bytes + found.offset, text, length) == 0


cdef uint32_t _naming(Part part, const uint64_t* gone, bint context, bytes name) except? 0xFFFFFFFE:
    """How many of a part's filters name that provider, or that provider context."""
    cdef uint32_t i, n = 0
    cdef const PackedFilter* item
    for i in range(part.policy.n_filters):
        item = part.policy.filters + i
        if not is_gone(gone, i):
            n += _is(part, item.context if context else item.provider, name, len(name))
    return n


cdef uint32_t _using(const CompiledPolicy* policy, const CompiledPolicy* of, const uint32_t* ids, const uint64_t* gone,
                     uint32_t sublayer, uint32_t callout) noexcept nogil:
    """How many of a part's filters have that sublayer, or that callout."""
    cdef uint32_t i, id, n = 0
    for i in range(of.n_filters):
        id = i if ids == NULL else ids[i]
        if not is_gone(gone, i):
            n += policy.briefs[id].sublayer == sublayer or (
                callout != NO_FILTER and policy.briefs[id].callout == callout)
    return n


def references(Snapshot snapshot not None, str kind not None, bytes key not None, str name not None) -> int:
    """How many filters refer to a sublayer or callout (by key), or to a provider or provider_context (by name)."""
    cdef Added entry
    cdef uint32_t sublayer = NO_FILTER, callout = NO_FILTER, n
    cdef const CompiledPolicy* policy = &snapshot.policy
    if kind in ("provider", "provider_context"):
        text = name.encode()
        n = _naming(snapshot.root.part, snapshot.gone, kind == "provider_context", text)
        for entry in snapshot.added:
            n += _naming(entry.part, entry.gone, kind == "provider_context", text)
        return n
    numbers = {"sublayer": snapshot.root.sublayer_numbers, "callout": snapshot.root.callout_numbers}[kind]
    number = numbers.get(key)
    if number is None:
        return 0
    if kind == "sublayer":
        sublayer = number
    else:
        callout = number
    n = _using(policy, &snapshot.root.part.policy, NULL, snapshot.gone, sublayer, callout)
    for entry in snapshot.added:
        n += _using(policy, &entry.part.policy, entry.ids, entry.gone, sublayer, callout)
    return n


cdef list _members(Part part, const PackedSet* item, uint32_t first, uint32_t n):
    """`n` members of a set from its member `first` on: inclusive ranges of numbers, or texts."""
    cdef const CompiledPolicy* policy = &part.policy
    cdef const uint32_t* narrow
    cdef const uint64_t* wide
    cdef const PackedText* text
    cdef uint32_t i
    found = []
    for i in range(item.first + first, item.first + first + n):
        if item.kind == SET_RANGES32:
            narrow = policy.ranges32 + 2 * <size_t>i
            found.append((narrow[0], narrow[1]))
        elif item.kind == SET_RANGES128:
            wide = policy.ranges128 + 4 * <size_t>i
            found.append(((<object>wide[0] << 64) | wide[1], (<object>wide[2] << 64) | wide[3]))
        else:
            text = policy.texts + i
            found.append((<const char*>policy.bytes)[text.offset:<uint64_t>text.offset + text.length])
    return found


def filter_set(Snapshot snapshot not None, uint32_t index, str name not None, uint32_t bits) -> int:
    """The number, within the filter's packed policy, of the set that it names so for a field so many bits wide.

    `bits` 0: a set of texts.  KeyError if the filter names no such set.  After a merge several sets may have one name.
    """
    cdef Part part
    cdef const PackedFilter* item
    cdef const CompiledPolicy* policy
    cdef const PackedCondition* condition
    cdef const PackedTerm* term
    cdef const PackedAtom* atom
    cdef uint32_t i, k, m, kind = SET_TEXTS if bits == 0 else (SET_RANGES32 if bits <= 32 else SET_RANGES128)
    part, place = snapshot.root.place(index)
    item, policy = part.filter(place), &part.policy
    for i in range(item.first_condition, item.first_condition + item.n_conditions):
        condition = policy.conditions + i
        for k in range(condition.first_term, condition.first_term + condition.n_terms):
            term = policy.terms + k
            for m in range(term.first_atom, term.first_atom + term.n_atoms):
                atom = policy.atoms + m
                if atom.op == OP_IN_SET and policy.sets[atom.ref].kind == kind and (
                        part.name(policy.sets[atom.ref].name) == name):
                    return atom.ref
    raise KeyError(name)


def set_members(Snapshot snapshot not None, uint32_t index, uint32_t number) -> list:
    """The members of a set of the filter's packed policy: inclusive ranges, rising; or texts."""
    cdef Part part
    part, _ = snapshot.root.place(index)
    if number >= part.policy.n_sets:
        raise IndexError(number)
    return _members(part, &part.policy.sets[number], 0, part.policy.sets[number].count)


def sets_of(Snapshot snapshot not None) -> list:
    """(name, kind, number of members, a field that is looked up in it) of every set that filters name.

    kind is ranges32, ranges128 or texts.  Sets of one name and kind that hold the same are one; others, such as those
    of the policy file and of a session, follow each other.
    """
    cdef Part part
    fields = {}
    rows = []
    for name, kind, part, number in _distinct(snapshot):
        if id(part) not in fields:
            fields[id(part)] = _fields_of_sets(part)
        rows.append((name, _KINDS[kind], part.policy.sets[<uint32_t>number].count, fields[id(part)][number]))
    return rows


_KINDS = ("ranges32", "ranges128", "texts")


cdef list _distinct(Snapshot snapshot):
    """(name, number of the kind, part, number in the part) of every set that no other of its name and kind equals."""
    cdef Part part, other
    cdef Added entry
    cdef uint32_t i
    found = {}
    rows = []
    for part in (snapshot.root.part, *[entry.part for entry in snapshot.added]):
        for i in range(part.policy.n_sets):
            name, kind = part.name(part.policy.sets[i].name), part.policy.sets[i].kind
            alike = found.setdefault((name, kind), [])
            for other, number in alike:
                if _same_members(part, &part.policy.sets[i], other, &other.policy.sets[<uint32_t>number]):
                    break
            else:
                alike.append((part, i))
                rows.append((name, kind, part, i))
    return rows


cdef bint _same_members(Part part, const PackedSet* item, Part other, const PackedSet* that) except -1:
    return item.count == that.count and _members(part, item, 0, item.count) == _members(other, that, 0, that.count)


cdef list _fields_of_sets(Part part):
    """For each set a field that is looked up in it."""
    cdef const CompiledPolicy* policy = &part.policy
    cdef const PackedFilter* item
    cdef uint32_t i, k
    cdef uint32_t* fields = <uint32_t*>calloc(<size_t>policy.n_sets + 1, sizeof(uint32_t))
    if fields == NULL:
        raise MemoryError()
    with nogil:
        for i in range(policy.n_filters):
            item = policy.filters + i
            for k in range(item.first_condition, item.first_condition + item.n_conditions):
                _note_sets(policy, policy.conditions + k, fields)
    found = [fields[i] for i in range(policy.n_sets)]
    free(fields)
    return found


cdef void _note_sets(const CompiledPolicy* policy, const PackedCondition* condition, uint32_t* fields) noexcept nogil:
    """The field of a condition for every set that it names."""
    cdef const PackedTerm* term
    cdef uint32_t k, m
    for k in range(condition.first_term, condition.first_term + condition.n_terms):
        term = policy.terms + k
        for m in range(term.first_atom, term.first_atom + term.n_atoms):
            if policy.atoms[m].op == OP_IN_SET:
                fields[policy.atoms[m].ref] = condition.field


def set_page(
    Snapshot snapshot not None, str name not None, str kind not None, uint32_t first, uint32_t n, uint32_t which=0
) -> list:
    """`n` members of a set from `first` on, as set_members() has them.  KeyError if no filter names such a set.

    `which`: of several of this name and kind, counted from 0 in the order of sets_of().
    """
    cdef Part part
    for of, number, part, place in _distinct(snapshot):
        if of == name and _KINDS[number] == kind:
            if which == 0:
                item = &part.policy.sets[<uint32_t>place]
                return _members(part, item, first, min(n, item.count - min(first, item.count)))
            which -= 1
    raise KeyError(name)
