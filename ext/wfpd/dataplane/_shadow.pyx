"""Which filters of a slot can never decide, computed on their boxes.

Most filters decide at a corner of their own box, and the search tables say so at once.  For the others the
tables are asked at one point after another: the filter that comes first there is taken away from the
region with its whole box, until nothing is left (the filter is shadowed) or a point is left to it.  Only
filters that end their sublayer wherever their boxes are count; what a residual condition or a callout
decides never shadows.  Where a filter decides is always confirmed by the tables themselves.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from wfpd.model.fields import FIELDS
from wfpd.model.layers import BY_SLOT, EMPTY_FIELDS, LAYERS, why_empty

from ._boxes cimport Bound
from ._classify cimport classify
from ._policy cimport (
    OP_ANY_SET, OP_IN_SET, CompiledPolicy, PackedAtom, PackedCondition, PackedFilter, PackedTerm, condition_matches,
)
from ._space cimport (
    AXIS_NARROW, AXIS_PRESENCE, AXIS_TEXT, AXIS_WORD, EFFECT_ANY, EFFECT_BLOCK, EFFECT_ENDS, EFFECT_HARD_PERMIT,
    EFFECT_IGNORED, EFFECT_PERMIT, covers, SpaceAxis, side_close, side_open, space_lay, touches,
)
from ._table cimport Snapshot
from ._types cimport (
    FIELD_ICMP_CODE, FIELD_ICMP_TYPE, FIELD_IP_DESTINATION_PORT, FIELD_IP_LOCAL_PORT, FIELD_IP_PROTOCOL,
    FIELD_IP_REMOTE_PORT, FIELD_IP_SOURCE_PORT, FIELD_TCP_FLAGS, FIELD_TCP_MSS, FIELD_TCP_WINDOW,
    FILTER_BLOCK, FILTER_PERMIT, FLAG_ABSORB, FLAG_AUDIT, FLAG_CLEAR_ACTION_RIGHT, NO_FILTER,
    FieldValues, value_clear, value_set,
)

cdef enum:
    ABSENT = 0xFFFFFFFF
    LOOKS = 2                       # Points of each filter that are no work: the corners of its boxes.
    TRIES = 8                       # Points of a region at which a witness is looked for.
    MOST_BOUNDS = 1 << 22           # In the pieces that wait: 32 MiB.
    MIX = 0x2545F491                # Odd.

STANDINGS = ("open", "decides", "shadowed", "never", "undecided")


# --- regions and points


cdef inline bint holds(const Bound* box, const uint32_t* point, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if point[i] < box[i].lo or point[i] > box[i].hi:
            return False
    return True


cdef inline const Bound* box_at(const Shadows* search, uint32_t box) noexcept nogil:
    return search.sides[0].bounds + <size_t>box * search.space.n


cdef bint inhabited(const Shadows* search, const Bound* piece) noexcept nogil:
    """Whether some packet is in the piece: no value lies between the largest one and "absent"."""
    cdef uint32_t i
    for i in range(search.space.n):
        if search.space.axes[i].kind == AXIS_NARROW and piece[i].lo > search.tops[i] and piece[i].hi != ABSENT:
            return False
    return True


cdef inline uint32_t draw(Shadows* search) noexcept nogil:
    """xorshift64*: the same points in every run."""
    search.random ^= search.random >> 12
    search.random ^= search.random << 25
    search.random ^= search.random >> 27
    return <uint32_t>((search.random * <uint64_t>MIX) >> 32)


cdef uint32_t coordinate(Shadows* search, uint32_t axis, Bound bound, uint32_t turn) noexcept nogil:
    """One of the bound's values: turn 0 the lowest, 1 the highest, later any."""
    cdef uint32_t low = bound.lo, high = bound.hi, kind = turn
    if search.space.axes[axis].kind == AXIS_PRESENCE:
        return high if turn < 2 or draw(search) & 3 else low
    if search.space.axes[axis].kind == AXIS_NARROW:
        if low > search.tops[axis] or (high == ABSENT and turn > 1 and draw(search) & 3 == 0):
            return ABSENT
        high = min(high, search.tops[axis])
    elif search.space.axes[axis].kind == AXIS_TEXT and low == 0 and high != 0:
        low = 1
    if turn > 1:
        kind = draw(search) & 3
    if kind == 0 or low == high:
        return low
    if kind == 1:
        return high
    return low + <uint32_t>((<uint64_t>draw(search) * (<uint64_t>(high - low) + 1)) >> 32)


cdef void values_fill(Shadows* search) noexcept nogil:
    """The values of the point."""
    cdef uint64_t* words = <uint64_t*>&search.values
    cdef const SpaceAxis* axis
    cdef uint32_t i, number
    for i in range(search.space.n):
        axis = &search.space.axes[i]
        number = search.point[i]
        if axis.kind == AXIS_WORD:
            words[axis.word] &= ~(<uint64_t>ABSENT << axis.shift)
            words[axis.word] |= <uint64_t>number << axis.shift
        elif number == ABSENT or (axis.kind == AXIS_PRESENCE and number == 0):
            value_clear(&search.values, axis.field)
        elif axis.kind == AXIS_NARROW:
            value_set(&search.values, axis.field, number)
        elif axis.kind == AXIS_PRESENCE:
            search.values.present[axis.field >> 6] |= (<uint64_t>1) << (axis.field & 63)
        else:
            if number == 0 or number > search.n_texts[i]:
                number = search.n_texts[i]
            search.values.present[axis.field >> 6] |= (<uint64_t>1) << (axis.field & 63)
            search.values.hi[axis.field] = <uint64_t>search.texts[i][number - 1]
            search.values.lo[axis.field] = search.lengths[i][number - 1]


cdef uint32_t ask(Shadows* search, const CompiledPolicy* policy, const Bound* piece, uint32_t turn) noexcept nogil:
    """The filters that match at a point of the piece, in `matches`; their number."""
    cdef uint32_t i
    for i in range(search.space.n):
        search.point[i] = coordinate(search, i, piece[i], turn)
    values_fill(search)
    return classify(policy, search.slot, &search.values, search.matches)


# --- one filter


cdef bint box_of_covers(const Shadows* search, uint32_t other, const Bound* box) noexcept nogil:
    """Whether one box of filter `other` covers the box."""
    cdef uint32_t i
    for i in range(search.boxes[other], search.boxes[other + 1]):
        if covers(box_at(search, i), box, search.space.n):
            return True
    return False


cdef bint filter_covers(const Shadows* search, uint32_t other, uint32_t filter) noexcept nogil:
    """Whether each box of `filter` lies in a box of `other`."""
    cdef uint32_t i
    for i in range(search.boxes[filter], search.boxes[filter + 1]):
        if not box_of_covers(search, other, box_at(search, i)):
            return False
    return True


cdef bint does_the_same(const Shadows* search, uint32_t a, uint32_t b) noexcept nogil:
    """Whether both are permits, or blocks, of one kind and one answer."""
    cdef const PackedFilter* one = search.real.filters + search.first + a
    cdef const PackedFilter* other = search.real.filters + search.first + b
    return (one.action == other.action and (one.action == FILTER_PERMIT or one.action == FILTER_BLOCK)
            and one.reply == other.reply
            and not (one.flags ^ other.flags) & (FLAG_ABSORB | FLAG_AUDIT | FLAG_CLEAR_ACTION_RIGHT))


cdef void cover_note(Shadows* search, uint32_t filter, uint32_t other) noexcept nogil:
    """`other` takes part in covering the filter."""
    cdef Finding* found = &search.findings[filter]
    if search.seen[other] == filter + 1:
        return
    search.seen[other] = filter + 1
    if found.n_by < MAX_NAMED:
        found.by[found.n_by] = other
    found.n_by += 1
    found.same = found.same and does_the_same(search, filter, other)


cdef void cover_whole(Shadows* search, uint32_t filter, uint32_t other) noexcept nogil:
    cdef Finding* found = &search.findings[filter]
    found.standing = STANDING_SHADOWED
    found.n_by, found.by[0] = 1, other
    found.same = does_the_same(search, filter, other)


cdef uint32_t winner(const Shadows* search, uint32_t n, uint32_t filter) noexcept nogil:
    """Of `n` matches: the filter itself if it is reached, else what ends its sublayer before; NO_FILTER: neither."""
    cdef uint32_t i, found, rank = search.sides[0].boxes.rest[filter].rank
    for i in range(n):
        found = search.matches[i] - search.first
        if search.sides[0].boxes.rest[found].rank == rank and (
                found == filter or search.sides[0].effect[found] != EFFECT_IGNORED
                and search.sides[0].effect[found] != EFFECT_ANY):
            return found if found <= filter else <uint32_t>NO_FILTER
    return NO_FILTER


cdef bint witness_found(Shadows* search, const Bound* piece, uint32_t filter, uint32_t turn, uint32_t* first) noexcept nogil:
    """Whether the filter is reached at a point of the piece; `first`: what is reached instead."""
    search.work -= search.work != 0
    first[0] = winner(search, ask(search, &search.real, piece, turn), filter)
    if first[0] != filter:
        return False
    search.findings[filter].standing = STANDING_DECIDES
    if search.witness != NULL:
        memcpy(search.witness + <size_t>filter * search.space.n, search.point, search.space.n * sizeof(uint32_t))
    return True


cdef bint quickly(Shadows* search, uint32_t filter, uint32_t turn, uint32_t past) noexcept nogil:
    """Whether a few points of its boxes, or a box that holds all of them, settle it."""
    cdef uint32_t box, first
    for turn in range(turn, past):
        for box in range(search.boxes[filter], search.boxes[filter + 1]):
            if not inhabited(search, box_at(search, box)):
                continue
            if witness_found(search, box_at(search, box), filter, turn, &first):
                return True
            if first != NO_FILTER and search.ends[first] and filter_covers(search, first, filter):
                cover_whole(search, filter, first)
                return True
    return False


cdef int piece_push(Shadows* search, const Bound* piece) noexcept nogil:
    """0; 1 if too many wait; -1 without memory."""
    cdef uint32_t capacity
    cdef void* grown
    if search.n_pieces == search.capacity:
        capacity = 2 * search.capacity + 256
        if <uint64_t>capacity * search.space.n > MOST_BOUNDS:
            return 1
        grown = realloc(search.pieces, <size_t>capacity * (search.space.n + 1) * sizeof(Bound))
        if grown == NULL:
            return -1
        search.pieces = <Bound*>grown
        search.capacity = capacity
    memcpy(search.pieces + <size_t>search.n_pieces * search.space.n, piece, search.space.n * sizeof(Bound))
    search.n_pieces += 1
    return 0


cdef int piece_cut(Shadows* search, Bound* piece, const Bound* box) noexcept nogil:
    """Push what of the piece lies outside of the box; as piece_push()."""
    cdef Bound kept
    cdef uint32_t i
    cdef int status
    for i in range(search.space.n):
        kept = piece[i]
        if kept.lo < box[i].lo:
            piece[i].hi = box[i].lo - 1
            status = piece_push(search, piece)
            if status != 0:
                return status
            kept.lo = box[i].lo
            piece[i] = kept
        if kept.hi > box[i].hi:
            piece[i].lo = box[i].hi + 1
            status = piece_push(search, piece)
            if status != 0:
                return status
            kept.hi = box[i].hi
            piece[i] = kept
    return 0


cdef const Bound* box_around(const Shadows* search, uint32_t filter) noexcept nogil:
    """The filter's box that holds the point; NULL if none does."""
    cdef uint32_t i
    for i in range(search.boxes[filter], search.boxes[filter + 1]):
        if holds(box_at(search, i), search.point, search.space.n):
            return box_at(search, i)
    return NULL


cdef void left_over(Shadows* search, const Bound* piece, uint32_t filter) noexcept nogil:
    """Nothing for certain is before the filter at the last point: find where in the piece it decides."""
    cdef uint32_t turn, first
    search.findings[filter].standing = STANDING_OPEN
    for turn in range(TRIES):
        if witness_found(search, piece, filter, turn, &first):
            return


cdef int cut_away(Shadows* search, uint32_t filter, uint64_t* work) noexcept nogil:
    """Take the pieces that wait away, one covering box after the other, as far as it settles the filter.  0 or -1."""
    cdef Bound[MAX_AXES] piece
    cdef const Bound* box
    cdef uint32_t first
    cdef int status
    while search.n_pieces:
        search.n_pieces -= 1
        memcpy(piece, search.pieces + <size_t>search.n_pieces * search.space.n, search.space.n * sizeof(Bound))
        if not inhabited(search, piece):
            continue
        if work[0] == 0 or search.work == 0:
            search.findings[filter].standing = STANDING_UNDECIDED
            return 0
        work[0] -= 1
        search.work -= 1
        first = winner(search, ask(search, &search.sure, piece, 0), filter)
        box = box_around(search, first) if first != NO_FILTER and first != filter else NULL
        if box == NULL:
            left_over(search, piece, filter)
            return 0
        if filter_covers(search, first, filter):
            cover_whole(search, filter, first)
            return 0
        cover_note(search, filter, first)
        status = piece_cut(search, piece, box)
        if status != 0:
            search.findings[filter].standing = STANDING_UNDECIDED
            return -1 if status < 0 else 0
    search.findings[filter].standing = STANDING_SHADOWED
    return 0


cdef void filter_look(Shadows* search, uint32_t filter) noexcept nogil:
    """Settle the filter if that is easy; else it is undecided."""
    cdef Finding* found = &search.findings[filter]
    cdef uint64_t work = search.work
    cdef uint32_t box
    cdef bint some = False
    found.same = True
    found.useless = found.veto = NO_FILTER
    for box in range(search.boxes[filter], search.boxes[filter + 1]):
        some = some or inhabited(search, box_at(search, box))
    if not some or contradicts(search, search.real.filters + search.first + filter):
        found.standing = STANDING_NEVER
        return
    found.standing = STANDING_UNDECIDED
    quickly(search, filter, 0, LOOKS)
    search.work = work


cdef int filter_settle(Shadows* search, uint32_t filter) noexcept nogil:
    """The same by work, as far as there is some.  0, or -1 when memory ran out."""
    cdef uint64_t work = search.work_each
    cdef uint32_t box
    if search.work == 0 or quickly(search, filter, LOOKS, TRIES):
        return 0
    search.n_pieces = 0
    for box in range(search.boxes[filter], search.boxes[filter + 1]):
        if piece_push(search, box_at(search, box)) < 0:
            return -1
    return cut_away(search, filter, &work)


# --- fields that no packet has together


cdef inline bint needs_value(const CompiledPolicy* policy, const PackedCondition* condition) noexcept nogil:
    """Whether the condition fails where the field is absent."""
    cdef FieldValues nothing
    memset(&nothing, 0, sizeof(nothing))
    return not condition_matches(policy, condition, &nothing)


cdef bint admits_protocol(const CompiledPolicy* policy, const PackedCondition* condition, uint32_t protocol) noexcept nogil:
    cdef FieldValues values
    memset(&values, 0, sizeof(values))
    value_set(&values, FIELD_IP_PROTOCOL, protocol)
    return condition_matches(policy, condition, &values)


cdef bint can_hold(const CompiledPolicy* policy, const PackedCondition* condition) noexcept nogil:
    """False: no test of the condition holds for any value."""
    cdef const PackedTerm* term
    cdef const PackedAtom* atom
    cdef uint32_t i, k
    for i in range(condition.n_terms):
        term = &policy.terms[condition.first_term + i]
        if term.negate:
            return True
        for k in range(term.n_atoms):
            atom = &policy.atoms[term.first_atom + k]
            if not (atom.op == OP_ANY_SET and atom.low_hi == 0 and atom.low_lo == 0
                    or atom.op == OP_IN_SET and policy.sets[atom.ref].count == 0):
                return True
    return False


cdef bint contradicts(const Shadows* search, const PackedFilter* item) noexcept nogil:
    """Whether the filter asks for what no value is, or for fields that no packet has together."""
    cdef const CompiledPolicy* policy = &search.real
    cdef const PackedCondition* condition
    cdef const PackedCondition* protocol = NULL
    cdef uint32_t i
    cdef bint tcp = False, ports = False, icmp = False, ends = False
    for i in range(item.n_conditions):
        condition = policy.conditions + item.first_condition + i
        if not can_hold(policy, condition) or search.empty[condition.field] and needs_value(policy, condition):
            return True
        if condition.field == FIELD_IP_PROTOCOL:
            protocol = condition
        elif condition.field == FIELD_TCP_FLAGS or FIELD_TCP_MSS <= condition.field <= FIELD_TCP_WINDOW:
            tcp = tcp or needs_value(policy, condition)
        elif condition.field == FIELD_IP_SOURCE_PORT or condition.field == FIELD_IP_DESTINATION_PORT:
            ports = ports or needs_value(policy, condition)
        elif condition.field == FIELD_ICMP_TYPE or condition.field == FIELD_ICMP_CODE:
            icmp = icmp or needs_value(policy, condition)
        elif condition.field == FIELD_IP_LOCAL_PORT or condition.field == FIELD_IP_REMOTE_PORT:
            ends = ends or needs_value(policy, condition)
    if icmp and (tcp or ports):
        return True
    if protocol == NULL:
        return False
    if tcp and not admits_protocol(policy, protocol, 6):
        return True
    return ((icmp and not admits_icmp(policy, protocol)) or (ports and not admits_ports(policy, protocol))
            or (ends and not admits_ports(policy, protocol) and not admits_icmp(policy, protocol)))


cdef bint admits_icmp(const CompiledPolicy* policy, const PackedCondition* condition) noexcept nogil:
    return admits_protocol(policy, condition, 1) or admits_protocol(policy, condition, 58)


cdef bint admits_ports(const CompiledPolicy* policy, const PackedCondition* condition) noexcept nogil:
    """TCP, UDP, DCCP, SCTP, UDP-Lite."""
    return (admits_protocol(policy, condition, 6) or admits_protocol(policy, condition, 17)
            or admits_protocol(policy, condition, 33) or admits_protocol(policy, condition, 132)
            or admits_protocol(policy, condition, 136))


# --- sublayers against each other


cdef bint filters_touch(Shadows* search, uint32_t a, uint32_t b) noexcept nogil:
    cdef uint32_t i, k
    for i in range(search.boxes[a], search.boxes[a + 1]):
        for k in range(search.boxes[b], search.boxes[b + 1]):
            search.tests -= search.tests != 0
            if touches(box_at(search, i), box_at(search, k), search.space.n):
                return True
    return False


cdef bint blocked_before(Shadows* search, uint32_t block, uint32_t filter) noexcept nogil:
    """Whether all that touches the filter and comes before the block blocks as well."""
    cdef uint32_t i
    cdef uint8_t effect
    for i in range(block):
        effect = search.sides[0].effect[i]
        if effect != EFFECT_BLOCK and effect != EFFECT_IGNORED and filters_touch(search, i, filter):
            return False
        if search.tests == 0:
            return False
    return True


cdef uint32_t block_above(Shadows* search, uint32_t filter) noexcept nogil:
    """A hard block of a higher sublayer that stands wherever the permit matches; NO_FILTER if there is none."""
    cdef uint32_t i, turn, n, found, rank = search.sides[0].boxes.rest[filter].rank
    for turn in range(2):
        n = ask(search, &search.real, box_at(search, search.boxes[filter]), turn)
        for i in range(n):
            found = search.matches[i] - search.first
            if search.sides[0].boxes.rest[found].rank >= rank:
                break
            if search.sides[0].effect[found] == EFFECT_IGNORED:
                continue
            if search.sides[0].effect[found] != EFFECT_BLOCK:
                break
            if search.ends[found] and filter_covers(search, found, filter) and blocked_before(search, found, filter):
                return found
    return NO_FILTER


cdef uint32_t veto_below(Shadows* search, uint32_t filter) noexcept nogil:
    """The first callout filter of a lower sublayer that may see what the hard permit permits."""
    cdef uint32_t i, rank = search.sides[0].boxes.rest[filter].rank
    for i in range(filter + 1, search.n_filters):
        if (search.sides[0].boxes.rest[i].rank > rank
                and (search.sides[0].effect[i] == EFFECT_ENDS or search.sides[0].effect[i] == EFFECT_ANY)
                and filters_touch(search, i, filter)):
            return i
        search.tests -= search.tests != 0
        if search.tests == 0:
            return NO_FILTER
    return NO_FILTER


cdef void sublayers_compare(Shadows* search, uint32_t filter) noexcept nogil:
    cdef Finding* found = &search.findings[filter]
    cdef uint8_t effect = search.sides[0].effect[filter]
    if (effect != EFFECT_PERMIT and effect != EFFECT_HARD_PERMIT) or found.standing in (
            STANDING_SHADOWED, STANDING_NEVER):
        return
    if search.tests == 0:
        found.untested = True
        return
    if search.sides[0].boxes.rest[filter].rank:
        found.useless = block_above(search, filter)
    if effect == EFFECT_HARD_PERMIT and found.useless == NO_FILTER:
        found.veto = veto_below(search, filter)
    found.untested = search.tests == 0 and found.useless == NO_FILTER and found.veto == NO_FILTER


# --- all filters of a slot


cdef int search_run(Shadows* search) noexcept nogil:
    """0, or -1 when memory ran out."""
    cdef uint32_t i
    for i in range(search.n_filters):
        filter_look(search, i)
    for i in range(search.n_filters):
        if search.findings[i].standing == STANDING_UNDECIDED and filter_settle(search, i) != 0:
            return -1
    for i in range(search.n_filters):
        sublayers_compare(search, i)
    return 0


cdef int boxes_index(Shadows* search) except -1:
    """Where the boxes of each filter are, which filters end for sure, and the map of the others."""
    cdef uint32_t i, box = 0, n_unsure = 0, index
    cdef uint8_t effect
    for i in range(search.n_filters):
        search.boxes[i] = box
        while box < search.sides[0].n_boxes and search.sides[0].owner[box] == i:
            box += 1
        effect = search.sides[0].effect[i]
        search.ends[i] = effect != EFFECT_IGNORED and effect != EFFECT_ANY and not search.sides[0].partly[i]
        if not search.ends[i]:
            n_unsure += 1
            index = search.first + i
            search.gone[index >> 6] |= (<uint64_t>1) << (index & 63)
    search.boxes[search.n_filters] = box
    if n_unsure:
        search.sure.gone = search.gone
    return 0


cdef int texts_take(Shadows* search, uint32_t axis, list texts) except -1:
    """`texts` has to outlive the search."""
    cdef bytes text
    cdef uint32_t i
    search.n_texts[axis] = <uint32_t>len(texts)
    search.texts[axis] = <const uint8_t**>calloc(len(texts) + 1, sizeof(uint8_t*))
    search.lengths[axis] = <uint64_t*>calloc(len(texts) + 1, sizeof(uint64_t))
    if search.texts[axis] == NULL or search.lengths[axis] == NULL:
        raise MemoryError()
    for i in range(search.n_texts[axis]):
        text = texts[i]
        search.texts[axis][i] = <const uint8_t*><const char*>text
        search.lengths[axis][i] = len(text)
    return 0


cdef int search_open(Shadows* search, Snapshot snapshot, unsigned int slot, dict names, bint witnesses) except -1:
    cdef uint32_t i, n = snapshot.policy.layers[slot].count
    search.slot, search.first, search.n_filters = slot, snapshot.policy.layers[slot].first, n
    search.real = search.sure = snapshot.policy
    search.random = 0x9E3779B97F4A7C15
    side_open(&search.sides[0], snapshot, slot)
    space_lay(&search.space, search.sides, names, 0)
    search.boxes = <uint32_t*>calloc(n + 1, sizeof(uint32_t))
    search.ends = <uint8_t*>calloc(n + 1, 1)
    search.gone = <uint64_t*>calloc(snapshot.policy.n_filters // 64 + 1, sizeof(uint64_t))
    search.seen = <uint32_t*>calloc(n + 1, sizeof(uint32_t))
    search.matches = <uint32_t*>calloc(snapshot.policy.max_layer_filters + 1, sizeof(uint32_t))
    search.findings = <Finding*>calloc(n + 1, sizeof(Finding))
    if (search.boxes == NULL or search.ends == NULL or search.gone == NULL or search.seen == NULL
            or search.matches == NULL or search.findings == NULL):
        raise MemoryError()
    if witnesses:
        search.witness = <uint32_t*>calloc(<size_t>n * search.space.n + 1, sizeof(uint32_t))
        if search.witness == NULL:
            raise MemoryError()
    layer, _ = BY_SLOT.get(slot, (LAYERS[0], 4))  # Where there is no layer there are no filters.
    for field in FIELDS:  # What is empty at every layer has a lint of its own.
        search.empty[<uint32_t>field.id] = field.name not in EMPTY_FIELDS and bool(why_empty(layer, field.name))
    for i in range(search.space.n):
        search.tops[i] = ABSENT - 1
        if search.space.axes[i].kind == AXIS_NARROW:
            search.tops[i] = (1 << FIELDS[search.space.axes[i].field].type.bits) - 1
        elif search.space.axes[i].kind == AXIS_TEXT:
            other = b"other"
            while other in names[i]:
                other += b"."
            names[i] = [*names[i], other]
            texts_take(search, i, names[i])
    return boxes_index(search)


cdef void search_close(Shadows* search) noexcept:
    cdef uint32_t i
    for i in range(MAX_AXES):
        free(search.texts[i])
        free(search.lengths[i])
    free(search.boxes)
    free(search.ends)
    free(search.gone)
    free(search.seen)
    free(search.matches)
    free(search.findings)
    free(search.witness)
    free(search.pieces)
    side_close(&search.sides[0])
    side_close(&search.sides[1])


# --- for the reader


cdef dict point_told(const Shadows* search, const uint32_t* point, dict names):
    """A point as values by field name; what is absent is left out."""
    cdef const SpaceAxis* axis
    cdef uint32_t i
    absent, values = set(), {}
    for i in range(search.space.n):
        axis = &search.space.axes[i]
        name = FIELDS[axis.field].name
        if axis.kind == AXIS_PRESENCE:
            if point[i] == 0:
                absent.add(name)
        elif axis.kind == AXIS_WORD:
            values[name] = values.get(name, 0) << 32 | point[i]
        elif point[i] == ABSENT:
            absent.add(name)
        elif axis.kind == AXIS_NARROW:
            values[name] = point[i]
        else:
            texts = names[i]
            values[name] = texts[(len(texts) if point[i] == 0 or point[i] > len(texts) else point[i]) - 1]
    return {name: value for name, value in values.items() if name not in absent}


cdef dict findings_told(const Shadows* search, dict names):
    cdef const Finding* item
    cdef uint32_t i, k
    found = {"shadowed": [], "never": [], "undecided": [], "useless": [], "veto": [], "open": [],
             "untested": [], "witnesses": {}, "work": search.work, "tests": search.tests}
    for i in range(search.n_filters):
        item = &search.findings[i]
        index = search.first + i
        if item.standing == STANDING_SHADOWED:
            by = [search.first + item.by[k] for k in range(min(item.n_by, <uint32_t>MAX_NAMED))]
            found["shadowed"].append((index, by, item.n_by, bool(item.same)))
        elif item.standing == STANDING_DECIDES:
            if search.witness != NULL:
                found["witnesses"][index] = point_told(search, search.witness + <size_t>i * search.space.n, names)
        else:
            found[STANDINGS[item.standing]].append(index)
        if item.untested:
            found["untested"].append(index)
        if item.useless != NO_FILTER:
            found["useless"].append((index, search.first + item.useless))
        if item.veto != NO_FILTER:
            found["veto"].append((index, search.first + item.veto))
    return found


def shadows(Snapshot snapshot not None, unsigned int slot, uint64_t work_each=20_000, uint64_t work=5_000_000,
            uint64_t tests=500_000_000, bint witnesses=False) -> dict:
    """What can be said of the filters at `slot`, by index.  The snapshot has nothing added or gone (ValueError).

    `shadowed`: (filter, covering filters, how many there are, whether all do what it does); `never`: no values
    satisfy it; `undecided`: `work_each` questions for one filter, or `work` for all, did not settle it; `open`: not
    shadowed for certain, but conditions that no box holds hide where it decides; every other filter is reached at
    its point in `witnesses`, if asked for.  `useless`: (permit, hard block of a higher sublayer that stands wherever
    it matches); `veto`: (hard permit, callout filter below that may veto it); `untested`: permits for which
    `tests` pairs of boxes were too few to know.  `work`, `tests`: what is left of them.
    """
    cdef Shadows* search
    cdef int status
    snapshot._slot(slot)
    if snapshot.added or snapshot.gone != NULL:
        raise ValueError("the snapshot is not one of a whole policy")
    search = <Shadows*>calloc(1, sizeof(Shadows))
    if search == NULL:
        raise MemoryError()
    search.work, search.work_each, search.tests = work, work_each, tests
    names = {}
    try:
        search_open(search, snapshot, slot, names, witnesses)
        with nogil:
            status = search_run(search)
        if status != 0:
            raise MemoryError()
        return findings_told(search, names)
    finally:
        search_close(search)
        free(search)
