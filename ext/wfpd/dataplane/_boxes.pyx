"""Filters to boxes: interval arithmetic on conditions, exact where it is cheap, wider where not.

The safe direction of error is "too large": a box may admit packets that the filter does not (the
condition is then residual and is tested on the packet), never the reverse.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset

from ._policy cimport (
    OP_EMPTY, OP_IN_SET, OP_RANGE, OP_TEXT_EQUAL, OP_TEXT_EQUAL_NO_CASE, SET_RANGES128, SET_RANGES32, CompiledPolicy,
    PackedAtom, PackedCondition, PackedFilter, PackedSet, PackedTerm, PackedText,
    always_ends,
)
from ._texts cimport TEXT_OTHER, TextIds, text_id, texts_free, texts_make
from ._types cimport (
    FIELD_ALE_NAP_CONTEXT, FIELD_ALE_REAUTH_REASON, FIELD_ALE_SIO_FIREWALL_SYSTEM_PORT,
    FIELD_ARRIVAL_INTERFACE_PROFILE_ID, FIELD_COMPARTMENT_ID, FIELD_CURRENT_PROFILE_ID,
    FIELD_DIRECTION, FIELD_EMBEDDED_LOCAL_ADDRESS_TYPE, FIELD_EMBEDDED_LOCAL_PORT,
    FIELD_EMBEDDED_PROTOCOL, FIELD_EMBEDDED_REMOTE_ADDRESS, FIELD_EMBEDDED_REMOTE_PORT, FIELD_FLAGS,
    FIELD_ICMP_CODE, FIELD_INTERFACE_INDEX, FIELD_INTERFACE_QUARANTINE_EPOCH,
    FIELD_IP_DESTINATION_ADDRESS, FIELD_IP_DSCP, FIELD_IP_ECN, FIELD_IP_FRAGMENT, FIELD_IP_LENGTH,
    FIELD_IP_LOCAL_ADDRESS_TYPE, FIELD_IP_LOCAL_INTERFACE, FIELD_IP_PHYSICAL_NEXTHOP_INTERFACE,
    FIELD_IP_TTL, FIELD_NEXTHOP_INTERFACE_PROFILE_ID, FIELD_NEXTHOP_TUNNEL_TYPE,
    FIELD_ORIGINAL_ICMP_TYPE, FIELD_ORIGINAL_PROFILE_ID, FIELD_PACKET_MARK, FIELD_REAUTHORIZE_REASON,
    FIELD_TCP_FLAGS, FIELD_TCP_MSS, FIELD_TCP_WINDOW, FIELD_TCP_WINDOW_SCALE, N_FIELDS, FieldValues,
)

cdef enum:
    SPANS = 64                  # Alternatives of one condition that are looked at before it counts as "any".
    NO_DIMENSION = 0xFF
    ABSENT = 0xFFFFFFFF         # Coordinate of an absent narrow field.

cdef struct Wide:               # 128-bit unsigned.
    uint64_t hi
    uint64_t lo

cdef struct Span:
    Wide low                    # Both inclusive.
    Wide high

# What one condition admits: a union of spans, disjoint and ascending once settled.
cdef struct Spans:
    Span at[SPANS]
    uint32_t n
    bint exact                  # The union is what the condition admits, not more.
    bint empty                  # An absent value is admitted.

# A condition taken into a filter's boxes.
cdef struct Axis:
    uint32_t dimension          # First of `words` dimensions.
    uint32_t words
    uint32_t n
    Bound bounds[MAX_FILTER_BOXES][4]

cdef struct Shapes:             # A slot's fields as dimensions.
    uint8_t dimension[N_FIELDS]
    uint8_t texts[N_FIELDS]     # Index in BoxSet.texts, or NO_DIMENSION.
    bint v6


cdef FieldShape field_shape(unsigned int field, bint v6) noexcept nogil:
    if field <= FIELD_IP_DESTINATION_ADDRESS or field == FIELD_EMBEDDED_REMOTE_ADDRESS:
        return SHAPE_ADDRESS6 if v6 else SHAPE_WORD
    if (FIELD_IP_LOCAL_INTERFACE <= field <= FIELD_IP_PHYSICAL_NEXTHOP_INTERFACE
            or field == FIELD_INTERFACE_QUARANTINE_EPOCH):
        return SHAPE_DOUBLE
    if (FIELD_IP_LOCAL_ADDRESS_TYPE <= field <= FIELD_ICMP_CODE or field == FIELD_EMBEDDED_PROTOCOL
            or FIELD_EMBEDDED_LOCAL_ADDRESS_TYPE <= field <= FIELD_EMBEDDED_REMOTE_PORT
            or field == FIELD_ORIGINAL_ICMP_TYPE or FIELD_IP_DSCP <= field <= FIELD_IP_TTL
            or FIELD_IP_FRAGMENT <= field <= FIELD_TCP_WINDOW):
        return SHAPE_NARROW
    if (field == FIELD_DIRECTION or field == FIELD_FLAGS
            or FIELD_INTERFACE_INDEX <= field <= FIELD_NEXTHOP_TUNNEL_TYPE
            or FIELD_REAUTHORIZE_REASON <= field <= FIELD_ALE_REAUTH_REASON
            or FIELD_ORIGINAL_PROFILE_ID <= field <= FIELD_NEXTHOP_INTERFACE_PROFILE_ID
            or field == FIELD_COMPARTMENT_ID or field == FIELD_ALE_NAP_CONTEXT
            or field == FIELD_ALE_SIO_FIREWALL_SYSTEM_PORT or field == FIELD_IP_LENGTH
            or field == FIELD_PACKET_MARK):
        return SHAPE_WORD
    return SHAPE_OTHER


cdef inline uint32_t shape_words(FieldShape shape) noexcept nogil:
    if shape == SHAPE_OTHER:
        return 0
    return 4 if shape == SHAPE_ADDRESS6 else 2 if shape == SHAPE_DOUBLE else 1


cdef inline bint shape_spares(FieldShape shape) noexcept nogil:
    """Whether no value is ABSENT in the shape's dimension."""
    return shape == SHAPE_NARROW or shape == SHAPE_TEXT


cdef inline Wide shape_maximum(FieldShape shape) noexcept nogil:
    """Largest value of the shape."""
    cdef Wide top
    top.hi = <uint64_t>-1 if shape == SHAPE_ADDRESS6 else 0
    top.lo = ABSENT - 1 if shape_spares(shape) else ABSENT if shape == SHAPE_WORD else <uint64_t>-1
    return top


cdef inline bint wide_less(Wide a, Wide b) noexcept nogil:
    return a.hi < b.hi or (a.hi == b.hi and a.lo < b.lo)


cdef inline Wide wide_next(Wide a) noexcept nogil:
    a.lo += 1
    if a.lo == 0:
        a.hi += 1
    return a


cdef inline Wide wide_before(Wide a) noexcept nogil:
    if a.lo == 0:
        a.hi -= 1
    a.lo -= 1
    return a


cdef void spans_any(Spans* spans, Wide top) noexcept nogil:
    """Admit every value, as the wider stand-in of what spans cannot say."""
    spans.n = 1
    spans.at[0].low.hi = spans.at[0].low.lo = 0
    spans.at[0].high = top
    spans.exact = False


cdef void spans_add(Spans* spans, Wide low, Wide high, Wide top) noexcept nogil:
    """Insert by `low`, clipped to `top`; too many become "any"."""
    cdef uint32_t at
    if wide_less(top, high):
        high = top
    if wide_less(high, low):
        return
    if spans.n == SPANS:
        spans_any(spans, top)
        return
    at = spans.n
    while at and wide_less(low, spans.at[at - 1].low):
        at -= 1
    memmove(&spans.at[at + 1], &spans.at[at], (spans.n - at) * sizeof(Span))
    spans.at[at].low = low
    spans.at[at].high = high
    spans.n += 1


cdef void spans_settle(Spans* spans) noexcept nogil:
    """Join what overlaps or touches."""
    cdef uint32_t i, n = 0
    cdef Span* last
    for i in range(spans.n):
        if n:
            last = &spans.at[n - 1]
            # A span that ends at the last of all values swallows the rest; wide_next would wrap.
            if not wide_less(last.high, spans.at[i].low) or not wide_less(wide_next(last.high), spans.at[i].low):
                if wide_less(last.high, spans.at[i].high):
                    last.high = spans.at[i].high
                continue
        spans.at[n] = spans.at[i]
        n += 1
    spans.n = n


cdef void spans_add_set(Spans* spans, const CompiledPolicy* policy, const PackedSet* values, Wide top) noexcept nogil:
    """A set's ranges, or its hull when it has too many."""
    cdef Wide low, high
    cdef const uint32_t* pair
    cdef const uint64_t* quad
    cdef bint whole = values.count <= SPANS // 2
    cdef uint32_t i, step = 1 if whole else values.count - 1
    if values.kind != SET_RANGES32 and values.kind != SET_RANGES128:
        spans_any(spans, top)
        return
    for i in range(values.count if whole else 1):
        if values.kind == SET_RANGES32:
            pair = policy.ranges32 + 2 * <size_t>(values.first + i)
            low.hi = high.hi = 0
            low.lo = pair[0]
            high.lo = pair[1] if whole else pair[2 * <size_t>step + 1]
        else:
            quad = policy.ranges128 + 4 * <size_t>(values.first + i)
            low.hi, low.lo = quad[0], quad[1]
            if not whole:
                quad += 4 * <size_t>step
            high.hi, high.lo = quad[2], quad[3]
        spans_add(spans, low, high, top)
    if not whole:
        spans.exact = False


cdef void spans_add_text(Spans* spans, const CompiledPolicy* policy, const TextIds* ids, uint32_t index,
                         bint no_case, Wide top) noexcept nogil:
    """A whole text's id; wider than the text where the ids disregard case and the test does not."""
    cdef const PackedText* text = &policy.texts[index]
    cdef Wide at
    at.hi = 0
    at.lo = text_id(ids, policy, policy.bytes + text.offset, text.length)
    spans_add(spans, at, at, top)
    if ids.folded != no_case:
        spans.exact = False


cdef void spans_add_text_atom(Spans* spans, const CompiledPolicy* policy, const TextIds* ids, const PackedAtom* atom,
                              Wide top) noexcept nogil:
    cdef const PackedSet* values
    cdef uint32_t i
    if atom.op == OP_EMPTY:
        spans.empty = True
    elif atom.op == OP_TEXT_EQUAL or atom.op == OP_TEXT_EQUAL_NO_CASE:
        spans_add_text(spans, policy, ids, atom.ref, atom.op == OP_TEXT_EQUAL_NO_CASE, top)
    elif atom.op == OP_IN_SET and policy.sets[atom.ref].count <= SPANS // 2:
        values = &policy.sets[atom.ref]
        for i in range(values.count):
            spans_add_text(spans, policy, ids, values.first + i, False, top)
    else:
        spans_any(spans, top)


cdef void spans_add_atom(Spans* spans, const CompiledPolicy* policy, const TextIds* ids, const PackedAtom* atom,
                         Wide top) noexcept nogil:
    cdef Wide low, high
    if ids != NULL:
        spans_add_text_atom(spans, policy, ids, atom, top)
    elif atom.op == OP_RANGE:
        low.hi, low.lo = atom.low_hi, atom.low_lo
        high.hi, high.lo = atom.high_hi, atom.high_lo
        spans_add(spans, low, high, top)
    elif atom.op == OP_EMPTY:
        spans.empty = True
    elif atom.op == OP_IN_SET:
        spans_add_set(spans, policy, &policy.sets[atom.ref], top)
    else:
        spans_any(spans, top)


cdef void spans_add_complement(Spans* spans, Spans* inner, Wide top) noexcept nogil:
    """What has a value outside `inner`."""
    cdef uint32_t i
    cdef Wide low
    if not inner.exact:
        spans_any(spans, top)
        return
    spans_settle(inner)
    low.hi = low.lo = 0
    for i in range(inner.n):
        if wide_less(low, inner.at[i].low):
            spans_add(spans, low, wide_before(inner.at[i].low), top)
        if not wide_less(inner.at[i].high, top):
            return
        low = wide_next(inner.at[i].high)
    spans_add(spans, low, top, top)


cdef void spans_of_condition(const CompiledPolicy* policy, const PackedCondition* condition, const TextIds* ids,
                             Wide top, Spans* spans) noexcept nogil:
    cdef Spans inner
    cdef const PackedTerm* term
    cdef uint32_t i, k
    spans.n = 0
    spans.exact = True
    spans.empty = False
    for i in range(condition.n_terms):
        term = &policy.terms[condition.first_term + i]
        if term.negate:
            inner.n = 0
            inner.exact = True
            inner.empty = False
            for k in range(term.n_atoms):
                spans_add_atom(&inner, policy, ids, &policy.atoms[term.first_atom + k], top)
            spans_add_complement(spans, &inner, top)
        else:
            for k in range(term.n_atoms):
                spans_add_atom(spans, policy, ids, &policy.atoms[term.first_atom + k], top)
    spans_settle(spans)


cdef void spans_join(Spans* spans, uint32_t most) noexcept nogil:
    """Close the smallest gaps until at most `most` spans are left."""
    cdef uint32_t i, at
    cdef Wide gap, least
    while spans.n > most:
        at = 0
        least.hi = least.lo = <uint64_t>-1
        for i in range(spans.n - 1):
            gap.hi = spans.at[i + 1].low.hi - spans.at[i].high.hi - (spans.at[i + 1].low.lo < spans.at[i].high.lo)
            gap.lo = spans.at[i + 1].low.lo - spans.at[i].high.lo
            if wide_less(gap, least):
                least = gap
                at = i
        spans.at[at].high = spans.at[at + 1].high
        spans.n -= 1
        memmove(&spans.at[at + 1], &spans.at[at + 2], (spans.n - at - 1) * sizeof(Span))
        spans.exact = False


cdef inline uint32_t wide_word(Wide value, uint32_t words, uint32_t word) noexcept nogil:
    """Word `word` of a value of `words` words, the most significant first."""
    cdef uint32_t shift = 32 * (words - 1 - word)
    return <uint32_t>(value.hi >> (shift - 64)) if shift >= 64 else <uint32_t>(value.lo >> shift)


cdef bint span_bounds(const Span* span, uint32_t words, Bound* out) noexcept nogil:
    """The span's hull by words.  Whether hull and span are the same (prefixes, ranges in one word)."""
    cdef uint32_t i
    cdef bint apart = False, same = True
    for i in range(words):
        if apart:
            same = same and wide_word(span.low, words, i) == 0 and wide_word(span.high, words, i) == ABSENT
            out[i].lo = 0
            out[i].hi = ABSENT
            continue
        out[i].lo = wide_word(span.low, words, i)
        out[i].hi = wide_word(span.high, words, i)
        apart = out[i].lo != out[i].hi
    return same


cdef bint axis_make(Axis* axis, Spans* spans, uint32_t most) noexcept nogil:
    """Fill the axis from the spans, at most `most` bounds; whether it says exactly what they say."""
    cdef uint32_t i
    cdef bint exact = True
    spans_join(spans, most)
    axis.n = spans.n
    for i in range(spans.n):
        if not span_bounds(&spans.at[i], axis.words, &axis.bounds[i][0]):
            exact = False
    if not exact and spans.n > 1:
        # Hulls of several spans may overlap, and boxes of a filter must not.
        spans_join(spans, 1)
        axis.n = 1
        span_bounds(&spans.at[0], axis.words, &axis.bounds[0][0])
    return exact and spans.exact


cdef int residual_add(BoxSet* boxes, FilterRest* rest, uint32_t condition) noexcept nogil:
    cdef uint32_t* grown
    cdef uint32_t capacity
    if boxes.n_residuals == boxes.residuals_capacity:
        capacity = 2 * boxes.residuals_capacity + 64
        grown = <uint32_t*>realloc(boxes.residuals, capacity * sizeof(uint32_t))
        if grown == NULL:
            return -1
        boxes.residuals = grown
        boxes.residuals_capacity = capacity
    boxes.residuals[boxes.n_residuals] = condition
    boxes.n_residuals += 1
    rest.n_residuals += 1
    return 0


cdef int boxes_reserve(BoxSet* boxes, uint32_t more) noexcept nogil:
    cdef uint32_t capacity
    cdef void* grown
    if boxes.n + more <= boxes.capacity:
        return 0
    capacity = boxes.capacity + (boxes.capacity >> 1) + more + 64
    grown = realloc(boxes.bounds, <size_t>capacity * (boxes.n_dimensions + 1) * sizeof(Bound))
    if grown == NULL:
        return -1
    boxes.bounds = <Bound*>grown
    grown = realloc(boxes.owner, <size_t>capacity * sizeof(uint32_t))
    if grown == NULL:
        return -1
    boxes.owner = <uint32_t*>grown
    boxes.capacity = capacity
    return 0


cdef int boxes_emit(BoxSet* boxes, uint32_t owner, const Axis* axes, uint32_t n_axes, uint32_t n) noexcept nogil:
    """The product of the axes: `n` boxes."""
    cdef uint32_t i, k, word, rest
    cdef Bound* bounds
    if boxes_reserve(boxes, n) != 0:
        return -1
    for i in range(n):
        bounds = boxes.bounds + <size_t>boxes.n * boxes.n_dimensions
        for k in range(boxes.n_dimensions):
            bounds[k].lo = 0
            bounds[k].hi = ABSENT
        rest = i
        for k in range(n_axes):
            for word in range(axes[k].words):
                bounds[axes[k].dimension + word] = axes[k].bounds[rest % axes[k].n][word]
            rest //= axes[k].n
        boxes.owner[boxes.n] = owner
        boxes.n += 1
    return 0


cdef int axis_take(BoxSet* boxes, const CompiledPolicy* policy, uint32_t index, const Shapes* shapes,
                   FilterRest* rest, Axis* axis, uint32_t* product) noexcept nogil:
    """Turn condition `index` into an axis, and a residual where that is not exact.

    1: taken, 0: it can never hold, -1: no memory.
    """
    cdef const PackedCondition* condition = &policy.conditions[index]
    cdef FieldShape shape = field_shape(condition.field, shapes.v6)
    cdef const TextIds* ids = NULL
    cdef Spans spans
    cdef bint exact
    if shapes.texts[condition.field] != NO_DIMENSION:
        ids = &boxes.texts[shapes.texts[condition.field]]
        shape = SHAPE_TEXT
    axis.dimension = shapes.dimension[condition.field]
    axis.words = shape_words(shape)
    spans_of_condition(policy, condition, ids, shape_maximum(shape), &spans)
    if spans.n == 0 and not spans.empty:
        return 0
    if spans.n * product[0] > MAX_FILTER_BOXES:
        rest.widened = True
    if not shape_spares(shape):
        if spans.empty:
            spans_any(&spans, shape_maximum(shape))
        else:
            rest.need |= boxes.dimensions[axis.dimension].need
        exact = axis_make(axis, &spans, MAX_FILTER_BOXES // product[0])
    elif spans.empty and 2 * product[0] > MAX_FILTER_BOXES:
        axis.n = 1
        axis.bounds[0][0].lo = 0
        axis.bounds[0][0].hi = ABSENT
        exact = False
    else:
        exact = axis_make(axis, &spans, MAX_FILTER_BOXES // product[0] - spans.empty)
        if spans.empty:
            axis.bounds[axis.n][0].lo = axis.bounds[axis.n][0].hi = ABSENT
            axis.n += 1
    product[0] *= axis.n
    return 1 if exact or residual_add(boxes, rest, index) == 0 else -1


cdef int filter_boxes(BoxSet* boxes, const CompiledPolicy* policy, uint32_t first, uint32_t owner,
                      const Shapes* shapes) noexcept nogil:
    """Emit the boxes of one filter; none if it can never match."""
    cdef const PackedFilter* filter = &policy.filters[first + owner]
    cdef FilterRest* rest = &boxes.rest[owner]
    cdef Axis axes[MAX_DIMENSIONS]
    cdef uint32_t i, k, index, dimension, n_axes = 0, product = 1
    cdef int status
    rest.first_residual = boxes.n_residuals
    for i in range(filter.n_conditions):
        index = filter.first_condition + i
        if policy.conditions[index].n_terms == 0:
            return 0
        dimension = shapes.dimension[policy.conditions[index].field]
        for k in range(n_axes):
            if axes[k].dimension == dimension:
                dimension = NO_DIMENSION
        if dimension == NO_DIMENSION:
            status = 1 if residual_add(boxes, rest, index) == 0 else -1
        else:
            status = axis_take(boxes, policy, index, shapes, rest, &axes[n_axes], &product)
            n_axes += 1
        if status <= 0:
            return status
    return boxes_emit(boxes, owner, axes, n_axes, product)


cdef void dimension_add(BoxSet* boxes, Shapes* shapes, uint32_t field, uint32_t* needs) noexcept nogil:
    """Give `field` its dimensions, most significant word first."""
    cdef FieldShape shape = SHAPE_TEXT if shapes.texts[field] != NO_DIMENSION else field_shape(field, shapes.v6)
    cdef uint32_t i, words = shape_words(shape)
    cdef Dimension* dimension
    shapes.dimension[field] = <uint8_t>boxes.n_dimensions
    for i in range(words):
        dimension = &boxes.dimensions[boxes.n_dimensions + i]
        dimension.field = <uint16_t>field
        dimension.word = <uint16_t>(2 + field + (N_FIELDS if words == 4 and i < 2 else 0))
        dimension.shift = 32 if words > 1 and i % 2 == 0 else 0
        dimension.absent = ABSENT if shape_spares(shape) else 0
        dimension.need = 0 if shape_spares(shape) else (<uint32_t>1) << needs[0]
    if not shape_spares(shape):
        needs[0] += 1
    boxes.n_dimensions += words


cdef int text_dimension(BoxSet* boxes, const CompiledPolicy* policy, uint32_t first, uint32_t count,
                        Shapes* shapes, uint32_t field) noexcept nogil:
    """Give a text field its ids if filters compare it with whole texts.  0, or -1 without memory."""
    cdef TextIds* ids = &boxes.texts[boxes.n_texts]
    if boxes.n_texts == MAX_TEXTS:
        return 0
    if texts_make(policy, first, count, <uint16_t>field, SPANS // 2, ids) != 0:
        return -1
    if ids.n == 0:
        texts_free(ids)
        return 0
    ids.dimension = <uint16_t>boxes.n_dimensions
    shapes.texts[field] = <uint8_t>boxes.n_texts
    boxes.n_texts += 1
    return 0


cdef int dimensions_choose(BoxSet* boxes, const CompiledPolicy* policy, uint32_t first, uint32_t count,
                           Shapes* shapes) noexcept nogil:
    """The fields that most conditions name, while there is room.  0, or -1 without memory."""
    cdef uint32_t uses[N_FIELDS]
    cdef const PackedFilter* filter
    cdef uint32_t i, k, best, words, needs = 0
    memset(uses, 0, sizeof(uses))
    memset(shapes.dimension, NO_DIMENSION, N_FIELDS)
    memset(shapes.texts, NO_DIMENSION, N_FIELDS)
    for i in range(count):
        filter = &policy.filters[first + i]
        for k in range(filter.n_conditions):
            uses[policy.conditions[filter.first_condition + k].field] += 1
    while True:
        best = 0
        for i in range(1, N_FIELDS):
            if uses[i] > uses[best]:
                best = i
        if uses[best] == 0:
            return 0
        uses[best] = 0
        words = shape_words(field_shape(best, shapes.v6))
        if words == 0 and boxes.n_dimensions < MAX_DIMENSIONS:
            if text_dimension(boxes, policy, first, count, shapes, best) != 0:
                return -1
            words = shapes.texts[best] != NO_DIMENSION
        if words and boxes.n_dimensions + words <= MAX_DIMENSIONS:
            dimension_add(boxes, shapes, best, &needs)


cdef int boxes_make(const CompiledPolicy* policy, unsigned int slot, BoxSet* boxes) noexcept nogil:
    cdef uint32_t first = policy.layers[slot].first, count = policy.layers[slot].count, i, rank = 0
    cdef const PackedFilter* filter
    cdef Shapes shapes
    memset(boxes, 0, sizeof(BoxSet))
    boxes.n_filters = count
    boxes.rest = <FilterRest*>calloc(count + 1, sizeof(FilterRest))
    if boxes.rest == NULL:
        return -1
    shapes.v6 = slot & 1
    if dimensions_choose(boxes, policy, first, count, &shapes) != 0:
        return -1
    for i in range(count):
        filter = &policy.filters[first + i]
        if i and filter.sublayer != policy.filters[first + i - 1].sublayer:
            rank += 1
        boxes.rest[i].rank = <uint16_t>rank
        boxes.rest[i].ends = always_ends(filter.action, filter.flags)
        if filter_boxes(boxes, policy, first, i, &shapes) != 0:
            return -1
    return 0


cdef void boxes_of(const BoxSet* boxes, uint32_t owner, uint32_t* first, uint32_t* past) noexcept nogil:
    cdef uint32_t low = 0, high = boxes.n, middle
    while low < high:
        middle = low + (high - low) // 2
        if boxes.owner[middle] < owner:
            low = middle + 1
        else:
            high = middle
    first[0] = low
    while low < boxes.n and boxes.owner[low] == owner:
        low += 1
    past[0] = low


cdef void boxes_free(BoxSet* boxes) noexcept nogil:
    cdef uint32_t i
    for i in range(boxes.n_texts):
        texts_free(&boxes.texts[i])
    free(boxes.rest)
    free(boxes.bounds)
    free(boxes.owner)
    free(boxes.residuals)
    memset(boxes, 0, sizeof(BoxSet))


def shape_of(int field, int family) -> int:
    """FieldShape of a field: cold door for the test that compares it with the model."""
    return field_shape(field, family == 6)
