"""The search: a packet's values to coordinates, down the forest, through leaves, to matches in order."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from ._boxes cimport MAX_DIMENSIONS, BoxSet, Dimension, FilterRest, boxes_free, boxes_make
from ._forest cimport (
    EMPTY_LEAF, LANE_CHECK, LANE_ENDS, LEAF_BIT, LEAF_HEADER, LEAF_LANES, MAX_FORKS, Node, Table, forest_build,
    forest_free,
)
from ._table cimport CompiledPolicy, Snapshot, condition_matches
from ._types cimport N_FIELDS, N_SLOTS, NO_FILTER, FieldValues, value_set128

cdef extern from "_leaf.h" nogil:
    uint32_t leaf_block(const uint32_t* block, const uint8_t* dims, uint32_t n, const uint32_t* x, int wide)
    int leaf_has_avx2()
    uint32_t lowest_bit(uint32_t mask)

cdef enum:
    TRACKED = 16                # Sublayers whose end is remembered from leaf to leaf.
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


cdef inline void _locate(Search* search) noexcept nogil:
    """The packet's coordinates."""
    cdef const uint64_t* words = <const uint64_t*>search.values
    cdef const Dimension* dimension
    cdef uint32_t i, missing
    for i in range(search.table.n_dimensions):
        dimension = &search.table.dimensions[i]
        # 0, or all ones if the field is absent.
        missing = <uint32_t>((words[dimension.field >> 6] >> (dimension.field & 63)) & 1) - 1
        search.x[i] = <uint32_t>(words[dimension.word] >> dimension.shift) | (missing & dimension.absent)
        search.absent |= missing & dimension.need


cdef bint _rest_holds(const Search* search, uint32_t filter) noexcept nogil:
    """What the box does not say: presence, and residual conditions."""
    cdef const FilterRest* rest = &search.table.rest[filter]
    cdef uint32_t i
    if rest.need & search.absent:
        return False
    for i in range(rest.n_residuals):
        if not condition_matches(search.policy,
                                 &search.policy.conditions[search.table.residuals[rest.first_residual + i]],
                                 search.values):
            return False
    return True


cdef inline uint32_t _take_lanes(Search* search, const uint32_t* ids, uint32_t mask, uint32_t limit) noexcept nogil:
    """Add the block's matching filters up to `limit`; the one that ends the sublayer, or NO_FILTER."""
    cdef uint32_t lane
    while mask:
        lane = lowest_bit(mask)
        mask &= mask - 1
        if ids[lane] > limit:
            break
        if ids[LEAF_LANES + lane] & LANE_CHECK and not _rest_holds(search, ids[lane]):
            continue
        search.matches[search.n] = ids[lane]
        search.n += 1
        if ids[LEAF_LANES + lane] & LANE_ENDS:
            return ids[lane]
    return NO_FILTER


cdef void _scan_leaf(Search* search, const uint32_t* leaf) noexcept nogil:
    """Every sublayer's run of entries, until its end is found there or is known to lie before."""
    cdef uint32_t n_dims = leaf[1], n_runs = leaf[2], position = 0, run, end, rank, limit, block, mask = 0, lanes, ender
    cdef uint32_t cached = NO_FILTER, before = search.n
    cdef const uint8_t* dims = <const uint8_t*>(leaf + 4)
    cdef const uint32_t* runs = leaf + LEAF_HEADER
    cdef const uint32_t* blocks = runs + ((2 * n_runs + 15) & ~<uint32_t>15)
    cdef const uint32_t* ids = NULL
    cdef uint32_t words = (n_dims + 1) * 2 * LEAF_LANES
    for run in range(n_runs):
        end = runs[2 * run]
        rank = runs[2 * run + 1]
        limit = search.ended[rank] if rank < TRACKED else NO_FILTER
        while position < end:
            block = position // LEAF_LANES
            if block != cached:
                cached = block
                ids = blocks + <size_t>block * words + 2 * LEAF_LANES * n_dims
                if ids[position % LEAF_LANES] > limit:
                    cached = NO_FILTER
                    break
                mask = leaf_block(blocks + <size_t>block * words, dims, n_dims, search.x, search.table.wide)
            lanes = mask >> (position % LEAF_LANES) << (position % LEAF_LANES)
            if end < (block + 1) * LEAF_LANES:
                lanes &= (<uint32_t>1 << (end % LEAF_LANES)) - 1
            if lanes:
                ender = _take_lanes(search, ids, lanes, limit)
                if ender != NO_FILTER:
                    if rank < TRACKED:
                        search.ended[rank] = ender
                    break
            position = (block + 1) * LEAF_LANES
        position = end
    search.leaves += search.n != before


cdef void _walk(Search* search) noexcept nogil:
    """Visit every leaf that can hold the point."""
    cdef const Table* table = search.table
    cdef uint32_t pending[MAX_FORKS + 1]
    cdef uint32_t n = 0, ref = table.root, part
    cdef const Node* node
    while True:
        if ref & LEAF_BIT:
            if ref != EMPTY_LEAF:
                _scan_leaf(search, table.leaves + <size_t>(ref & ~<uint32_t>LEAF_BIT) * LEAF_HEADER)
            if n == 0:
                return
            n -= 1
            ref = pending[n]
            continue
        node = &table.nodes[ref]
        if node.parts == 0:
            pending[n] = table.refs[node.base + 1]
            n += 1
            ref = table.refs[node.base]
        else:
            part = (search.x[node.dimension] - node.lo) >> node.shift
            ref = table.refs[node.base + (part if part < node.parts else node.parts)]


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
    cdef uint32_t i, kept = 0, ended = NO_FILTER
    cdef const FilterRest* rest
    _sort(search.matches, search.n)
    for i in range(search.n):
        rest = &search.table.rest[search.matches[i]]
        if rest.rank != ended:
            search.matches[kept] = search.matches[i]
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
    if search.leaves > 1:
        _merge(&search)
    for i in range(search.n):
        matches[i] += search.table.first
    return search.n


cdef void _table_free(Table* table) noexcept nogil:
    if table == NULL:
        return
    forest_free(table)
    free(table.dimensions)
    free(table.rest)
    free(table.residuals)
    free(table)


cdef int _table_fill(Table* table, const CompiledPolicy* policy, unsigned int slot, BoxSet* boxes) noexcept nogil:
    cdef size_t size
    if boxes_make(policy, slot, boxes) != 0:
        return -1
    size = boxes.n_dimensions * sizeof(Dimension)
    table.dimensions = <Dimension*>malloc(size + 1)
    if table.dimensions == NULL or forest_build(boxes, table) != 0:
        return -1
    memcpy(table.dimensions, boxes.dimensions, size)
    table.n_dimensions = boxes.n_dimensions
    table.n_filters = boxes.n_filters
    table.first = policy.layers[slot].first
    table.wide = leaf_has_avx2()
    table.rest = boxes.rest
    table.residuals = boxes.residuals
    table.size += boxes.n_filters * sizeof(FilterRest) + 4 * boxes.residuals_capacity + size + sizeof(Table)
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


def classify_many(Snapshot snapshot, unsigned int slot, fields, const uint64_t[:, ::1] rows, unsigned int rounds=0):
    """Classify every row: cold door for tests and benches.

    `fields` are field ids; a row holds (high, low) for each.  Without `rounds`: the filters of each
    row, as lists.  With it: mean nanoseconds of thread CPU time a row over that many rounds.
    """
    cdef FieldValues values
    cdef timespec start, end
    cdef uint32_t ids[N_FIELDS]
    cdef uint32_t n_fields = len(fields), found, i
    cdef Py_ssize_t row, n = rows.shape[0], words = rows.shape[1]
    cdef unsigned int turn
    if slot >= N_SLOTS or n_fields > N_FIELDS or rows.shape[1] != 2 * n_fields:
        raise ValueError("no such slot, or a row is not two numbers a field")
    for i, field in enumerate(fields):
        if not 0 <= field < N_FIELDS:
            raise ValueError(f"no field {field}")
        ids[i] = field
    memset(&values, 0, sizeof(values))
    cdef const uint64_t* at = &rows[0, 0] if n and words else NULL
    cdef uint32_t* matches = <uint32_t*>malloc((snapshot.policy.max_layer_filters + 1) * sizeof(uint32_t))
    if matches == NULL:
        raise MemoryError()
    try:
        if rounds and n:
            with nogil:
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start)
                for turn in range(rounds):
                    for row in range(n):
                        _values_of_row(&values, at + row * words, ids, n_fields)
                        classify(&snapshot.policy, slot, &values, matches)
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end)
            return (1e9 * (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec)) / (<double>rounds * n)
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
    cdef timespec start, end
    cdef int status
    memset(copy.search, 0, sizeof(copy.search))
    with nogil:
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start)
        status = tables_build(&copy)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end)
        tables_free(&copy)
    if status != 0:
        raise MemoryError()
    return (end.tv_sec - start.tv_sec) + 1e-9 * (end.tv_nsec - start.tv_nsec)


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
