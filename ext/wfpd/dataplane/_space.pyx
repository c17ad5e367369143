"""The boxes of two policies in one space, so that they can be compared.

The axes are the dimensions of either policy.  A wide field has a presence axis besides, ahead of the
others: what is cut is cut there first, so that no region speaks of the value of an absent field.
Texts are numbered anew, for each policy has ids of its own.
"""

from itertools import product

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from wfpd.model.fields import FIELDS

from ._boxes cimport MAX_DIMENSIONS, Bound, BoxSet, Dimension, FilterRest, boxes_free, boxes_make
from ._policy cimport CompiledPolicy, PackedFilter
from ._table cimport Snapshot
from ._texts cimport TEXT_OTHER, TextIds
from ._types cimport (
    FILTER_BLOCK, FILTER_CALLOUT_INSPECTION, FILTER_CALLOUT_TERMINATING, FILTER_PERMIT, FLAG_AUDIT,
    FLAG_CLEAR_ACTION_RIGHT, FLAG_PERMIT_IF_UNREGISTERED, NO_FILTER,
)

cdef enum:
    ABSENT = 0xFFFFFFFF
    MOST_RUNS = 64                  # Intervals that one bound of texts may become.


cdef uint8_t effect_of(const CompiledPolicy* policy, const PackedFilter* item) noexcept nogil:
    cdef uint8_t permit = EFFECT_HARD_PERMIT if item.flags & FLAG_CLEAR_ACTION_RIGHT else EFFECT_PERMIT
    if item.flags & FLAG_AUDIT or item.action == FILTER_CALLOUT_INSPECTION:
        return EFFECT_IGNORED
    if item.action == FILTER_PERMIT:
        return permit
    if item.action == FILTER_BLOCK:
        return EFFECT_BLOCK
    if policy.callout_registered[item.callout]:
        return EFFECT_ENDS if item.action == FILTER_CALLOUT_TERMINATING else EFFECT_ANY
    return permit if item.flags & FLAG_PERMIT_IF_UNREGISTERED else EFFECT_BLOCK



cdef uint32_t space_find(const Space* space, uint32_t field, uint32_t word, uint32_t shift, bint presence) noexcept nogil:
    cdef uint32_t i
    cdef const SpaceAxis* axis
    for i in range(space.n):
        axis = &space.axes[i]
        if axis.field == field and (axis.kind == AXIS_PRESENCE) == presence and (
                presence or (axis.word == word and axis.shift == shift)):
            return i
    return NO_FILTER


cdef void space_add(Space* space, const Dimension* dimension, uint8_t kind) noexcept nogil:
    cdef SpaceAxis* axis = &space.axes[space.n]
    if space_find(space, dimension.field, dimension.word, dimension.shift, kind == AXIS_PRESENCE) != NO_FILTER:
        return
    axis.field, axis.word, axis.shift, axis.kind = dimension.field, dimension.word, dimension.shift, kind
    space.n += 1


cdef inline const TextIds* texts_along(const BoxSet* boxes, uint32_t field) noexcept nogil:
    """The ids of a text field; NULL for other fields."""
    cdef uint32_t i
    for i in range(boxes.n_texts):
        if boxes.texts[i].field == field:
            return &boxes.texts[i]
    return NULL


cdef void space_make(Space* space, Side* sides, uint32_t n_tests) noexcept nogil:
    cdef uint32_t side, i
    cdef const Dimension* dimension
    space.n = 0
    for side in range(2):
        for i in range(sides[side].boxes.n_dimensions):
            if sides[side].boxes.dimensions[i].need:
                space_add(space, &sides[side].boxes.dimensions[i], AXIS_PRESENCE)
    for side in range(2):
        for i in range(sides[side].boxes.n_dimensions):
            dimension = &sides[side].boxes.dimensions[i]
            space_add(space, dimension, AXIS_WORD if dimension.need else
                      AXIS_TEXT if texts_along(&sides[side].boxes, dimension.field) != NULL else AXIS_NARROW)
    space.first_test = space.n
    for i in range(n_tests):
        space.axes[space.n].field, space.axes[space.n].kind = NO_FIELD, AXIS_TEST
        space.n += 1


def _runs(numbers):
    """Ascending numbers as intervals."""
    found = []
    for number in numbers:
        if found and found[len(found) - 1][1] == number - 1:
            found.append((found.pop()[0], number))
        else:
            found.append((number, number))
    return found


cdef class Numbering:
    """Texts of a field with numbers common to both sides: the old side's ids, then those that only the new one has.

    So an interval of old ids stays one; one of new ids may become several.
    """

    cdef list texts                 # [number - 1]
    cdef dict numbers               # Text -> number.
    cdef list new                   # [id - 1] The number of a new id.
    cdef list unnamed               # Numbers of texts that the new side does not name: "other" to it.
    cdef uint32_t n_old
    cdef bint usable                # False: ids disregard case, and no numbers are told apart.

    def __cinit__(self):
        self.texts, self.numbers, self.new, self.unnamed, self.usable = [], {}, [], [], True

    cdef list of(self, const TextIds* ids, const CompiledPolicy* policy):
        """The texts by id."""
        cdef const char* text
        cdef uint32_t i
        if ids == NULL:
            return []
        found = [b""] * ids.n
        for i in range(ids.mask + 1):
            if ids.entries[i].id:
                text = <const char*>policy.bytes + ids.entries[i].offset
                found[ids.entries[i].id - 1] = text[:ids.entries[i].length]
        return found

    cdef int learn(self, const Side* old, const Side* new, uint32_t field) except -1:
        cdef const TextIds* a = texts_along(&old.boxes, field)
        cdef const TextIds* b = texts_along(&new.boxes, field)
        self.usable = not (a != NULL and a.folded or b != NULL and b.folded)
        self.texts = self.of(a, old.policy)
        self.numbers = {text: number for number, text in enumerate(self.texts, 1)}
        self.n_old = <uint32_t>len(self.texts)
        for text in self.of(b, new.policy):
            if text not in self.numbers:
                self.texts.append(text)
                self.numbers[text] = len(self.texts)
            self.new.append(self.numbers[text])
        self.unnamed = sorted(set(self.numbers.values()).difference(self.new))
        return 0

    cdef list lay(self, Bound bound, bint is_new):
        """The intervals of numbers that a bound of ids becomes; too many become their hull. None: anything."""
        if bound.lo == 0 and bound.hi == ABSENT or bound.lo == ABSENT:
            return [(bound.lo, bound.hi)]
        if not self.usable:
            return None
        cdef uint32_t last = <uint32_t>len(self.texts)
        if not is_new:
            return [(self.n_old + 1 if bound.lo == TEXT_OTHER else bound.lo, bound.hi)]
        taken = set(self.new[max(bound.lo, 1) - 1:bound.hi])
        if bound.hi >= TEXT_OTHER:
            taken.update(self.unnamed)
        found = _runs(sorted(taken))
        if bound.hi >= TEXT_OTHER:
            joined = found and found[len(found) - 1][1] == last
            found.append((found.pop()[0] if joined else last + 1, bound.hi))
        return found


cdef int box_add(Side* side, const Bound* row, uint32_t n, uint32_t owner) except -1:
    cdef uint32_t capacity
    cdef void* grown
    if side.n_boxes == side.capacity:
        capacity = side.capacity + (side.capacity >> 1) + 64
        grown = realloc(side.bounds, <size_t>capacity * (n + 1) * sizeof(Bound))
        if grown == NULL:
            raise MemoryError()
        side.bounds = <Bound*>grown
        grown = realloc(side.owner, <size_t>capacity * sizeof(uint32_t))
        if grown == NULL:
            raise MemoryError()
        side.owner = <uint32_t*>grown
        side.capacity = capacity
    memcpy(side.bounds + <size_t>side.n_boxes * n, row, n * sizeof(Bound))
    side.owner[side.n_boxes] = owner
    side.n_boxes += 1
    return 0


cdef int texts_lay(Side* side, const Space* space, Bound* row, dict numberings, bint is_new, uint32_t owner) except -1:
    """Add the box `row`, whose texts are ids, as boxes of numbers."""
    cdef uint32_t axis
    choices = []
    for axis in numberings:
        laid = (<Numbering>numberings[axis]).lay(row[axis], is_new)
        if laid is None or len(laid) > MOST_RUNS:
            laid = [(0, <uint32_t>ABSENT)]
            side.partly[owner] = 1
        choices.append([(axis, low, high) for low, high in laid])
    for chosen in product(*choices):
        for axis, low, high in chosen:
            row[axis].lo, row[axis].hi = low, high
        box_add(side, row, space.n, owner)
    return 0


cdef int side_lay(Side* side, const Space* space, dict numberings, bint is_new) except -1:
    """Boxes into the common space, with their presence."""
    cdef const BoxSet* boxes = &side.boxes
    cdef const FilterRest* rest
    cdef Bound row[MAX_AXES]
    cdef uint32_t places[MAX_DIMENSIONS]
    cdef uint32_t presence[MAX_DIMENSIONS]
    cdef uint32_t i, d, box
    for d in range(boxes.n_dimensions):
        places[d] = space_find(space, boxes.dimensions[d].field, boxes.dimensions[d].word, boxes.dimensions[d].shift,
                               False)
        presence[d] = space_find(space, boxes.dimensions[d].field, 0, 0, True)
    for box in range(boxes.n):
        rest = &boxes.rest[boxes.owner[box]]
        for i in range(space.n):
            row[i].lo, row[i].hi = 0, 1 if space.axes[i].kind in (AXIS_PRESENCE, AXIS_TEST) else ABSENT
        for i in range(space.first_test, space.n):
            row[i].lo = side.tests[boxes.owner[box]] >> (i - space.first_test) & 1
        for d in range(boxes.n_dimensions):
            row[places[d]] = boxes.bounds[<size_t>box * boxes.n_dimensions + d]
            if boxes.dimensions[d].need & rest.need:
                row[presence[d]].lo = 1
        if numberings:
            texts_lay(side, space, row, numberings, is_new, boxes.owner[box])
        else:
            box_add(side, row, space.n, boxes.owner[box])
    return 0


cdef int side_open(Side* side, Snapshot snapshot, unsigned int slot) except -1:
    cdef uint32_t i, first = snapshot.policy.layers[slot].first, count = snapshot.policy.layers[slot].count
    cdef int status
    side.policy = &snapshot.policy
    side.effect = <uint8_t*>calloc(count + 1, 1)
    side.partly = <uint8_t*>calloc(count + 1, 1)
    side.tests = <uint32_t*>calloc(count + 1, sizeof(uint32_t))
    side.twin = <uint32_t*>malloc((<size_t>count + 1) * sizeof(uint32_t))
    if side.effect == NULL or side.partly == NULL or side.tests == NULL or side.twin == NULL:
        raise MemoryError()
    with nogil:
        status = boxes_make(side.policy, slot, &side.boxes)
    if status != 0:
        raise MemoryError()
    for i in range(count):
        side.effect[i] = effect_of(side.policy, side.policy.filters + first + i)
        side.partly[i] = side.boxes.rest[i].n_residuals != 0
        side.twin[i] = NO_FILTER
    return 0


cdef void side_close(Side* side) noexcept:
    free(side.effect)
    free(side.partly)
    free(side.tests)
    free(side.twin)
    free(side.bounds)
    free(side.owner)
    boxes_free(&side.boxes)


cdef field_told(const Space* space, const Bound* bounds, uint32_t field, unsigned int family, dict names):
    """What a box says of one field; see the contract."""
    cdef uint32_t i
    cdef bint full = True, empty = True, there = True
    cdef object top = (1 << (FIELDS[field].type_for(family).bits or 32)) - 1
    values = []
    for i in range(space.n):
        if space.axes[i].field != field:
            continue
        low, high = bounds[i].lo, bounds[i].hi
        if space.axes[i].kind == AXIS_PRESENCE:
            there, empty = high == 1, low == 0
            full = full and low == 0 and high == 1
            continue
        full = full and low == 0 and high == ABSENT
        if space.axes[i].kind == AXIS_WORD:
            values.append((low, high))
            continue
        empty = high == ABSENT
        if space.axes[i].kind == AXIS_NARROW:
            there = low <= top
            values.append((low, min(high, top)))
        else:
            texts = names[i]
            named = texts[max(low, 1) - 1:min(high, len(texts))]
            values = [None] + [text for text in texts if text not in named] if low <= TEXT_OTHER <= high else named
            there = bool(values)
    if full:
        return None
    if not there:
        return ([], True) if empty else False
    return values, empty


cdef int space_lay(Space* space, Side* sides, dict names, uint32_t n_tests) except -1:
    cdef uint32_t i
    cdef Numbering numbering
    space_make(space, sides, n_tests)
    numberings = {}
    for i in range(space.n):
        if space.axes[i].kind == AXIS_TEXT:
            numberings[i] = numbering = Numbering()
            numbering.learn(&sides[0], &sides[1], space.axes[i].field)
            names[i] = numbering.texts
    side_lay(&sides[0], space, numberings, False)
    side_lay(&sides[1], space, numberings, True)
    return 0
