# Whether a buffer is a sound packed policy: included by _table.pyx.  Functions return NULL, or what is wrong.

cdef enum:
    SECTION_LAYERS = 0
    SECTION_FILTERS = 1
    SECTION_CONDITIONS = 2
    SECTION_TERMS = 3
    SECTION_ATOMS = 4
    SECTION_SETS = 5
    SECTION_RANGES32 = 6
    SECTION_RANGES128 = 7
    SECTION_TEXTS = 8
    SECTION_SUBLAYERS = 9
    SECTION_CALLOUTS = 10
    SECTION_STRINGS = 11
    SECTION_BYTES = 12
    N_SECTIONS = 13

    HEADER_SIZE = 16 + 16 * N_SECTIONS
    ALL_FLAGS = 0x7F

cdef struct Sections:
    const uint8_t* at[N_SECTIONS]
    uint64_t count[N_SECTIONS]      # Records; bytes in SECTION_BYTES.

# Schema of the values, learned from the model at import.
cdef uint8_t[2][N_FIELDS] field_bits    # By family (0: v4); 0: a text.
cdef uint8_t[N_SLOTS] slot_exists
cdef uint64_t[N_SECTIONS] record_size


cdef void _learn_schema():
    for item in FIELDS:
        field_bits[0][<uint32_t>item.id] = item.type_for(4).bits
        field_bits[1][<uint32_t>item.id] = item.type_for(6).bits
    for slot in BY_SLOT:
        slot_exists[<uint32_t>slot] = 1
    record_size[:] = [
        sizeof(PackedLayer), sizeof(PackedFilter), sizeof(PackedCondition), sizeof(PackedTerm), sizeof(PackedAtom),
        sizeof(PackedSet), 8, 32, sizeof(PackedText), sizeof(PackedSublayer), sizeof(PackedCallout),
        sizeof(PackedText), 1,
    ]


cdef inline uint64_t _read64(const uint8_t* data) noexcept nogil:
    return (<const uint64_t*>data)[0]


cdef inline uint32_t _read32(const uint8_t* data) noexcept nogil:
    return (<const uint32_t*>data)[0]


cdef const char* sections_read(const uint8_t* data, uint64_t size, Sections* sections) noexcept nogil:
    cdef uint64_t offset, length
    cdef uint32_t i
    if memcmp(data, b"WFPDPACK", 8) != 0:
        return "no packed policy"
    if _read32(data + 8) != 1 or _read32(data + 12) != N_SECTIONS:
        return "another version"
    for i in range(N_SECTIONS):
        offset = _read64(data + 16 + 16 * i)
        length = _read64(data + 24 + 16 * i)
        if offset > size or length > size - offset or offset % 16:
            return "a section outside of the buffer"
        if length % record_size[i]:
            return "a section of broken records"
        sections.at[i] = data + offset
        sections.count[i] = length // record_size[i]
        if sections.count[i] >= <uint64_t>0xFFFFFFFF:
            return "a section too large"
    if sections.count[SECTION_LAYERS] != N_SLOTS:
        return "not one record for each slot"
    return NULL


cdef void policy_point(CompiledPolicy* policy, const Sections* sections) noexcept nogil:
    policy.layers = <PackedLayer*>sections.at[SECTION_LAYERS]
    policy.filters = <PackedFilter*>sections.at[SECTION_FILTERS]
    policy.n_filters = <uint32_t>sections.count[SECTION_FILTERS]
    policy.conditions = <PackedCondition*>sections.at[SECTION_CONDITIONS]
    policy.terms = <PackedTerm*>sections.at[SECTION_TERMS]
    policy.atoms = <PackedAtom*>sections.at[SECTION_ATOMS]
    policy.sets = <PackedSet*>sections.at[SECTION_SETS]
    policy.n_sets = <uint32_t>sections.count[SECTION_SETS]
    policy.ranges32 = <uint32_t*>sections.at[SECTION_RANGES32]
    policy.ranges128 = <uint64_t*>sections.at[SECTION_RANGES128]
    policy.texts = <PackedText*>sections.at[SECTION_TEXTS]
    policy.bytes = <uint8_t*>sections.at[SECTION_BYTES]
    policy.sublayers = <PackedSublayer*>sections.at[SECTION_SUBLAYERS]
    policy.n_sublayers = <uint32_t>sections.count[SECTION_SUBLAYERS]
    policy.n_callouts = <uint32_t>sections.count[SECTION_CALLOUTS]


cdef const char* policy_check(const CompiledPolicy* policy, const Sections* sections) noexcept nogil:
    """Every record once; what names another comes after that other was checked."""
    cdef const char* fault = _check_texts(sections, SECTION_STRINGS)
    if fault == NULL:
        fault = _check_texts(sections, SECTION_TEXTS)
    if fault == NULL:
        fault = _check_names(policy, sections)
    if fault == NULL:
        fault = _check_sets(policy, sections)
    if fault == NULL:
        fault = _check_filters(policy, sections)
    if fault == NULL:
        fault = _check_layers(policy)
    return fault


cdef const char* _check_texts(const Sections* sections, uint32_t section) noexcept nogil:
    cdef const PackedText* records = <const PackedText*>sections.at[section]
    cdef uint64_t i
    for i in range(sections.count[section]):
        if <uint64_t>records[i].offset + records[i].length > sections.count[SECTION_BYTES]:
            return "a text outside of its section"
    return NULL


cdef const char* _check_names(const CompiledPolicy* policy, const Sections* sections) noexcept nogil:
    cdef const PackedCallout* callouts = <const PackedCallout*>sections.at[SECTION_CALLOUTS]
    cdef uint64_t strings = sections.count[SECTION_STRINGS]
    cdef uint32_t i
    if policy.n_sublayers > 0xFFFF:
        return "too many sublayers"
    for i in range(policy.n_sublayers):
        if policy.sublayers[i].name >= strings:
            return "a sublayer without a name"
        if i and policy.sublayers[i].weight > policy.sublayers[i - 1].weight:
            return "sublayers out of order"
    for i in range(policy.n_callouts):
        if callouts[i].name >= strings:
            return "a callout without a name"
    return NULL


cdef const char* _check_ranges32(const uint32_t* pairs, uint32_t count) noexcept nogil:
    cdef uint64_t i
    for i in range(count):
        if pairs[2 * i] > pairs[2 * i + 1] or (i and pairs[2 * i] <= pairs[2 * i - 1]):
            return "ranges out of order"
    return NULL


cdef const char* _check_ranges128(const uint64_t* rows, uint32_t count) noexcept nogil:
    cdef uint64_t i
    cdef const uint64_t* row
    for i in range(count):
        row = rows + 4 * i
        if not at_most(row[0], row[1], row[2], row[3]) or (i and at_most(row[0], row[1], (row - 2)[0], (row - 1)[0])):
            return "ranges out of order"
    return NULL


cdef const char* _check_set_texts(const CompiledPolicy* policy, const PackedText* texts, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(1, count):
        if text_compare(policy.bytes + texts[i - 1].offset, texts[i - 1].length, policy.bytes + texts[i].offset,
                        texts[i].length) >= 0:
            return "texts of a set out of order"
    return NULL


cdef const char* _check_sets(const CompiledPolicy* policy, const Sections* sections) noexcept nogil:
    cdef const PackedSet* item
    cdef const char* fault = NULL
    cdef uint64_t[3] next_first
    cdef uint64_t i
    memset(next_first, 0, sizeof(next_first))
    for i in range(sections.count[SECTION_SETS]):
        item = &policy.sets[i]
        if item.kind > SET_TEXTS or item.name >= sections.count[SECTION_STRINGS]:
            return "a set of an unknown kind or without a name"
        if item.first < next_first[item.kind] or (
                <uint64_t>item.first + item.count > sections.count[SECTION_RANGES32 + item.kind]):
            return "a set outside of its section"
        next_first[item.kind] = <uint64_t>item.first + item.count
        if item.kind == SET_RANGES32:
            fault = _check_ranges32(policy.ranges32 + 2 * <uint64_t>item.first, item.count)
        elif item.kind == SET_RANGES128:
            fault = _check_ranges128(policy.ranges128 + 4 * <uint64_t>item.first, item.count)
        else:
            fault = _check_set_texts(policy, policy.texts + item.first, item.count)
        if fault != NULL:
            return fault
    return NULL


cdef inline bint _wider_than(uint64_t hi, uint64_t lo, uint32_t bits) noexcept nogil:
    if bits == 128:
        return False
    if bits == 64:
        return hi != 0
    return hi != 0 or lo >> bits != 0


cdef const char* _check_atom(const CompiledPolicy* policy, const PackedAtom* atom, uint32_t bits,
                             const Sections* sections) noexcept nogil:
    cdef uint32_t texts = 1
    cdef uint32_t kind = SET_TEXTS if bits == 0 else (SET_RANGES32 if bits <= 32 else SET_RANGES128)
    if atom.op >= N_OPS:
        return "an unknown test"
    if atom.op == OP_EMPTY:
        return NULL
    if atom.op == OP_IN_SET:
        if atom.ref >= sections.count[SECTION_SETS] or policy.sets[atom.ref].kind != kind:
            return "a test against a set of another type"
        return NULL
    if (atom.op >= OP_TEXT_EQUAL) != (bits == 0):
        return "a test that is not for its field's type"
    if bits:
        if _wider_than(atom.low_hi, atom.low_lo, bits):
            return "a number wider than its field"
        if atom.op == OP_RANGE and (_wider_than(atom.high_hi, atom.high_lo, bits) or not at_most(
                atom.low_hi, atom.low_lo, atom.high_hi, atom.high_lo)):
            return "a range that is wider than its field or ends before it begins"
        return NULL
    if atom.op == OP_TEXT_RANGE and not atom.open_high:
        texts = 2
    if <uint64_t>atom.ref + texts > sections.count[SECTION_TEXTS]:
        return "a text that is not there"
    return NULL


cdef const char* _check_condition(const CompiledPolicy* policy, const PackedCondition* condition, uint32_t is_v6,
                                  const Sections* sections, uint64_t* n_terms, uint64_t* n_atoms) noexcept nogil:
    cdef const PackedTerm* term
    cdef const char* fault
    cdef uint32_t i, j
    if condition.field >= N_FIELDS:
        return "an unknown field"
    if condition.first_term != n_terms[0] or n_terms[0] + condition.n_terms > sections.count[SECTION_TERMS]:
        return "terms out of place"
    for i in range(condition.n_terms):
        term = &policy.terms[n_terms[0] + i]
        if term.negate > 1:
            return "a term neither positive nor negative"
        if term.first_atom != n_atoms[0] or n_atoms[0] + term.n_atoms > sections.count[SECTION_ATOMS]:
            return "tests out of place"
        for j in range(term.n_atoms):
            fault = _check_atom(policy, &policy.atoms[n_atoms[0] + j], field_bits[is_v6][condition.field], sections)
            if fault != NULL:
                return fault
        n_atoms[0] += term.n_atoms
    n_terms[0] += condition.n_terms
    return NULL


cdef const char* _check_filter(const CompiledPolicy* policy, const PackedFilter* item,
                               const Sections* sections) noexcept nogil:
    cdef uint64_t strings = sections.count[SECTION_STRINGS]
    if item.name >= strings or item.provider >= strings or (item.context != NO_FILTER and item.context >= strings):
        return "a filter without a name"
    if item.slot >= N_SLOTS or not slot_exists[item.slot]:
        return "a filter at no layer"
    if item.sublayer >= policy.n_sublayers:
        return "a filter in no sublayer"
    if not FILTER_PERMIT <= item.action <= FILTER_CALLOUT_UNKNOWN:
        return "a filter of an unknown action"
    if item.flags & ~ALL_FLAGS or item.reply > REPLY_ICMP_UNREACHABLE or item.on_error > WORD_BLOCK:
        return "a filter of unknown flags, reply or on_error"
    if item.action >= FILTER_CALLOUT_TERMINATING:
        if item.callout >= policy.n_callouts:
            return "a filter that names no callout"
    elif item.callout != NO_FILTER:
        return "a filter with a callout that it never calls"
    return NULL


cdef const char* _check_filters(const CompiledPolicy* policy, const Sections* sections) noexcept nogil:
    cdef const PackedFilter* item
    cdef const char* fault
    cdef uint64_t n_conditions = 0, n_terms = 0, n_atoms = 0
    cdef uint32_t i, j
    for i in range(policy.n_filters):
        item = &policy.filters[i]
        fault = _check_filter(policy, item, sections)
        if fault != NULL:
            return fault
        if item.first_condition != n_conditions or (
                n_conditions + item.n_conditions > sections.count[SECTION_CONDITIONS]):
            return "conditions out of place"
        for j in range(item.n_conditions):
            fault = _check_condition(policy, &policy.conditions[n_conditions + j], item.slot & 1, sections, &n_terms,
                                     &n_atoms)
            if fault != NULL:
                return fault
        n_conditions += item.n_conditions
    return NULL


cdef const char* _check_layers(const CompiledPolicy* policy) noexcept nogil:
    """Slots cover the filters without gap or overlap, and each slot's filters stand by rank."""
    cdef uint32_t slot, i
    cdef uint64_t following = 0
    cdef const PackedFilter* item
    cdef const PackedFilter* before
    for slot in range(N_SLOTS):
        if policy.layers[slot].first != following or following + policy.layers[slot].count > policy.n_filters:
            return "layers out of place"
        for i in range(policy.layers[slot].count):
            item = &policy.filters[following + i]
            if item.slot != slot:
                return "a filter under another layer"
            before = item - 1 if i else item
            if item.sublayer < before.sublayer or (item.sublayer == before.sublayer and item.weight > before.weight):
                return "filters out of rank"
        following += policy.layers[slot].count
    if following != policy.n_filters:
        return "filters that belong to no layer"
    return NULL
