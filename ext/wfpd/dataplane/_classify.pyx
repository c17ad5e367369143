"""The search: a packet's values to coordinates, down the forest, through leaves, to matches in order."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from ._boxes cimport MAX_DIMENSIONS, BoxSet, Dimension, FilterRest, boxes_free, boxes_make
from ._forest cimport forest_build, forest_free
from ._table cimport CompiledPolicy, Snapshot, condition_matches
from ._tree cimport (
    CUT_HEADER, EMPTY_LEAF, FORK_BIT, LANE_ENDS, LANE_NEEDS, LANE_RESIDUAL, LEAF_BIT, LEAF_HEADER, LEAF_LANES, MAX_FORKS,
    TRACKED, Table,
)
from ._types cimport N_FIELDS, N_SLOTS, NO_FILTER, FieldValues, value_set128

cdef extern from "_leaf.h" nogil:
    uint32_t leaf_next(const uint32_t* leaf, const uint32_t* x, uint32_t* at, int level)
    int leaf_level()
    uint32_t lowest_bit(uint32_t mask)

cdef enum:
    FEW = 32                    # Matches that insertion sorts faster.

# One search; on the stack of its caller.
cdef struct Search:
    const CompiledPolicy* policy
    const Table* table
    const FieldValues* values
    uint32_t* matches           # Filters, counted from the slot's first until the end.
    uint32_t n
    uint32_t absent             # Presence bits of wide fields that the packet lacks.
    uint32_t leaves             # Leaves that gave matches; above 1 they are to be merged.
    uint32_t x[MAX_DIMENSIONS]
    uint32_t ended[TRACKED]     # By sublayer rank: the filter that ended it, or NO_FILTER.


cdef void _locate_absent(Search* search) noexcept nogil:
    """Coordinates and presence where some field of the dimensions has no value."""
    cdef const uint64_t* present = search.values.present
    cdef const Dimension* dimension
    cdef uint32_t i, missing
    for i in range(search.table.n_dimensions):
        dimension = &search.table.dimensions[i]
        # 0, or all ones if the field is absent.
        missing = <uint32_t>((present[dimension.field >> 6] >> (dimension.field & 63)) & 1) - 1
        search.x[i] |= missing & dimension.absent
        search.absent |= missing & dimension.need


cdef inline void _locate(Search* search) noexcept nogil:
    """The packet's coordinates."""
    cdef const Table* table = search.table
    cdef const uint8_t* values = <const uint8_t*>search.values
    cdef uint32_t i
    for i in range(table.n_dimensions):
        search.x[i] = (<const uint32_t*>(values + table.offset[i]))[0]
    if table.fields[0] & ~search.values.present[0] or table.fields[1] & ~search.values.present[1]:
        _locate_absent(search)


cdef bint _residuals_hold(const Search* search, const FilterRest* rest) noexcept nogil:
    cdef uint32_t i
    for i in range(rest.n_residuals):
        if not condition_matches(search.policy,
                                 &search.policy.conditions[search.table.residuals[rest.first_residual + i]],
                                 search.values):
            return False
    return True


cdef inline bint _rest_holds(const Search* search, uint32_t filter, uint32_t flags) noexcept nogil:
    """What the box does not say: presence, and residual conditions."""
    if flags & LANE_NEEDS and search.absent and search.table.rest[filter].need & search.absent:
        return False
    return not flags & LANE_RESIDUAL or _residuals_hold(search, &search.table.rest[filter])


cdef inline bint _take_lanes(Search* search, const uint32_t* filters, uint32_t lanes) noexcept nogil:
    """Add the block's matching filters, each sublayer's up to its end.

    Whether the run that the block ends with is known to have ended.
    """
    cdef uint32_t lane, filter, about, rank, end
    while lanes:
        lane = lowest_bit(lanes)
        filter = filters[lane]
        about = filters[LEAF_LANES + lane]
        rank = about >> 8
        if rank >= TRACKED or filter <= search.ended[rank]:
            if about & (LANE_NEEDS | LANE_RESIDUAL) and not _rest_holds(search, filter, about):
                lanes &= lanes - 1
                continue
            search.matches[search.n] = filter
            search.n += 1
            if not about & LANE_ENDS:
                lanes &= lanes - 1
                continue
            if rank < TRACKED:
                search.ended[rank] = filter
        end = (about >> 4) & 15
        if end == LEAF_LANES:
            return True
        lanes &= <uint32_t>0xFF << end
    return False


cdef inline void _scan_leaf(Search* search, const uint32_t* leaf) noexcept nogil:
    """Every sublayer's run of entries, until its end is found there or is known to lie before."""
    cdef uint32_t n_blocks = (leaf[0] + LEAF_LANES - 1) // LEAF_LANES, n_dims = leaf[1], block = 0, lanes
    cdef uint32_t words = 2 * LEAF_LANES * (n_dims + 1), before = search.n
    cdef const uint32_t* filters = leaf + LEAF_HEADER + 2 * LEAF_LANES * n_dims
    cdef const uint32_t* following = leaf + LEAF_HEADER + <size_t>n_blocks * words
    if search.table.n_ranks == 1 and filters[0] > search.ended[0]:
        return
    while True:
        lanes = leaf_next(leaf, search.x, &block, search.table.level)
        if lanes == 0:
            break
        if _take_lanes(search, filters + <size_t>block * words, lanes) and n_blocks > 1:
            block = following[block]
        else:
            block += 1
        if block >= n_blocks:
            break
    search.leaves += search.n != before


cdef void _walk(Search* search) noexcept nogil:
    """Visit every leaf that can hold the point."""
    cdef const Table* table = search.table
    cdef const uint32_t* at
    cdef uint32_t pending[MAX_FORKS + 1]
    cdef uint32_t n = 0, ref = table.root, part, parts
    while True:
        while ref < FORK_BIT:
            at = table.tree + ref
            part = (search.x[at[1] & 0xFF] - at[0]) >> ((at[1] >> 8) & 0xFF)
            parts = at[1] >> 16
            ref = at[CUT_HEADER + (part if part < parts else parts)]
        if ref & LEAF_BIT:
            if ref != EMPTY_LEAF:
                _scan_leaf(search, table.leaves + <size_t>(ref & ~<uint32_t>LEAF_BIT) * LEAF_HEADER)
            if n == 0:
                return
            n -= 1
            ref = pending[n]
        else:
            at = table.tree + (ref & ~<uint32_t>FORK_BIT)
            pending[n] = at[1]
            n += 1
            ref = at[0]


cdef void _sift(uint32_t* at, uint32_t root, uint32_t n) noexcept nogil:
    cdef uint32_t child, value = at[root]
    while 2 * root + 1 < n:
        child = 2 * root + 1
        if child + 1 < n and at[child + 1] > at[child]:
            child += 1
        if at[child] <= value:
            break
        at[root] = at[child]
        root = child
    at[root] = value


cdef void _sort(uint32_t* at, uint32_t n) noexcept nogil:
    """In place: insertion for few, else heap sort (a hostile policy must not make it quadratic)."""
    cdef uint32_t i, k, value
    if n <= FEW:
        for i in range(1, n):
            value = at[i]
            k = i
            while k and at[k - 1] > value:
                at[k] = at[k - 1]
                k -= 1
            at[k] = value
        return
    for i in range(n // 2, 0, -1):
        _sift(at, i - 1, n)
    for i in range(n - 1, 0, -1):
        value = at[0]
        at[0] = at[i]
        at[i] = value
        _sift(at, 0, i)


cdef void _merge(Search* search) noexcept nogil:
    """Matches of several leaves into one order, each sublayer up to its first end."""
    cdef const Table* table = search.table
    cdef uint32_t i, filter, rank = 0, kept = 0, ended = NO_FILTER
    cdef const FilterRest* rest
    _sort(search.matches, search.n)
    for i in range(search.n):
        filter = search.matches[i]
        while rank < TRACKED and filter >= table.rank_end[rank]:
            rank += 1
        if rank < TRACKED:
            if filter <= search.ended[rank]:
                search.matches[kept] = filter
                kept += 1
            continue
        rest = &table.rest[filter]
        if rest.rank != ended:
            search.matches[kept] = filter
            kept += 1
            if rest.ends:
                ended = rest.rank
    search.n = kept


cdef uint32_t classify(const CompiledPolicy* policy, unsigned int slot, const FieldValues* values,
                       uint32_t* matches) noexcept nogil:
    cdef Search search
    cdef uint32_t i
    if policy.search[slot] == NULL:
        return 0
    search.policy = policy
    search.table = <const Table*>policy.search[slot]
    search.values = values
    search.matches = matches
    search.n = search.absent = search.leaves = 0
    memset(search.ended, 0xFF, sizeof(search.ended))
    _locate(&search)
    _walk(&search)
    if search.n > 1 and (search.leaves > 1 or search.table.n_ranks > TRACKED):
        _merge(&search)
    for i in range(search.n):
        matches[i] += search.table.first
    return search.n


cdef void _table_free(Table* table) noexcept nogil:
    if table == NULL:
        return
    forest_free(table)
    free(table.rest)
    free(table.residuals)
    free(table)


cdef void _table_describe(Table* table, const BoxSet* boxes) noexcept nogil:
    """What a search reads of the boxes: coordinates' places, sublayers' ends."""
    cdef uint32_t i, rank
    cdef const Dimension* dimension
    memcpy(table.dimensions, boxes.dimensions, sizeof(boxes.dimensions))
    table.n_dimensions = boxes.n_dimensions
    table.n_filters = boxes.n_filters
    for i in range(boxes.n_dimensions):
        dimension = &boxes.dimensions[i]
        table.offset[i] = <uint16_t>(8 * dimension.word + (dimension.shift >> 3))
        table.fields[dimension.field >> 6] |= (<uint64_t>1) << (dimension.field & 63)
    memset(table.rank_end, 0xFF, sizeof(table.rank_end))
    for i in range(boxes.n_filters):
        rank = boxes.rest[i].rank
        table.n_ranks = rank + 1
        if rank < TRACKED:
            table.rank_end[rank] = i + 1
    # Ranks beyond: a filter past the last tracked one's end is looked up by itself.


cdef int _table_fill(Table* table, const CompiledPolicy* policy, unsigned int slot, BoxSet* boxes) noexcept nogil:
    if boxes_make(policy, slot, boxes) != 0 or forest_build(boxes, table) != 0:
        return -1
    _table_describe(table, boxes)
    table.first = policy.layers[slot].first
    table.level = leaf_level()
    table.rest = boxes.rest
    table.residuals = boxes.residuals
    table.size += boxes.n_filters * sizeof(FilterRest) + 4 * boxes.residuals_capacity + sizeof(Table)
    boxes.rest = NULL
    boxes.residuals = NULL
    return 0


cdef Table* _table_make(const CompiledPolicy* policy, unsigned int slot) noexcept nogil:
    """The slot's table, or NULL when memory ran out."""
    cdef BoxSet boxes
    cdef Table* table = <Table*>calloc(1, sizeof(Table))
    cdef int status
    if table == NULL:
        return NULL
    status = _table_fill(table, policy, slot, &boxes)
    boxes_free(&boxes)
    if status == 0:
        return table
    _table_free(table)
    return NULL


cdef int tables_build(CompiledPolicy* policy) noexcept nogil:
    cdef unsigned int slot
    for slot in range(N_SLOTS):
        if policy.layers[slot].count == 0:
            continue
        policy.search[slot] = _table_make(policy, slot)
        if policy.search[slot] == NULL:
            tables_free(policy)
            return -1
    return 0


cdef void tables_free(CompiledPolicy* policy) noexcept nogil:
    cdef unsigned int slot
    for slot in range(N_SLOTS):
        _table_free(<Table*>policy.search[slot])
        policy.search[slot] = NULL


cdef void _values_of_row(FieldValues* values, const uint64_t* row, const uint32_t* fields, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        value_set128(values, fields[i], row[2 * i], row[2 * i + 1])


cdef double _thread_seconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return now.tv_sec + 1e-9 * now.tv_nsec


cdef double _row_seconds(const CompiledPolicy* policy, unsigned int slot, const uint64_t* rows, Py_ssize_t n,
                         const uint32_t* fields, uint32_t n_fields, uint32_t* matches) noexcept nogil:
    """Thread CPU time of filling the values of each row and classifying them."""
    cdef FieldValues values
    cdef Py_ssize_t row
    cdef double start = _thread_seconds()
    memset(&values, 0, sizeof(values))
    for row in range(n):
        _values_of_row(&values, rows + row * 2 * n_fields, fields, n_fields)
        classify(policy, slot, &values, matches)
    return _thread_seconds() - start


def classify_many(Snapshot snapshot, unsigned int slot, fields, const uint64_t[:, ::1] rows, unsigned int rounds=0):
    """Classify every row: cold door for tests and benches.

    `fields` are field ids; a row holds (high, low) for each.  Without `rounds`: the filters of each
    row, as lists.  With it: mean nanoseconds of thread CPU time a row over that many rounds, less
    what filling the values alone takes.
    """
    cdef FieldValues values
    cdef uint32_t ids[N_FIELDS]
    cdef uint32_t n_fields = len(fields), found, i
    cdef Py_ssize_t row, n = rows.shape[0], words = rows.shape[1]
    cdef unsigned int turn, bare = 0
    cdef double seconds = 0
    if slot >= N_SLOTS or n_fields > N_FIELDS or rows.shape[1] != 2 * n_fields:
        raise ValueError("no such slot, or a row is not two numbers a field")
    for i, field in enumerate(fields):
        if not 0 <= field < N_FIELDS:
            raise ValueError(f"no field {field}")
        ids[i] = field
    memset(&values, 0, sizeof(values))
    while bare < N_SLOTS - 1 and snapshot.policy.search[bare] != NULL:
        bare += 1
    cdef const uint64_t* at = &rows[0, 0] if n and words else NULL
    cdef uint32_t* matches = <uint32_t*>malloc((snapshot.policy.max_layer_filters + 1) * sizeof(uint32_t))
    if matches == NULL:
        raise MemoryError()
    try:
        if rounds and n:
            with nogil:
                for turn in range(rounds):
                    seconds += _row_seconds(&snapshot.policy, slot, at, n, ids, n_fields, matches)
                    seconds -= _row_seconds(&snapshot.policy, bare, at, n, ids, n_fields, matches)
            return 1e9 * seconds / (<double>rounds * n)
        result = []
        for row in range(n):
            _values_of_row(&values, at + row * words, ids, n_fields)
            found = classify(&snapshot.policy, slot, &values, matches)
            result.append([matches[i] for i in range(found)])
        return result
    finally:
        free(matches)


def build_seconds(Snapshot snapshot) -> float:
    """Thread CPU time of building all tables of the snapshot once more, in seconds."""
    cdef CompiledPolicy copy = snapshot.policy
    cdef double seconds
    cdef int status
    memset(copy.search, 0, sizeof(copy.search))
    with nogil:
        seconds = -_thread_seconds()
        status = tables_build(&copy)
        seconds += _thread_seconds()
        tables_free(&copy)
    if status != 0:
        raise MemoryError()
    return seconds


def table_stats(Snapshot snapshot, unsigned int slot) -> dict:
    """Sizes of the slot's table; empty where it has no filters."""
    if slot >= N_SLOTS:
        raise IndexError(f"no slot {slot}")
    if snapshot.policy.search[slot] == NULL:
        return {}
    cdef const Table* table = <const Table*>snapshot.policy.search[slot]
    return {
        "filters": table.n_filters, "boxes": table.n_boxes, "copies": table.n_copies, "nodes": table.n_nodes,
        "leaves": table.n_leaves, "largest_leaf": table.largest_leaf, "depth": table.depth, "forks": table.forks,
        "dimensions": table.n_dimensions, "bytes": table.size,
    }
