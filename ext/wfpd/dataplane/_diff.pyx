"""Where two policies decide differently at one layer, computed on the boxes of their filters.

Outside of the boxes of what was added, removed, changed or moved both policies have the same filters
in the same order, so only those boxes (the seeds) are looked at, each without the ones before it.  A
piece of the space keeps the boxes of either policy that touch it.  If all that can be said there is
the same verdict on both sides it is done; else it is cut along the first box that covers it only in
part, until every box covers its piece or leaves it alone.

What a box cannot say (residual conditions) becomes an axis of its own, true or not, for the first of them (`_tests`).
What is left of it, and what only a callout knows, may hold or not: its outcome is then a set, and a piece where the
sets do not settle the matter is told as "not decided".  The safe direction of error is to tell of too much.  The
number of pieces can explode, hence `work` and `most`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from wfpd.model.fields import FIELDS

from ._boxes cimport Bound
from ._root cimport Added
from ._same cimport compare_filters
from ._space cimport (
    AXIS_PRESENCE, AXIS_TEST, AXIS_TEXT, AXIS_WORD, EFFECT_ANY, EFFECT_BLOCK, EFFECT_ENDS, EFFECT_HARD_PERMIT,
    EFFECT_IGNORED, EFFECT_PERMIT, covers, Side, SpaceAxis, field_told, side_close, side_open, space_lay, touches,
)
from ._table cimport Snapshot
from ._tests cimport tests_take
from ._texts cimport TEXT_OTHER

from ._merge import merge

from ._types cimport NO_FILTER

cdef enum:
    ABSENT = 0xFFFFFFFF
    # What can stand in a layer, as bits: nothing, a permit or a block, each with the right set or clear.
    NOTHING = 1
    SOFT_PERMIT = 2
    HARD_PERMIT = 4
    SOFT_BLOCK = 8
    HARD_BLOCK = 16
    OPEN = 11                       # NOTHING, SOFT_PERMIT, SOFT_BLOCK: the right is set.

_OUTCOMES = (None, "permit", "block", None)


# --- what stands after a filter


cdef uint8_t standing_after(uint8_t before, uint8_t effect) noexcept nogil:
    """What can stand after a result, as _arbitrate's merge has it: a callout's block is also a veto."""
    cdef uint8_t after = before & ~OPEN
    if effect == EFFECT_ENDS or effect == EFFECT_ANY:
        if before & OPEN:
            after |= SOFT_PERMIT | HARD_PERMIT | SOFT_BLOCK | HARD_BLOCK
        if before & HARD_PERMIT:
            after |= HARD_BLOCK
        return after
    if before & OPEN:
        after |= SOFT_PERMIT if effect == EFFECT_PERMIT else HARD_PERMIT if effect == EFFECT_HARD_PERMIT else HARD_BLOCK
    return after


cdef inline bint ends_for_sure(const Side* side, uint32_t filter) noexcept nogil:
    """Whether nothing of its sublayer comes after the filter where its box covers."""
    return not side.partly[filter] and side.effect[filter] != EFFECT_ANY


# --- boxes that touch a piece


cdef inline const Bound* box_at(const Search* search, const Side* side, uint32_t box) noexcept nogil:
    return side.bounds + <size_t>box * search.space.n


cdef void candidates_drop(Candidates* item) noexcept nogil:
    if item == NULL:
        return
    item.uses -= 1
    if item.uses == 0:
        free(item.at)
        free(item)


cdef Candidates* candidates_make(uint32_t room) noexcept nogil:
    cdef Candidates* made = <Candidates*>calloc(1, sizeof(Candidates))
    if made == NULL:
        return NULL
    made.uses = 1
    made.partial = NO_FILTER
    made.at = <uint32_t*>malloc((<size_t>room + 1) * sizeof(uint32_t))
    if made.at == NULL:
        free(made)
        return NULL
    return made


cdef Candidates* candidates_narrow(Search* search, const Side* side, const Candidates* given,
                                   const Bound* bounds) noexcept nogil:
    """Those of `given` that touch `bounds`, each sublayer's up to its sure end; NULL without memory."""
    cdef Candidates* made = candidates_make(given.n)
    cdef const Bound* box
    cdef uint32_t i, owner, sublayer, ended = NO_FILTER
    if made == NULL:
        return NULL
    search.work -= given.n if given.n < search.work else search.work
    for i in range(given.n):
        owner = side.owner[given.at[i]]
        sublayer = side.boxes.rest[owner].rank
        box = box_at(search, side, given.at[i])
        if sublayer == ended or not touches(box, bounds, search.space.n):
            continue
        made.at[made.n] = given.at[i]
        made.n += 1
        if not covers(box, bounds, search.space.n):
            if made.partial == NO_FILTER:
                made.partial = given.at[i]
        elif ends_for_sure(side, owner):
            ended = sublayer
    return made


cdef uint8_t outcome_of(const Search* search, const Side* side, const Candidates* found,
                        const Bound* bounds) noexcept nogil:
    """MAY_ bits: every verdict that the layer can have somewhere in the piece, and perhaps more."""
    cdef uint8_t standing = NOTHING, spoken = 0
    cdef bint ended = False
    cdef uint32_t i, owner, sublayer = NO_FILTER
    for i in range(found.n):
        owner = side.owner[found.at[i]]
        if side.boxes.rest[owner].rank != sublayer:
            standing = spoken if ended else spoken | standing
            sublayer, spoken, ended = side.boxes.rest[owner].rank, 0, False
        spoken |= standing_after(standing, side.effect[owner])
        if ends_for_sure(side, owner) and covers(box_at(search, side, found.at[i]), bounds, search.space.n):
            ended = True
    standing = spoken if ended else spoken | standing
    return ((MAY_PERMIT if standing & (NOTHING | SOFT_PERMIT | HARD_PERMIT) else 0)
            | (MAY_BLOCK if standing & (SOFT_BLOCK | HARD_BLOCK) else 0))


cdef bint same_filters(const Search* search, Candidates** lists) noexcept nogil:
    """Whether the piece has the same filters in the same order on both sides."""
    cdef const Side* old = &search.sides[0]
    cdef const Side* new = &search.sides[1]
    cdef uint32_t i
    if lists[0].n != lists[1].n:
        return False
    for i in range(lists[0].n):
        if old.twin[old.owner[lists[0].at[i]]] != new.owner[lists[1].at[i]]:
            return False
    return True


# --- the search


cdef int piece_push(Search* search, const Piece* given) noexcept nogil:
    cdef void* grown
    cdef uint32_t capacity, side
    if search.n_pieces == search.capacity:
        capacity = 2 * search.capacity + 64
        grown = realloc(search.pieces, capacity * sizeof(Piece))
        if grown == NULL:
            return -1
        search.pieces = <Piece*>grown
        search.capacity = capacity
    search.pieces[search.n_pieces] = given[0]
    search.n_pieces += 1
    for side in range(2):
        given.lists[side].uses += 1
    return 0


cdef int piece_cut(Search* search, Piece* piece, const Bound* box) noexcept nogil:
    """Push what lies outside of `box`, axis by axis; `piece` becomes what lies inside."""
    cdef Piece part
    cdef Bound* bound
    cdef uint32_t i
    for i in range(search.space.n):
        bound = &piece.bounds[i]
        if bound.lo < box[i].lo:
            part = piece[0]
            part.bounds[i].hi = box[i].lo - 1
            if piece_push(search, &part) != 0:
                return -1
            bound.lo = box[i].lo
        if bound.hi > box[i].hi:
            part = piece[0]
            part.bounds[i].lo = box[i].hi + 1
            if piece_push(search, &part) != 0:
                return -1
            bound.hi = box[i].hi
    return 0


cdef void region_add(Search* search, const Piece* piece, const uint8_t* outcome) noexcept nogil:
    cdef Region* region = &search.regions[search.n_regions]
    if search.n_regions == search.most:
        search.complete = False
        return
    memcpy(region.bounds, piece.bounds, sizeof(piece.bounds))
    region.outcome[0], region.outcome[1] = outcome[0], outcome[1]
    search.n_regions += 1


cdef bint piece_known(Search* search, Piece* piece, int* status) noexcept nogil:
    """Take the earlier seeds away from the piece; whether one touched it, and all that is left is pushed."""
    cdef const Bound* seed
    while piece.past < piece.seed:
        seed = search.seeds[piece.past]
        piece.past += 1
        search.work -= 1 if search.work else 0
        if touches(seed, piece.bounds, search.space.n):
            status[0] = piece_cut(search, piece, seed)
            return True
    return False


cdef int piece_settle(Search* search, Piece* piece) noexcept nogil:
    """Tell of the piece, leave it, or cut it further; its lists are the narrowed ones."""
    cdef uint8_t outcome[2]
    cdef uint32_t side
    cdef const Bound* box = NULL
    if same_filters(search, piece.lists):
        return 0
    for side in range(2):
        outcome[side] = outcome_of(search, &search.sides[side], piece.lists[side], piece.bounds)
        if box == NULL and piece.lists[side].partial != NO_FILTER:
            box = box_at(search, &search.sides[side], piece.lists[side].partial)
    if outcome[0] != 3 and outcome[0] == outcome[1]:
        return 0
    if box == NULL or (outcome[0] != 3 and outcome[1] != 3):
        region_add(search, piece, outcome)
        return 0
    if piece_cut(search, piece, box) != 0:
        return -1
    return piece_push(search, piece)


cdef int piece_look(Search* search, Piece* piece) noexcept nogil:
    cdef int status = 0
    cdef uint32_t side
    cdef Candidates* given
    if piece_known(search, piece, &status):
        return status
    for side in range(2):
        given = piece.lists[side]
        piece.lists[side] = candidates_narrow(search, &search.sides[side], given, piece.bounds)
        candidates_drop(given)
        if piece.lists[side] == NULL:
            return -1
    return piece_settle(search, piece)


cdef int seeds_push(Search* search, Candidates** lists) noexcept nogil:
    cdef Piece piece
    cdef uint32_t k
    memset(&piece, 0, sizeof(piece))
    for k in range(search.n_seeds):
        piece.seed = search.n_seeds - 1 - k  # The first seed is looked at first.
        piece.lists[0], piece.lists[1] = lists[0], lists[1]
        memcpy(piece.bounds, search.seeds[piece.seed], search.space.n * sizeof(Bound))
        if piece_push(search, &piece) != 0:
            return -1
    return 0


cdef Candidates* candidates_all(const Side* side) noexcept nogil:
    """Every box that can have a say."""
    cdef Candidates* made = candidates_make(side.n_boxes)
    cdef uint32_t i
    if made == NULL:
        return NULL
    for i in range(side.n_boxes):
        if side.effect[side.owner[i]] != EFFECT_IGNORED:
            made.at[made.n] = i
            made.n += 1
    return made


cdef bint regions_join_two(Region* a, const Region* b, uint32_t n) noexcept nogil:
    """Make `a` the union if that is a box: all axes but one are the same, and there they touch."""
    cdef uint32_t i, apart = n
    if a.outcome[0] != b.outcome[0] or a.outcome[1] != b.outcome[1]:
        return False
    for i in range(n):
        if a.bounds[i].lo == b.bounds[i].lo and a.bounds[i].hi == b.bounds[i].hi:
            continue
        if apart != n:
            return False
        apart = i
    if apart == n:
        return False
    if a.bounds[apart].hi != ABSENT and a.bounds[apart].hi + 1 == b.bounds[apart].lo:
        a.bounds[apart].hi = b.bounds[apart].hi
    elif b.bounds[apart].hi != ABSENT and b.bounds[apart].hi + 1 == a.bounds[apart].lo:
        a.bounds[apart].lo = b.bounds[apart].lo
    else:
        return False
    return True


cdef void regions_join(Search* search) noexcept nogil:
    """Fewer, larger regions for the reader: undo cuts that made no difference."""
    cdef uint32_t i = 0, k
    while i < search.n_regions:
        k = i + 1
        while k < search.n_regions:
            if regions_join_two(&search.regions[i], &search.regions[k], search.space.n):
                search.n_regions -= 1
                search.regions[k] = search.regions[search.n_regions]
                k = i + 1
            else:
                k += 1
        i += 1


cdef int search_run(Search* search) noexcept nogil:
    cdef Candidates* lists[2]
    cdef Piece piece
    cdef uint32_t side
    cdef int status = -1
    search.complete = True
    lists[0], lists[1] = candidates_all(&search.sides[0]), candidates_all(&search.sides[1])
    if lists[0] != NULL and lists[1] != NULL:
        status = seeds_push(search, lists)
    while status == 0 and search.n_pieces and search.complete:
        search.n_pieces -= 1
        piece = search.pieces[search.n_pieces]
        if search.work == 0:
            search.complete = False
        else:
            status = piece_look(search, &piece)
        for side in range(2):
            candidates_drop(piece.lists[side])
    while search.n_pieces:
        search.n_pieces -= 1
        for side in range(2):
            candidates_drop(search.pieces[search.n_pieces].lists[side])
    candidates_drop(lists[0])
    candidates_drop(lists[1])
    regions_join(search)
    return status


cdef int seeds_collect(Search* search) except -1:
    """Boxes of every filter without a twin that can have a say."""
    cdef Side* side
    cdef uint32_t s, box, owner
    search.seeds = <const Bound**>malloc((<size_t>search.sides[0].n_boxes + search.sides[1].n_boxes + 1) * sizeof(Bound*))
    if search.seeds == NULL:
        raise MemoryError()
    for s in range(2):
        side = &search.sides[s]
        for box in range(side.n_boxes):
            owner = side.owner[box]
            if side.twin[owner] == NO_FILTER and side.effect[owner] != EFFECT_IGNORED:
                search.seeds[search.n_seeds] = box_at(search, side, box)
                search.n_seeds += 1
    return 0


# --- what decides in a region


cdef bint has_part(const Search* search, const Bound* bounds, uint32_t field) noexcept nogil:
    """Whether the region says anything of a wide field."""
    cdef uint32_t i
    for i in range(search.space.n):
        if search.space.axes[i].field == field and search.space.axes[i].kind == AXIS_WORD and (
                bounds[i].lo != 0 or bounds[i].hi != ABSENT):
            return True
    return False


cdef uint32_t corner_of(const Search* search, const Bound* bounds, uint32_t axis) noexcept nogil:
    """One packet's place on the axis: without a field that has no part in the region, else the lowest value; a text
    that nobody names where it may be one."""
    cdef const SpaceAxis* of = &search.space.axes[axis]
    if of.kind == AXIS_PRESENCE:
        return bounds[axis].hi if bounds[axis].lo or has_part(search, bounds, of.field) else 0
    if of.kind == AXIS_WORD or of.kind == AXIS_TEST:
        return bounds[axis].lo
    if bounds[axis].lo == 0 and bounds[axis].hi == ABSENT:
        return ABSENT
    if of.kind == AXIS_TEXT and bounds[axis].lo <= TEXT_OTHER <= bounds[axis].hi:
        return TEXT_OTHER
    return max(bounds[axis].lo, <uint32_t>1) if of.kind == AXIS_TEXT else bounds[axis].lo


cdef uint32_t deciding_filter(const Search* search, const Side* side, const Bound* bounds) noexcept nogil:
    """The filter that stands at the region's corner if every callout continues; NO_FILTER if none does.

    What is known of a filter only in part is taken not to hold there.
    """
    cdef Bound corner[MAX_AXES]
    cdef uint32_t i, owner, standing = NO_FILTER, ended = NO_FILTER
    cdef uint8_t effect
    cdef bint right = True, permits = False
    for i in range(search.space.n):
        corner[i].lo = corner[i].hi = corner_of(search, bounds, i)
    for i in range(side.n_boxes):
        owner = side.owner[i]
        effect = side.effect[owner]
        if effect == EFFECT_IGNORED or effect == EFFECT_ANY or side.partly[owner] or side.boxes.rest[owner].rank == ended:
            continue
        if not covers(box_at(search, side, i), corner, search.space.n):
            continue
        ended = side.boxes.rest[owner].rank
        if right or (permits and effect == EFFECT_ENDS):  # A terminating callout that continues blocks, and may veto.
            standing = owner
            right = right and effect != EFFECT_HARD_PERMIT and effect != EFFECT_BLOCK
            permits = effect == EFFECT_PERMIT or effect == EFFECT_HARD_PERMIT
    return standing


# --- for the reader


cdef region_told(const Search* search, const Region* region, unsigned int family, list fields, dict names):
    """One region, or None if no packet can be there."""
    where = {}
    for field in fields:
        told = field_told(&search.space, region.bounds, field, family, names)
        if told is False:
            return None
        if told is not None:
            where[FIELDS[field].name] = told
    return _OUTCOMES[region.outcome[0]], _OUTCOMES[region.outcome[1]], where


cdef list tests_told(const Search* search, const Region* region, list tests):
    """(condition, whether it holds, whether the new side has it) of the tests that the region speaks of."""
    cdef uint32_t i
    cdef const Bound* bound
    told = []
    for i in range(<uint32_t>len(tests)):
        bound = &region.bounds[search.space.first_test + i]
        if bound.lo == bound.hi:
            condition, is_new = tests[i]
            told.append((condition, bound.lo == 1, is_new))
    return told


cdef tuple deciding_told(const Search* search, const Region* region, uint32_t first_old, uint32_t first_new):
    """The filters that decide on either side; None where none does, or where the verdict is not decided."""
    cdef uint32_t side, found
    told = []
    for side in range(2):
        found = NO_FILTER
        if region.outcome[side] != (MAY_PERMIT | MAY_BLOCK):
            found = deciding_filter(search, &search.sides[side], region.bounds)
        told.append(None if found == NO_FILTER else (first_new if side else first_old) + found)
    return tuple(told)


def _rebuilt(snapshot):
    """(a snapshot with every filter in its base, their numbers in the given one or None): what was added has no
    place among the boxes of the base."""
    cdef Snapshot given = snapshot
    cdef Added entry
    cdef uint32_t i
    if not given.added and given.gone == NULL:
        return given, None
    packed, origins, keys = merge(given.root, given.added)
    callouts = [given.root.callable_of(key) for key in keys]
    words = {"on_error": given.policy.on_error, "on_malformed": given.policy.on_malformed,
             "on_late": given.policy.on_late, "flows_full": given.policy.flows_full}
    pairs = memoryview(origins).cast("I")
    numbers = []
    for i in range(<uint32_t>(len(pairs) // 2)):
        if pairs[2 * i] == 0:
            numbers.append(pairs[2 * i + 1])
        else:
            entry = given.added[pairs[2 * i] - 1]
            numbers.append(entry.ids[<uint32_t>pairs[2 * i + 1]])
    return Snapshot(packed, callouts, generation=given.generation, **words), numbers


def _numbered(found, old_numbers, new_numbers):
    """The comparison's numbers of filters as those of the snapshots that were given."""
    def number(numbers, index):
        return index if numbers is None else numbers[index]

    return {
        "added": [number(new_numbers, index) for index in found["added"]],
        "removed": [number(old_numbers, index) for index in found["removed"]],
        **{kind: [(number(old_numbers, i), number(new_numbers, k)) for i, k in found[kind]]
           for kind in ("changed", "moved")},
        "deciding": [(None if i is None else number(old_numbers, i), None if k is None else number(new_numbers, k))
                     for i, k in found["deciding"]],
    }


def policy_diff(Snapshot old not None, Snapshot new not None, unsigned int slot, uint32_t most=200,
                uint64_t work=100_000_000, uint32_t tests=0) -> dict:
    """What changes at `slot` from one snapshot to another.

    `added`, `removed`: filter indexes; `changed`, `moved`: pairs (old, new) of filters of one key whose
    content, or place among those that stay, is another.  `regions`: disjoint, (old verdict, new verdict,
    where): permit, block, or None where a residual condition or a callout may say either; `where` has a
    field's name -> (values, empty): bounds by 32 bits, most significant first, or texts (after a None:
    all texts but those); `empty`: an absent value is in it.  A field that is left out has no part in it.
    `tests`, of each region: (condition, whether it holds there, whether it is the new side's) of conditions
    that no box can hold; up to `tests` different ones are told apart, if that leaves fewer regions undecided.
    `deciding`, of each region: the filters that decide at one packet of it, or None.
    Filters that were added to a base or are gone of it count as such (as the root knows them now).
    `complete`: False if there are more than `most` regions, or `work` boxes were looked at before the end.
    """
    old._slot(slot)
    old, old_numbers = _rebuilt(old)
    new, new_numbers = _rebuilt(new)
    found = _compared(old, new, slot, most, work, 0)
    if tests and _undecided(found):
        better = _compared(old, new, slot, most, work // 4, tests)
        if better["complete"] and _undecided(better) < _undecided(found):
            found = better
    return found | _numbered(found, old_numbers, new_numbers)


def _undecided(found):
    """How many regions are not decided."""
    return sum([old is None or new is None for old, new, _ in found["regions"]])


def _compared(Snapshot old, Snapshot new, unsigned int slot, uint32_t most, uint64_t work, uint32_t most_tests):
    """policy_diff() of snapshots that have all filters in their base."""
    cdef Search search
    cdef int status
    memset(&search, 0, sizeof(search))
    search.most, search.work = most, work
    names = {}
    try:
        search.regions = <Region*>calloc(<size_t>most + 1, sizeof(Region))
        if search.regions == NULL:
            raise MemoryError()
        side_open(&search.sides[0], old, slot)
        side_open(&search.sides[1], new, slot)
        found = compare_filters(search.sides, slot)
        tests = tests_take(search.sides, old, new, slot, most_tests) if most_tests else []
        space_lay(&search.space, search.sides, names, <uint32_t>len(tests))
        seeds_collect(&search)
        with nogil:
            status = search_run(&search)
        if status != 0:
            raise MemoryError()
        return _told(&search, slot, found, old.policy.layers[slot].first, new.policy.layers[slot].first, names, tests)
    finally:
        side_close(&search.sides[0])
        side_close(&search.sides[1])
        free(search.seeds)
        free(search.pieces)
        free(search.regions)


cdef dict _told(const Search* search, unsigned int slot, dict found, uint32_t first_old, uint32_t first_new, dict names,
                list tests):
    cdef uint32_t i
    regions, holding, deciding = [], [], []
    fields = sorted({search.space.axes[i].field for i in range(search.space.first_test)})
    for i in range(search.n_regions):
        told = region_told(search, &search.regions[i], 6 if slot & 1 else 4, fields, names)
        if told is not None:
            regions.append(told)
            holding.append(tests_told(search, &search.regions[i], tests))
            deciding.append(deciding_told(search, &search.regions[i], first_old, first_new))
    return {
        "added": [first_new + place for place in found["added"]],
        "removed": [first_old + place for place in found["removed"]],
        "changed": [(first_old + i, first_new + k) for i, k in found["changed"]],
        "moved": [(first_old + i, first_new + k) for i, k in found["moved"]],
        "regions": regions, "tests": holding, "deciding": deciding, "complete": bool(search.complete),
    }
