"""Forest of cut trees with fat leaves.

Problem: thousands of overlapping boxes in up to 24 dimensions, one point, all boxes that hold it.
A pure tree copies wide boxes into every child and explodes; a list is slow.  So: a node cuts one
dimension into equal parts while copies stay within an allowance that a path spends once; where
wide boxes forbid that, it forks: boxes narrow in the dimension go to a cut of their own, the
rest to a second tree, and both are searched.  What neither helps becomes a large leaf, which is
sixteen boxes a step.  Memory is bounded by the allowance, depth by MAX_DEPTH and MAX_FORKS.

A box behind one that covers the node's whole region and always ends the sublayer is left out.
Choices look at no more than SAMPLES boxes of a node, so a build is linear in depth and boxes.

A node's region holds every point that the search brings there, and each box of its list meets the
region.  Debug builds abort where a list has a box too many for that, or one too few.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdio cimport fputs, stderr
from libc.stdlib cimport abort, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from ._boxes cimport MAX_DIMENSIONS, Bound, BoxSet, FilterRest

cdef extern from *:
    """
    #ifdef WFPD_DEBUG
    #define FOREST_CHECKED 1
    #else
    #define FOREST_CHECKED 0
    #endif
    """
    const bint FOREST_CHECKED

cdef enum:
    MAX_DEPTH = 40
    MAX_PARTS = 1024
    SAMPLES = 1024
    N_WIDTHS = 7
    ALL = 0xFFFFFFFF

cdef uint32_t[N_WIDTHS] WIDTHS = [2, 4, 8, 32, 128, 512, 1024]

cdef struct Store:              # A growing array of uint32.
    uint32_t* at
    uint32_t n
    uint32_t capacity

cdef struct Build:
    const BoxSet* boxes
    Table* table
    Store work                  # Stack of box lists.
    Store refs
    Store leaves
    Store nodes                 # Node is 3 words.
    bint failed

cdef struct Plan:
    double score
    uint32_t dimension
    uint32_t lo
    uint32_t shift
    uint32_t parts
    uint32_t most               # Boxes that touch more parts go to the fork's second tree; ALL: no fork.
    double factor               # Copies per box.

cdef struct Place:              # Of a node in the tree.
    Bound region[MAX_DIMENSIONS]
    uint32_t depth
    uint32_t forks
    double allowance            # Copies that the path may still multiply by.

cdef struct Window:
    uint32_t lo
    uint32_t hi
    uint32_t n                  # Sampled boxes that do not span the region.


cdef bint store_more(Build* build, Store* store, uint32_t more) noexcept nogil:
    """Room for `more` words; whether there is."""
    cdef uint64_t capacity
    cdef void* grown
    if build.failed:
        return False
    if <uint64_t>store.n + more > store.capacity:
        capacity = <uint64_t>store.capacity + (store.capacity >> 1) + more + 256
        grown = realloc(store.at, capacity * sizeof(uint32_t)) if capacity < ALL else NULL
        if grown == NULL:
            build.failed = True
            return False
        store.at = <uint32_t*>grown
        store.capacity = <uint32_t>capacity
    return True


cdef inline const Bound* box_at(const Build* build, uint32_t box) noexcept nogil:
    return build.boxes.bounds + <size_t>box * build.boxes.n_dimensions


cdef inline uint32_t clip_lo(Bound bound, Bound region) noexcept nogil:
    return bound.lo if bound.lo > region.lo else region.lo


cdef inline uint32_t clip_hi(Bound bound, Bound region) noexcept nogil:
    return bound.hi if bound.hi < region.hi else region.hi


cdef inline bint spans_region(Bound bound, Bound region) noexcept nogil:
    return bound.lo <= region.lo and bound.hi >= region.hi


cdef inline bint meets_region(Bound bound, Bound region) noexcept nogil:
    return clip_lo(bound, region) <= clip_hi(bound, region)


cdef void require(bint holds, const char* what) noexcept nogil:
    if not holds:
        fputs(what, stderr)
        abort()


cdef void require_meeting(const Build* build, uint32_t first, uint32_t n, const Place* place) noexcept nogil:
    """Abort unless each box of the list meets the region."""
    cdef uint32_t i, d
    for i in range(n):
        for d in range(build.boxes.n_dimensions):
            require(meets_region(box_at(build, build.work.at[first + i])[d], place.region[d]),
                    b"forest: a box lies outside of its node's region\n")


cdef void require_complete(const Build* build, uint32_t first, uint32_t n, uint32_t d, Bound region,
                           uint32_t length) noexcept nogil:
    """Abort unless `length` boxes of the list meet the part `region` of a cut."""
    cdef uint32_t i, meeting = 0
    for i in range(n):
        meeting += meets_region(box_at(build, build.work.at[first + i])[d], region)
    require(meeting == length, b"forest: a part of a cut has not the boxes that meet it\n")


cdef uint32_t drop_hidden(Build* build, uint32_t first, uint32_t n, const Place* place) noexcept nogil:
    """Take out boxes behind one that covers the region and ends their sublayer; the new count."""
    cdef uint32_t i, d, kept = 0, box, hidden_rank = ALL, hidden_need = 0
    cdef const FilterRest* rest
    cdef const Bound* bounds
    for i in range(n):
        box = build.work.at[first + i]
        rest = &build.boxes.rest[build.boxes.owner[box]]
        if rest.rank == hidden_rank and hidden_need & ~rest.need == 0:
            continue
        build.work.at[first + kept] = box
        kept += 1
        if not rest.ends or rest.n_residuals or rest.rank == hidden_rank:
            continue
        bounds = box_at(build, box)
        d = 0
        while d < build.boxes.n_dimensions and spans_region(bounds[d], place.region[d]):
            d += 1
        if d == build.boxes.n_dimensions:
            hidden_rank = rest.rank
            hidden_need = rest.need
    return kept


cdef uint32_t leaf_runs(Build* build, uint32_t first, uint32_t n, uint32_t* out) noexcept nogil:
    """Runs of one sublayer each: (end, rank) pairs into `out` unless NULL; their number."""
    cdef uint32_t i, rank, runs = 0, last = ALL
    for i in range(n):
        rank = build.boxes.rest[build.boxes.owner[build.work.at[first + i]]].rank
        if rank != last:
            runs += 1
            last = rank
        if out != NULL:
            out[2 * runs - 2] = i + 1
            out[2 * runs - 1] = rank
    return runs


cdef uint32_t leaf_dimensions(Build* build, uint32_t first, uint32_t n, const Place* place,
                              uint8_t* out) noexcept nogil:
    """Dimensions in which some box does not span the region."""
    cdef uint32_t d, i, count = 0
    for d in range(build.boxes.n_dimensions):
        for i in range(n):
            if not spans_region(box_at(build, build.work.at[first + i])[d], place.region[d]):
                out[count] = <uint8_t>d
                count += 1
                break
    return count


cdef void leaf_fill(Build* build, uint32_t* blocks, uint32_t first, uint32_t n, const uint8_t* dims,
                    uint32_t n_dims) noexcept nogil:
    cdef uint32_t i, d, lane, owner, words = n_dims * 2 * LEAF_LANES + 2 * LEAF_LANES
    cdef uint32_t* block
    cdef const FilterRest* rest
    cdef const Bound* bounds
    for i in range(n):
        block = blocks + <size_t>(i // LEAF_LANES) * words
        lane = i % LEAF_LANES
        bounds = box_at(build, build.work.at[first + i])
        for d in range(n_dims):
            block[32 * d + lane] = bounds[dims[d]].lo
            block[32 * d + 16 + lane] = bounds[dims[d]].hi - bounds[dims[d]].lo
        owner = build.boxes.owner[build.work.at[first + i]]
        rest = &build.boxes.rest[owner]
        block[32 * n_dims + lane] = owner
        block[32 * n_dims + 16 + lane] = (LANE_ENDS if rest.ends else 0) | (
            LANE_CHECK if rest.need or rest.n_residuals else 0)


cdef uint32_t make_leaf(Build* build, uint32_t first, uint32_t n, const Place* place) noexcept nogil:
    """A leaf of the list's boxes; its reference."""
    cdef uint8_t dims[MAX_DIMENSIONS]
    cdef uint32_t n_dims, runs, run_words, block_words, words, at
    cdef uint32_t* leaf
    if n == 0:
        return EMPTY_LEAF
    n_dims = leaf_dimensions(build, first, n, place, dims)
    runs = leaf_runs(build, first, n, NULL)
    run_words = (2 * runs + 15) & ~<uint32_t>15
    block_words = (n_dims + 1) * 2 * LEAF_LANES
    words = LEAF_HEADER + run_words + block_words * ((n + LEAF_LANES - 1) // LEAF_LANES)
    if not store_more(build, &build.leaves, words):
        return EMPTY_LEAF
    at = build.leaves.n
    leaf = build.leaves.at + at
    memset(leaf, 0, <size_t>words * sizeof(uint32_t))
    leaf[0] = n
    leaf[1] = n_dims
    leaf[2] = runs
    memcpy(leaf + 4, dims, n_dims)
    leaf_runs(build, first, n, leaf + LEAF_HEADER)
    leaf_fill(build, leaf + LEAF_HEADER + run_words, first, n, dims, n_dims)
    build.leaves.n += words
    build.table.n_leaves += 1
    build.table.n_copies += n
    if n > build.table.largest_leaf:
        build.table.largest_leaf = n
    return LEAF_BIT | at // LEAF_HEADER


cdef inline double steps(double n) noexcept nogil:
    """Expected cost of searching `n` boxes, in leaf blocks: growing, but slower than n."""
    cdef double blocks = n / LEAF_LANES
    if blocks <= 1:
        return 1
    return 1 + (blocks - 1) / (1 + blocks / 24)


cdef void find_window(const Build* build, const uint32_t* list, uint32_t n, uint32_t stride, uint32_t d,
                      Bound region, Window* window) noexcept nogil:
    """Where the boxes that do not span the region lie."""
    cdef uint32_t k
    cdef Bound bound
    window.lo = ALL
    window.hi = 0
    window.n = 0
    for k in range((n + stride - 1) // stride):
        bound = box_at(build, list[k * stride])[d]
        if not spans_region(bound, region):
            window.n += 1
            window.lo = min(window.lo, clip_lo(bound, region))
            window.hi = max(window.hi, clip_hi(bound, region))


cdef void cut_shape(const Window* window, uint32_t width, Plan* plan) noexcept nogil:
    """At most `width` equal parts over the window, on multiples of their size."""
    plan.shift = 0
    while (window.hi >> plan.shift) - (window.lo >> plan.shift) >= width:
        plan.shift += 1
    plan.lo = (window.lo >> plan.shift) << plan.shift
    plan.parts = (window.hi >> plan.shift) - (window.lo >> plan.shift) + 1


cdef bint touched(const Plan* plan, Bound bound, Bound region, uint32_t* first, uint32_t* past) noexcept nogil:
    """Parts first..past-1 of the window that the box touches, if any; whether it touches the outside too.

    A box over one edge of the window touches the outside and the parts at that edge, no others.
    """
    cdef uint32_t lo = clip_lo(bound, region), hi = clip_hi(bound, region)
    cdef uint64_t end = <uint64_t>plan.lo + ((<uint64_t>plan.parts) << plan.shift)
    first[0] = past[0] = 0
    if hi >= plan.lo and lo < end:
        first[0] = 0 if lo < plan.lo else (lo - plan.lo) >> plan.shift
        past[0] = plan.parts if hi >= end else ((hi - plan.lo) >> plan.shift) + 1
    return lo < plan.lo or hi >= end


cdef inline uint32_t n_touched(const Plan* plan, Bound bound, Bound region) noexcept nogil:
    """Parts that the box touches, the outside being one."""
    cdef uint32_t first, past
    cdef uint32_t outside = touched(plan, bound, region, &first, &past)
    return past - first + outside


cdef inline void tally(int32_t* changes, uint32_t first, uint32_t past, bint outside, uint32_t parts) noexcept nogil:
    """Count a box in the differences of neighbouring parts' counts; part `parts` is the outside."""
    changes[first] += 1
    changes[past] -= 1
    if outside:
        changes[parts] += 1
        changes[parts + 1] -= 1


cdef void score_cut(const Build* build, const uint32_t* list, uint32_t n, uint32_t stride, const Place* place,
                    Plan* plan) noexcept nogil:
    """Score the cut without and with a fork; keep the better (score 0: none allowed)."""
    cdef int32_t narrow[MAX_PARTS + 3]
    cdef int32_t wide[MAX_PARTS + 3]
    cdef bint outside
    cdef uint32_t i, first, past, t, samples = 0, n_wide = 0, most = 2 if plan.parts > 4 else 1
    cdef double scale, copies_narrow = 0, copies = 0, squares_narrow = 0, squares = 0, a = 0, b = 0, score
    memset(narrow, 0, (plan.parts + 3) * sizeof(int32_t))
    memset(wide, 0, (plan.parts + 3) * sizeof(int32_t))
    for i in range((n + stride - 1) // stride):
        outside = touched(plan, box_at(build, list[i * stride])[plan.dimension], place.region[plan.dimension],
                          &first, &past)
        samples += 1
        if past - first + <uint32_t>outside <= most:
            tally(narrow, first, past, outside, plan.parts)
        else:
            n_wide += 1
            tally(wide, first, past, outside, plan.parts)
    for i in range(plan.parts + 1):
        a += narrow[i]
        b += wide[i]
        copies_narrow += a
        squares_narrow += a * a
        copies += a + b
        squares += (a + b) * (a + b)
    scale = <double>n / samples
    plan.score = 0
    if copies <= samples * min(place.allowance, 1.5):
        plan.score = 0.4 + steps(scale * squares / copies) + 0.002 * plan.parts
        plan.most = ALL
        plan.factor = copies / samples
    if n_wide and n_wide * 16 < 15 * samples and place.forks < MAX_FORKS:
        t = samples - n_wide
        if copies_narrow <= t * min(place.allowance, 1.5):
            score = 1.5 + steps(scale * squares_narrow / copies_narrow) + steps(scale * n_wide) + 0.002 * plan.parts
            if plan.score == 0 or score < plan.score:
                plan.score = score
                plan.most = most
                plan.factor = copies_narrow / t


cdef void best_plan(const Build* build, uint32_t list_first, uint32_t n, const Place* place, Plan* best) noexcept nogil:
    """The cheapest cut of all dimensions and widths; score 0 if a leaf is cheaper."""
    cdef const uint32_t* list = build.work.at + list_first
    cdef uint32_t d, i, stride = (n + SAMPLES - 1) // SAMPLES, last_parts
    cdef Window window
    cdef Plan plan
    best.score = <double>n / LEAF_LANES
    best.parts = 0
    for d in range(build.boxes.n_dimensions):
        find_window(build, list, n, stride, d, place.region[d], &window)
        if window.n * 16 * stride < n or window.lo == window.hi and window.n * stride >= n:
            continue
        last_parts = 0
        for i in range(N_WIDTHS):
            if WIDTHS[i] > 2 * n and i:
                break
            plan.dimension = d
            cut_shape(&window, WIDTHS[i], &plan)
            if plan.parts == last_parts:
                continue
            last_parts = plan.parts
            score_cut(build, list, n, stride, place, &plan)
            if plan.score > 0 and plan.score < best.score:
                best[0] = plan


cdef uint32_t split_wide(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan,
                         uint32_t* n_narrow) noexcept nogil:
    """Copy the list onto the work stack, narrow boxes first; where the copy starts."""
    cdef uint32_t i, start = build.work.n, at, pass_, box
    if not store_more(build, &build.work, n):
        return start
    at = start
    for pass_ in range(2):
        for i in range(n):
            box = build.work.at[first + i]
            if (n_touched(plan, box_at(build, box)[plan.dimension], place.region[plan.dimension])
                    > plan.most) == pass_:
                build.work.at[at] = box
                at += 1
        if pass_ == 0:
            n_narrow[0] = at - start
    build.work.n = at
    return start


cdef void scatter(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan,
                  uint32_t ends) noexcept nogil:
    """Child lists onto the work stack, one after the other; word `ends` + i is set to child i's end."""
    cdef bint outside
    cdef uint32_t i, k, low, past, box, count, total = 0
    cdef Bound region = place.region[plan.dimension]
    cdef uint32_t* at = build.work.at + ends
    memset(at, 0, (plan.parts + 1) * sizeof(uint32_t))
    for i in range(n):
        outside = touched(plan, box_at(build, build.work.at[first + i])[plan.dimension], region, &low, &past)
        for k in range(low, past):
            at[k] += 1
        at[plan.parts] += outside
        total += past - low + <uint32_t>outside
    if not store_more(build, &build.work, total):
        return
    at = build.work.at + ends
    total = build.work.n
    for k in range(plan.parts + 1):
        count = at[k]
        at[k] = total
        total += count
    build.work.n = total
    for i in range(n):
        box = build.work.at[first + i]
        outside = touched(plan, box_at(build, box)[plan.dimension], region, &low, &past)
        for k in range(low, past):
            build.work.at[at[k]] = box
            at[k] += 1
        if outside:
            build.work.at[at[plan.parts]] = box
            at[plan.parts] += 1


cdef uint32_t new_node(Build* build, uint32_t n_refs, Node** node) noexcept nogil:
    """A node with `n_refs` references, all empty; its index.  `node` lives until the next one."""
    cdef uint32_t i, index = build.nodes.n // 3
    if not store_more(build, &build.nodes, 3) or not store_more(build, &build.refs, n_refs):
        return 0
    node[0] = <Node*>(build.nodes.at + build.nodes.n)
    memset(node[0], 0, sizeof(Node))
    node[0].base = build.refs.n
    build.nodes.n += 3
    for i in range(n_refs):
        build.refs.at[build.refs.n + i] = EMPTY_LEAF
    build.refs.n += n_refs
    return index


cdef void child_region(const Plan* plan, uint32_t low, uint32_t high, Bound* region) noexcept nogil:
    """Narrow the region to parts low..high; the outside part keeps it whole."""
    cdef uint64_t end = <uint64_t>plan.lo + (<uint64_t>(high + 1) << plan.shift) - 1
    cdef uint64_t start = <uint64_t>plan.lo + (<uint64_t>low << plan.shift)
    if high >= plan.parts:
        return
    region.lo = <uint32_t>max(<uint64_t>region.lo, start)
    region.hi = <uint32_t>min(<uint64_t>region.hi, end)


cdef uint32_t build_cut(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan) noexcept nogil:
    """The cut that `plan` says, of the list's boxes; its reference."""
    cdef uint32_t ends = build.work.n, index, base, low, high, start, stop, length, ref, k
    cdef Node* node = NULL
    cdef Place below = place[0]
    if not store_more(build, &build.work, plan.parts + 1):
        return EMPTY_LEAF
    build.work.n += plan.parts + 1
    start = build.work.n
    scatter(build, first, n, place, plan, ends)
    index = new_node(build, plan.parts + 1, &node)
    if build.failed:
        return EMPTY_LEAF
    node.lo, node.parts, node.dimension, node.shift = plan.lo, <uint16_t>plan.parts, <uint8_t>plan.dimension, <uint8_t>plan.shift
    base = node.base
    below.depth += 1
    below.allowance = max(1.0, place.allowance / plan.factor)
    low = 0
    while low <= plan.parts and not build.failed:
        stop = build.work.at[ends + low]
        length = stop - start
        high = low
        # Neighbours with the same boxes share one subtree.
        while (high + 1 < plan.parts and build.work.at[ends + high + 1] - build.work.at[ends + high] == length
               and memcmp(build.work.at + start, build.work.at + build.work.at[ends + high], length * 4) == 0):
            high += 1
        below.region[plan.dimension] = place.region[plan.dimension]
        child_region(plan, low, high, &below.region[plan.dimension])
        if FOREST_CHECKED and high < plan.parts:
            require_complete(build, first, n, plan.dimension, below.region[plan.dimension], length)
        ref = build_node(build, start, length, &below)
        for k in range(low, high + 1):
            build.refs.at[base + k] = ref
        start = build.work.at[ends + high]
        low = high + 1
    return index


cdef uint32_t build_fork(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan) noexcept nogil:
    """Narrow boxes to the planned cut, the others to a tree of their own."""
    cdef uint32_t n_narrow = 0, index, base, ref, start = split_wide(build, first, n, place, plan, &n_narrow)
    cdef Node* node = NULL
    cdef Place below = place[0]
    index = new_node(build, 2, &node)
    if build.failed:
        return EMPTY_LEAF
    base = node.base
    below.forks += 1
    below.depth += 1
    build.table.forks += 1
    ref = build_cut(build, start, n_narrow, &below, plan)
    build.refs.at[base] = ref
    ref = build_node(build, start + n_narrow, n - n_narrow, &below)
    if not build.failed:
        build.refs.at[base + 1] = ref
    return index


cdef uint32_t build_node(Build* build, uint32_t first, uint32_t n, const Place* place) noexcept nogil:
    """The subtree of a list of boxes (work stack, owners ascending); its reference."""
    cdef Plan plan
    cdef uint32_t top = build.work.n, ref
    if build.failed:
        return EMPTY_LEAF
    if FOREST_CHECKED:
        require_meeting(build, first, n, place)
    n = drop_hidden(build, first, n, place)
    build.table.depth = max(build.table.depth, place.depth)
    plan.parts = 0
    if n > LEAF_LANES and place.depth < MAX_DEPTH:
        best_plan(build, first, n, place, &plan)
    if plan.parts == 0:
        return make_leaf(build, first, n, place)
    if plan.most == ALL:
        ref = build_cut(build, first, n, place, &plan)
    else:
        ref = build_fork(build, first, n, place, &plan)
    build.work.n = top
    return ref


cdef int table_take(Build* build, Table* table) noexcept nogil:
    """Hand the arrays to the table, leaves on a 64-byte boundary."""
    cdef size_t size = <size_t>build.leaves.n * sizeof(uint32_t)
    table.leaves_memory = malloc(size + 64)
    if table.leaves_memory == NULL:
        return -1
    table.leaves = <uint32_t*>((<uintptr_t>table.leaves_memory + 63) & ~<uintptr_t>63)
    if size:
        memcpy(table.leaves, build.leaves.at, size)
    table.nodes = <Node*>build.nodes.at
    table.refs = build.refs.at
    table.n_nodes = build.nodes.n // 3
    table.n_refs = build.refs.n
    table.size = size + 4 * (<uint64_t>build.nodes.capacity + build.refs.capacity)
    build.nodes.at = build.refs.at = NULL
    return 0


cdef int forest_build(const BoxSet* boxes, Table* table) noexcept nogil:
    cdef Build build
    cdef Place place
    cdef uint32_t i
    cdef int status = -1
    memset(&build, 0, sizeof(build))
    build.boxes = boxes
    build.table = table
    for i in range(MAX_DIMENSIONS):
        place.region[i].lo = 0
        place.region[i].hi = ALL
    place.depth = place.forks = 0
    place.allowance = 2.0
    if store_more(&build, &build.work, boxes.n):
        for i in range(boxes.n):
            build.work.at[i] = i
        build.work.n = boxes.n
        table.n_boxes = boxes.n
        table.root = build_node(&build, 0, boxes.n, &place)
    if not build.failed:
        status = table_take(&build, table)
    free(build.work.at)
    free(build.refs.at)
    free(build.nodes.at)
    free(build.leaves.at)
    return status


cdef void forest_free(Table* table) noexcept nogil:
    free(table.nodes)
    free(table.refs)
    free(table.leaves_memory)
    table.nodes = NULL
    table.refs = NULL
    table.leaves_memory = NULL
    table.leaves = NULL
