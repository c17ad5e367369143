"""The search: a packet's values to coordinates, down the forest, through leaves, to matches in order."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from ._boxes cimport MAX_DIMENSIONS, Dimension, FilterRest
from ._policy cimport CompiledPolicy, condition_matches, is_gone
from ._texts cimport TextIds, text_id
from ._tree cimport (
    CUT_HEADER, EMPTY_LEAF, FORK_BIT, LANE_ENDS, LANE_NEEDS, LANE_RESIDUAL, LEAF_BIT, LEAF_HEADER, LEAF_LANES, MAX_FORKS,
    TRACKED, Table,
)
from ._types cimport NO_FILTER, FieldValues, value_present

cdef extern from "_leaf.h" nogil:
    uint32_t leaf_next(const uint32_t* leaf, const uint32_t* x, uint32_t* at, uint32_t until, int level)
    uint64_t leaf_masks(const uint32_t* leaf, const uint32_t* x, uint32_t at, uint32_t count, int level)
    uint32_t lowest_bit(uint32_t mask)
    uint32_t lowest_bit_of(uint64_t mask)
    enum:
        LEAF_CHUNK

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
    uint32_t known              # In the second forest: how many matches the first one gave, sorted.
    bint missed                 # A filter that would have matched was ignored; it may have hidden others.
    uint32_t x[MAX_DIMENSIONS]
    uint32_t ended[TRACKED]     # By sublayer rank: the filter that ended it, or NO_FILTER.


cdef void _locate_texts(Search* search) noexcept nogil:
    """Ids of the texts that are there."""
    cdef const TextIds* ids
    cdef uint32_t i
    for i in range(search.table.n_texts):
        ids = &search.table.texts[i]
        if value_present(search.values, ids.field):
            search.x[ids.dimension] = text_id(ids, search.policy, <const uint8_t*>search.values.hi[ids.field],
                                              search.values.lo[ids.field])


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
    if table.n_texts:
        _locate_texts(search)
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


cdef bint _is_known(const Search* search, uint32_t filter) noexcept nogil:
    """Whether the first forest gave this match already."""
    cdef uint32_t low = 0, past = search.known, middle
    while low < past:
        middle = (low + past) // 2
        if search.matches[middle] < filter:
            low = middle + 1
        else:
            past = middle
    return low < search.known and search.matches[low] == filter


cdef bint _is_ignored(Search* search, uint32_t filter) noexcept nogil:
    """Whether the filter is gone, or known."""
    cdef uint32_t index = search.table.first + filter
    if is_gone(search.policy.gone, index):
        search.missed = True
        return True
    return _is_known(search, filter)


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
            if (search.policy.gone != NULL and _is_ignored(search, filter)
                    or about & (LANE_NEEDS | LANE_RESIDUAL) and not _rest_holds(search, filter, about)):
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


cdef inline bint _is_behind(const Search* search, const uint32_t* filters, uint32_t lane) noexcept nogil:
    """Whether all of a block, whose last entry is `lane`, stands behind a filter that ended its sublayer."""
    cdef uint32_t rank = filters[LEAF_LANES + lane] >> 8
    return rank < TRACKED and filters[0] > search.ended[rank]


cdef inline uint32_t _take_chunk(Search* search, const uint32_t* leaf, uint32_t n_blocks, uint32_t block,
                                 uint32_t past) noexcept nogil:
    """Add the matching filters of blocks block..past-1, each sublayer's up to its end; the block to go on with."""
    cdef uint32_t words = 2 * LEAF_LANES * (leaf[1] + 1), at, lanes
    cdef const uint32_t* filters = leaf + LEAF_HEADER + 2 * LEAF_LANES * leaf[1]
    cdef const uint32_t* following = leaf + LEAF_HEADER + <size_t>n_blocks * words
    cdef uint64_t masks = leaf_masks(leaf, search.x, block, past - block, search.table.level)
    while masks:
        at = block + lowest_bit_of(masks) // LEAF_LANES
        lanes = <uint32_t>(masks >> (LEAF_LANES * (at - block))) & 0xFF
        at = following[at] if _take_lanes(search, filters + <size_t>at * words, lanes) else at + 1
        if at >= past:
            return at
        masks &= ~<uint64_t>0 << (LEAF_LANES * (at - block))
    return past


cdef void _scan_runs(Search* search, const uint32_t* leaf, uint32_t n_blocks) noexcept nogil:
    """A leaf of several blocks and sublayers: chunk by chunk, without runs that are known to have ended."""
    cdef uint32_t words = 2 * LEAF_LANES * (leaf[1] + 1), block = 0, last
    cdef const uint32_t* filters = leaf + LEAF_HEADER + 2 * LEAF_LANES * leaf[1]
    while block < n_blocks:
        last = LEAF_LANES - 1 if block + 1 < n_blocks else (leaf[0] - 1) % LEAF_LANES
        if search.n and _is_behind(search, filters + <size_t>block * words, last):
            block = leaf[LEAF_HEADER + <size_t>n_blocks * words + block]
        else:
            block = _take_chunk(search, leaf, n_blocks, block, min(block + LEAF_CHUNK, n_blocks))


cdef inline void _scan_leaf(Search* search, const uint32_t* leaf) noexcept nogil:
    """Every sublayer's run of entries, until its end is found there or is known to lie before."""
    cdef uint32_t n_blocks = (leaf[0] + LEAF_LANES - 1) // LEAF_LANES, n_dims = leaf[1], block = 0, lanes
    cdef uint32_t words = 2 * LEAF_LANES * (n_dims + 1), before = search.n
    cdef const uint32_t* filters = leaf + LEAF_HEADER + 2 * LEAF_LANES * n_dims
    if n_blocks > 1 and search.table.n_ranks > 1:
        _scan_runs(search, leaf, n_blocks)
        search.leaves += search.n != before
        return
    if search.leaves and search.table.n_ranks == 1 and filters[0] > search.ended[0]:
        return
    while block < n_blocks:
        lanes = leaf_next(leaf, search.x, &block, n_blocks, search.table.level)
        if lanes == 0:
            break
        if _take_lanes(search, filters + <size_t>block * words, lanes) and n_blocks > 1:
            block = leaf[LEAF_HEADER + <size_t>n_blocks * words + block]
        else:
            block += 1
    search.leaves += search.n != before


cdef inline uint32_t _next_pending(Search* search, const uint32_t* pending, uint32_t* n) noexcept nogil:
    """The second reference of the last fork that can still have what is needed; EMPTY_LEAF if none can."""
    cdef const Table* table = search.table
    cdef const uint32_t* at
    cdef uint32_t rank
    while n[0]:
        n[0] -= 1
        at = table.tree + (pending[n[0]] & ~<uint32_t>FORK_BIT)
        if at[1] == EMPTY_LEAF:
            continue
        if table.fork_ranks == 0:
            return at[1]
        for rank in range(table.fork_ranks):
            if at[2 + rank] < search.ended[rank]:
                return at[1]
    return EMPTY_LEAF


cdef void _walk(Search* search, uint32_t root) noexcept nogil:
    """Visit every leaf below `root` that can hold the point."""
    cdef const Table* table = search.table
    cdef const uint32_t* at
    cdef uint32_t pending[MAX_FORKS + 1]
    cdef uint32_t n = 0, ref = root, part, parts
    while True:
        while ref < FORK_BIT:
            at = table.tree + ref
            part = (search.x[at[1] & 0xFF] - at[0]) >> ((at[1] >> 8) & 0xFF)
            parts = at[1] >> 16
            ref = at[CUT_HEADER + (part if part < parts else parts)]
        if ref & LEAF_BIT:
            if ref != EMPTY_LEAF:
                _scan_leaf(search, table.leaves + <size_t>(ref & ~<uint32_t>LEAF_BIT) * LEAF_HEADER)
            ref = _next_pending(search, pending, &n)
            if ref == EMPTY_LEAF:
                return
        else:
            at = table.tree + (ref & ~<uint32_t>FORK_BIT)
            pending[n] = ref
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


cdef void _walk_hidden(Search* search) noexcept nogil:
    """What an ignored filter hid: the second forest, without the matches that are there already."""
    _sort(search.matches, search.n)
    search.known = search.n
    search.leaves += 1
    _walk(search, search.table.hidden)


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
    search.n = search.absent = search.leaves = search.known = 0
    search.missed = False
    memset(search.ended, 0xFF, sizeof(search.ended))
    _locate(&search)
    _walk(&search, search.table.root)
    if search.missed:
        _walk_hidden(&search)
    if search.n > 1 and (search.leaves > 1 or search.table.n_ranks > TRACKED):
        _merge(&search)
    for i in range(search.n):
        matches[i] += search.table.first
    return search.n
