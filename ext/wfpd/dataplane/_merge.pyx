"""Several packed policies to one: the filters that are left, in the order of arbitration.

How a base is built anew with what was added to it and without what is gone of it, and how single
additions become one part.  In C without the interpreter lock, because a base has 100,000 filters.

The first source's sublayers and callouts stand first and keep their numbers; others with the same
keys are the same.  Strings, texts and sets are copied where a filter that is left names them, so that
a policy which changes for ever does not grow.  Sets of the same name and content are one.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

from ._part cimport Part
from ._policy cimport (
    OP_IN_SET, OP_TEXT_EQUAL, OP_TEXT_RANGE, SET_RANGES128, SET_RANGES32, CompiledPolicy, PackedAtom, PackedCallout,
    PackedCondition, PackedFilter, PackedLayer, PackedSet, PackedSublayer, PackedTerm, PackedText,
    is_gone,
)
from ._root cimport Added, Root
from ._types cimport N_SLOTS, NO_FILTER

cdef enum:
    LAYERS = 0                      # Sections, as in wfpd.compiler.format.
    FILTERS = 1
    CONDITIONS = 2
    TERMS = 3
    ATOMS = 4
    SETS = 5
    RANGES32 = 6
    RANGES128 = 7
    TEXTS = 8
    SUBLAYERS = 9
    CALLOUTS = 10
    STRINGS = 11
    BYTES = 12
    N_SECTIONS = 13
    LINE = 64                       # wfpd.compiler.format.ALIGNMENT
    HEADER = (16 + 16 * N_SECTIONS + LINE - 1) // LINE * LINE

cdef struct Section:                # Bytes that grow.
    uint8_t* at
    uint64_t n
    uint64_t capacity

cdef struct Source:
    const CompiledPolicy* policy
    const PackedText* strings
    const PackedCallout* callouts
    uint64_t* gone                  # A copy: what goes meanwhile is not this merger's business.  NULL: nothing.
    const uint32_t* ids             # Which filter of two equal ones is older; NULL: their numbers.
    uint32_t* new_string            # By string: its new number, NO_FILTER before it has one.
    uint32_t* new_set
    uint32_t* new_sublayer
    uint32_t* new_callout
    uint64_t* order                 # The filters in the new order of sublayers, in the low half; NULL: as they stand.
    uint32_t next                   # Place of the slot's next filter.
    uint32_t past

cdef struct Output:
    Section sections[N_SECTIONS]
    uint32_t n_conditions
    uint32_t n_terms
    uint32_t n_atoms
    uint32_t n_texts
    uint32_t n_strings
    uint32_t n_sets
    uint32_t n_ranges32
    uint32_t n_ranges128
    uint32_t* origins               # Source, number there; by filter.
    uint32_t n_filters
    bint failed                     # Memory ran out.


cdef void* _room(Output* out, unsigned int section, uint64_t size) noexcept nogil:
    """`size` more bytes of a section, or NULL."""
    cdef Section* to = &out.sections[section]
    cdef uint64_t capacity
    cdef void* grown
    if to.n + size > to.capacity:
        capacity = to.capacity + (to.capacity >> 1) + size + 256
        grown = realloc(to.at, capacity)
        if grown == NULL:
            out.failed = True
            return NULL
        to.at = <uint8_t*>grown
        to.capacity = capacity
    to.n += size
    return to.at + to.n - size


cdef bint _put(Output* out, unsigned int section, const void* data, uint64_t size) noexcept nogil:
    cdef void* at
    if size == 0:
        return True
    at = _room(out, section, size)
    if at != NULL:
        memcpy(at, data, size)
    return at != NULL


cdef bint _copy_text(Output* out, unsigned int section, const CompiledPolicy* policy, const PackedText* text) noexcept nogil:
    """A text or string record with its bytes."""
    cdef PackedText record
    record.offset = <uint32_t>out.sections[BYTES].n
    record.length = text.length
    return _put(out, BYTES, policy.bytes + text.offset, text.length) and _put(out, section, &record, sizeof(record))


cdef uint32_t _string(Output* out, Source* source, uint32_t index) noexcept nogil:
    if index == NO_FILTER:
        return index
    if source.new_string[index] == NO_FILTER:
        if not _copy_text(out, STRINGS, source.policy, &source.strings[index]):
            return 0
        source.new_string[index] = out.n_strings
        out.n_strings += 1
    return source.new_string[index]


cdef bint _same_text(const CompiledPolicy* a, const PackedText* one, const uint8_t* bytes,
                     const PackedText* other) noexcept nogil:
    return one.length == other.length and memcmp(a.bytes + one.offset, bytes + other.offset, one.length) == 0


cdef bint _same_set(const Output* out, const Source* source, const PackedSet* item, const PackedSet* there) noexcept nogil:
    """Whether a set of a source is one that the output has."""
    cdef const PackedText* names = <const PackedText*>out.sections[STRINGS].at
    cdef const PackedText* texts = <const PackedText*>out.sections[TEXTS].at
    cdef uint32_t i
    if item.kind != there.kind or item.count != there.count or not _same_text(
            source.policy, &source.strings[item.name], out.sections[BYTES].at, &names[there.name]):
        return False
    if item.kind == SET_RANGES32:
        return memcmp(source.policy.ranges32 + 2 * <uint64_t>item.first,
                      out.sections[RANGES32].at + 8 * <uint64_t>there.first, 8 * <uint64_t>item.count) == 0
    if item.kind == SET_RANGES128:
        return memcmp(source.policy.ranges128 + 4 * <uint64_t>item.first,
                      out.sections[RANGES128].at + 32 * <uint64_t>there.first, 32 * <uint64_t>item.count) == 0
    for i in range(item.count):
        if not _same_text(source.policy, &source.policy.texts[item.first + i], out.sections[BYTES].at,
                          &texts[there.first + i]):
            return False
    return True


cdef bint _copy_members(Output* out, const CompiledPolicy* policy, const PackedSet* item, PackedSet* record) noexcept nogil:
    cdef uint32_t i
    if item.kind == SET_RANGES32:
        record.first = out.n_ranges32
        out.n_ranges32 += item.count
        return _put(out, RANGES32, policy.ranges32 + 2 * <uint64_t>item.first, 8 * <uint64_t>item.count)
    if item.kind == SET_RANGES128:
        record.first = out.n_ranges128
        out.n_ranges128 += item.count
        return _put(out, RANGES128, policy.ranges128 + 4 * <uint64_t>item.first, 32 * <uint64_t>item.count)
    record.first = out.n_texts
    out.n_texts += item.count
    for i in range(item.count):
        if not _copy_text(out, TEXTS, policy, &policy.texts[item.first + i]):
            return False
    return True


cdef uint32_t _set(Output* out, Source* source, uint32_t index, bint look) noexcept nogil:
    """The new number of a set; `look`: it may be one that another source brought."""
    cdef const PackedSet* item = &source.policy.sets[index]
    cdef PackedSet record
    cdef uint32_t i
    if source.new_set[index] != NO_FILTER:
        return source.new_set[index]
    if look:
        for i in range(out.n_sets):
            if _same_set(out, source, item, &(<const PackedSet*>out.sections[SETS].at)[i]):
                source.new_set[index] = i
                return i
    record = item[0]
    record.name = _string(out, source, item.name)
    if not _copy_members(out, source.policy, item, &record) or not _put(out, SETS, &record, sizeof(record)):
        return 0
    source.new_set[index] = out.n_sets
    out.n_sets += 1
    return out.n_sets - 1


cdef bint _copy_atom(Output* out, Source* source, const PackedAtom* atom, bint look) noexcept nogil:
    cdef PackedAtom record = atom[0]
    cdef uint32_t i
    if atom.op == OP_IN_SET:
        record.ref = _set(out, source, atom.ref, look)
    elif atom.op >= OP_TEXT_EQUAL:
        record.ref = out.n_texts
        for i in range(2 if atom.op == OP_TEXT_RANGE and not atom.open_high else 1):
            if not _copy_text(out, TEXTS, source.policy, &source.policy.texts[atom.ref + i]):
                return False
            out.n_texts += 1
    return not out.failed and _put(out, ATOMS, &record, sizeof(record))


cdef bint _copy_condition(Output* out, Source* source, const PackedCondition* condition, bint look) noexcept nogil:
    cdef PackedCondition record = condition[0]
    cdef PackedTerm term
    cdef uint32_t i, k
    record.first_term = out.n_terms
    out.n_terms += condition.n_terms
    for i in range(condition.n_terms):
        term = source.policy.terms[condition.first_term + i]
        for k in range(term.n_atoms):
            if not _copy_atom(out, source, &source.policy.atoms[term.first_atom + k], look):
                return False
        term.first_atom = out.n_atoms
        out.n_atoms += term.n_atoms
        if not _put(out, TERMS, &term, sizeof(term)):
            return False
    return _put(out, CONDITIONS, &record, sizeof(record))


cdef bint _copy_filter(Output* out, Source* source, uint32_t index, bint look) noexcept nogil:
    cdef PackedFilter record = source.policy.filters[index]
    cdef uint32_t i, first = record.first_condition
    record.name = _string(out, source, record.name)
    record.provider = _string(out, source, record.provider)
    record.context = _string(out, source, record.context)
    record.sublayer = <uint16_t>source.new_sublayer[record.sublayer]
    if record.callout != NO_FILTER:
        record.callout = source.new_callout[record.callout]
    record.first_condition = out.n_conditions
    out.n_conditions += record.n_conditions
    for i in range(record.n_conditions):
        if not _copy_condition(out, source, &source.policy.conditions[first + i], look):
            return False
    return not out.failed and _put(out, FILTERS, &record, sizeof(record))


cdef int _by_value(const void* left, const void* right) noexcept nogil:
    cdef uint64_t one = (<const uint64_t*>left)[0], other = (<const uint64_t*>right)[0]
    return (one > other) - (one < other)


cdef bint _order(Source* source) noexcept nogil:
    """Sort each slot's filters by their sublayers' new numbers, where those are in another order than the old ones."""
    cdef const CompiledPolicy* policy = source.policy
    cdef uint32_t i, slot
    cdef bint sorted = True
    for i in range(1, policy.n_sublayers):
        if source.new_sublayer[i] < source.new_sublayer[i - 1]:
            sorted = False
    if sorted:
        return True
    source.order = <uint64_t*>malloc((policy.n_filters + <size_t>1) * sizeof(uint64_t))
    if source.order == NULL:
        return False
    for i in range(policy.n_filters):
        source.order[i] = <uint64_t>source.new_sublayer[policy.filters[i].sublayer] << 32 | i
    for slot in range(N_SLOTS):
        qsort(source.order + policy.layers[slot].first, policy.layers[slot].count, sizeof(uint64_t), _by_value)
    return True


cdef inline uint32_t _head(const Source* source) noexcept nogil:
    """The filter at place `next`."""
    return source.next if source.order == NULL else <uint32_t>source.order[source.next]


cdef inline void _skip_gone(Source* source) noexcept nogil:
    while source.next < source.past and is_gone(source.gone, _head(source)):
        source.next += 1


cdef inline uint32_t _age(const Source* source) noexcept nogil:
    return source.ids[_head(source)] if source.ids != NULL else _head(source)


cdef bint _stands_before(const Source* a, const Source* b) noexcept nogil:
    """Whether the next filter of `a` is to be taken before that of `b`."""
    cdef const PackedFilter* one = &a.policy.filters[_head(a)]
    cdef const PackedFilter* other = &b.policy.filters[_head(b)]
    cdef uint32_t sublayer = a.new_sublayer[one.sublayer], against = b.new_sublayer[other.sublayer]
    if sublayer != against:
        return sublayer < against
    if one.weight != other.weight:
        return one.weight > other.weight
    return _age(a) < _age(b)


cdef bint _merge_slot(Output* out, Source* sources, uint32_t n, uint32_t slot, uint64_t hash) noexcept nogil:
    cdef PackedLayer layer
    cdef uint32_t i, best
    layer.first = out.n_filters
    for i in range(n):
        sources[i].next = sources[i].policy.layers[slot].first
        sources[i].past = sources[i].next + sources[i].policy.layers[slot].count
        _skip_gone(&sources[i])
    while True:
        best = n
        for i in range(n):
            if sources[i].next < sources[i].past and (best == n or _stands_before(&sources[i], &sources[best])):
                best = i
        if best == n:
            break
        if not _copy_filter(out, &sources[best], _head(&sources[best]), best != 0):
            return False
        out.origins[2 * out.n_filters] = best
        out.origins[2 * out.n_filters + 1] = _head(&sources[best])
        out.n_filters += 1
        sources[best].next += 1
        _skip_gone(&sources[best])
    layer.count = out.n_filters - layer.first
    layer.hash = hash
    return _put(out, LAYERS, &layer, sizeof(layer))


cdef void _assemble(const Output* out, uint8_t* to) noexcept nogil:
    cdef uint64_t offset = HEADER
    cdef uint32_t i
    memcpy(to, <const char*>b"WFPDPACK", 8)
    (<uint32_t*>to)[2] = 1
    (<uint32_t*>to)[3] = N_SECTIONS
    for i in range(N_SECTIONS):
        (<uint64_t*>(to + 16 + 16 * i))[0] = offset
        (<uint64_t*>(to + 24 + 16 * i))[0] = out.sections[i].n
        if out.sections[i].n:
            memcpy(to + offset, out.sections[i].at, out.sections[i].n)
        offset += (out.sections[i].n + LINE - 1) & ~<uint64_t>(LINE - 1)


cdef class _Merger:
    """One run of merge(): what has to be freed, and what Python knows of names."""
    cdef Source* sources
    cdef uint32_t n
    cdef Output out
    cdef bint dynamic_only
    cdef uint64_t[N_SLOTS] hashes

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.n):
            free(self.sources[i].new_string)
            free(self.sources[i].new_set)
            free(self.sources[i].new_sublayer)
            free(self.sources[i].new_callout)
            free(self.sources[i].order)
            free(self.sources[i].gone)
        free(self.sources)
        for i in range(N_SECTIONS):
            free(self.out.sections[i].at)
        free(self.out.origins)

    cdef int take(self, list parts) except -1:
        """`parts`: (Part, the Root or Added that numbers its filters)."""
        cdef uint64_t most = 1
        self.sources = <Source*>calloc(len(parts) + 1, sizeof(Source))
        if self.sources == NULL:
            raise MemoryError()
        for i in range(len(parts)):
            self.n += 1
            self._describe(&self.sources[self.n - 1], parts[i])
            most += self.sources[self.n - 1].policy.n_filters
        self.out.origins = <uint32_t*>malloc(2 * most * sizeof(uint32_t))
        if self.out.origins == NULL:
            raise MemoryError()
        return 0

    cdef int _describe(self, Source* source, tuple given) except -1:
        cdef Part part = given[0]
        cdef Root root
        cdef Added added
        cdef const uint64_t* gone
        cdef const uint64_t* dynamic = NULL
        cdef size_t i, words = (part.policy.n_filters >> 6) + 1
        source.policy = &part.policy
        source.strings = part.strings
        source.callouts = part.callouts
        if isinstance(given[1], Root):
            root = given[1]
            gone = root.gone
            dynamic = root.dynamic
        else:
            added = given[1]
            gone, source.ids = added.gone, added.ids
        if gone != NULL:
            source.gone = <uint64_t*>malloc(words * sizeof(uint64_t))
            if source.gone == NULL:
                raise MemoryError()
            memcpy(source.gone, gone, words * sizeof(uint64_t))
        if self.dynamic_only and isinstance(given[1], Root):
            for i in range(words):
                source.gone[i] |= ~dynamic[i] if dynamic != NULL else ~<uint64_t>0
        source.new_string = <uint32_t*>malloc((part.n_strings + <size_t>1) * sizeof(uint32_t))
        source.new_set = <uint32_t*>malloc((part.policy.n_sets + <size_t>1) * sizeof(uint32_t))
        source.new_sublayer = <uint32_t*>calloc(part.policy.n_sublayers + <size_t>1, sizeof(uint32_t))
        source.new_callout = <uint32_t*>calloc(part.policy.n_callouts + <size_t>1, sizeof(uint32_t))
        if (source.new_string == NULL or source.new_set == NULL or source.new_sublayer == NULL
                or source.new_callout == NULL):
            raise MemoryError()
        memset(source.new_string, 0xFF, part.n_strings * sizeof(uint32_t))
        memset(source.new_set, 0xFF, part.policy.n_sets * sizeof(uint32_t))
        return 0

    cdef int merge_sublayers(self) except -1:
        """By falling weight; of equal weights the earlier source's first."""
        cdef uint32_t i, k
        cdef PackedSublayer record
        known = {}
        for i in range(self.n):
            for k in range(self.sources[i].policy.n_sublayers):
                item = &self.sources[i].policy.sublayers[k]
                known.setdefault((<const char*>item.key)[:16], (-<int>item.weight, i, k))
        order = sorted(known, key=known.get)
        if len(order) > 0xFFFF:
            raise MemoryError("too many sublayers")
        number = {key: at for at, key in enumerate(order)}
        for i in range(self.n):
            for k in range(self.sources[i].policy.n_sublayers):
                item = &self.sources[i].policy.sublayers[k]
                self.sources[i].new_sublayer[k] = number[(<const char*>item.key)[:16]]
        for key in order:
            _, i, k = known[key]
            record = self.sources[<uint32_t>i].policy.sublayers[<uint32_t>k]
            record.name = _string(&self.out, &self.sources[<uint32_t>i], record.name)
            _put(&self.out, SUBLAYERS, &record, sizeof(record))
        return 0

    cdef list merge_callouts(self):
        """The keys, in their new order."""
        cdef uint32_t i, k
        cdef PackedCallout record
        number = {}
        for i in range(self.n):
            for k in range(self.sources[i].policy.n_callouts):
                record = self.sources[i].callouts[k]
                key = (<const char*>record.key)[:16]
                if key not in number:
                    number[key] = len(number)
                    record.name = _string(&self.out, &self.sources[i], record.name)
                    _put(&self.out, CALLOUTS, &record, sizeof(record))
                self.sources[i].new_callout[k] = number[key]
        return list(number)

    cdef object run(self):
        cdef uint64_t size = HEADER
        cdef uint32_t slot, i
        cdef bint done = True
        with nogil:
            for i in range(self.n):
                done = done and _order(&self.sources[i])
            for slot in range(N_SLOTS if done else 0):
                if not _merge_slot(&self.out, self.sources, self.n, slot, self.hashes[slot]):
                    done = False
                    break
        if not done or self.out.failed:
            raise MemoryError()
        for i in range(N_SECTIONS):
            if self.out.sections[i].n >= <uint64_t>0xFFFFFFFF:
                raise MemoryError("a section too large")
            size += (self.out.sections[i].n + LINE - 1) & ~<uint64_t>(LINE - 1)
        whole = PyByteArray_FromStringAndSize(NULL, size + LINE - 1)
        cdef uint8_t* memory = <uint8_t*>PyByteArray_AS_STRING(whole)
        cdef size_t first = <size_t>-<size_t>memory & (LINE - 1)
        with nogil:
            memset(memory, 0, size + LINE - 1)
            _assemble(&self.out, memory + first)
        return memoryview(whole)[first:first + size].toreadonly()


def merge(Root root, added, bint dynamic_only=False) -> tuple:
    """(packed policy, origins, callout keys) of the root's base, or nothing for None, and of parts added to it.

    With `dynamic_only` of the base only what does not belong to a policy file.

    `origins` holds two unsigned 32-bit integers for each filter: its source (0 is the base where there
    is one) and its number there.  A slot's content hash is that of everything in it, as in a snapshot.
    """
    cdef _Merger merger = _Merger()
    merger.dynamic_only = dynamic_only
    cdef Added entry
    cdef uint32_t slot
    sources = [] if root is None else [(root.part, root)]
    for entry in added:
        sources.append((entry.part, entry))
    merger.take(sources)
    for slot in range(N_SLOTS):
        merger.hashes[slot] = 0 if root is None else root.content[slot].hash
        for entry in added:
            merger.hashes[slot] ^= entry.content[slot].hash
    merger.merge_sublayers()
    keys = merger.merge_callouts()
    packed = merger.run()
    origins = (<const char*>merger.out.origins)[:8 * <size_t>merger.out.n_filters]
    return packed, origins, keys
