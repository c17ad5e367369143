"""Forest of cut trees with fat leaves.

Problem: thousands of overlapping boxes in up to 24 dimensions, one point, all boxes that hold it.
A pure tree copies wide boxes into every child and explodes; a list is slow.  So: a node cuts one
dimension into equal parts while copies stay within an allowance that a path spends once; where
wide boxes forbid that, it forks: boxes narrow in the dimension go to a cut of their own, the
rest to a second tree, and both are searched, the one with the more important filters first: where
its matches end every sublayer before the other's first filter, the other is left out.  What
neither helps becomes a large leaf, which is eight boxes a step.  Memory is bounded by the
allowance, depth by MAX_DEPTH and MAX_FORKS.

A box behind one that covers the node's whole region and always ends the sublayer is hidden and
left out there.  All boxes that were left out somewhere make a second forest, in which none is: a
search that ignored a filter (CompiledPolicy.gone) visits it too, and finds what that filter hid.
Plans are made from samples (`_cuts`), so a build is linear in depth and boxes.  A plan is followed
only if its true copies keep to the allowance; else the node is planned again from all its boxes,
as long as all such second looks together stay below EXACT_BUDGET boxes for each box there is.

A node's region holds every point that the search brings there, and each box of its list meets the
region.  Debug builds abort where a list has a box too many for that, or one too few.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport fputs, stderr
from libc.stdlib cimport abort, calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from ._boxes cimport MAX_DIMENSIONS, Bound, BoxSet, FilterRest
from ._cuts cimport ALL, Place, Plan, best_plan, copies_allowed, meets_region, spans_region, touched
from ._leaves cimport leaf_make
from ._store cimport Store, store_reserve
from ._tree cimport CUT_HEADER, EMPTY_LEAF, FORK_BIT, FORK_RANKS, LEAF_LANES, Table

cdef extern from *:
    """
    #ifdef WFPD_DEBUG
    #define FOREST_CHECKED 1
    #else
    #define FOREST_CHECKED 0
    #endif
    """
    const bint FOREST_CHECKED

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size)

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void* start, size_t length, int advice)
    const int MADV_HUGEPAGE

cdef enum:
    HUGE_PAGE = 2097152
    MAX_DEPTH = 40
    EXACT_BUDGET = 16
    REFUSED = 0xFFFFFFFE        # Instead of a reference: the plan would make too many copies.

cdef struct Build:
    const BoxSet* boxes
    Table* table
    Store work                  # Stack of box lists.
    Store tree
    Store leaves
    uint8_t* hidden             # [boxes.n] 1: left out somewhere.  NULL: none is to be left out.
    uint64_t looks              # Boxes that may still be looked at for exact plans.
    bint failed

cdef struct Split:              # A list scattered over the parts of a cut, on the work stack.
    uint32_t ends               # work.at[ends + i]: where part i's list ends.
    uint32_t start              # Where part 0's begins.


cdef bint reserve(Build* build, Store* store, uint64_t more) noexcept nogil:
    """Room for `more` words; whether there is."""
    if not build.failed and not store_reserve(store, more):
        build.failed = True
    return not build.failed


cdef inline const Bound* box_at(const Build* build, uint32_t box) noexcept nogil:
    return build.boxes.bounds + <size_t>box * build.boxes.n_dimensions


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
    if build.hidden == NULL:
        return n
    for i in range(n):
        box = build.work.at[first + i]
        rest = &build.boxes.rest[build.boxes.owner[box]]
        if rest.rank == hidden_rank and hidden_need & ~rest.need == 0:
            build.hidden[box] = 1
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


cdef uint32_t make_leaf(Build* build, uint32_t first, uint32_t n, const Place* place) noexcept nogil:
    """A leaf of the list's boxes; its reference."""
    cdef uint32_t ref
    if n == 0:
        return EMPTY_LEAF
    ref = leaf_make(build.boxes, build.work.at + first, n, place, &build.leaves)
    build.failed = build.failed or ref == EMPTY_LEAF
    build.table.n_leaves += 1
    build.table.n_copies += n
    if n > build.table.largest_leaf:
        build.table.largest_leaf = n
        build.table.largest_ref = ref
    return ref


cdef uint32_t split_wide(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan,
                         uint32_t* n_narrow) noexcept nogil:
    """Copy the list onto the work stack, narrow boxes first; where the copy starts."""
    cdef bint outside
    cdef uint32_t i, start = build.work.n, at, turn, box, low, past
    if not reserve(build, &build.work, n):
        return start
    at = start
    for turn in range(2):
        for i in range(n):
            box = build.work.at[first + i]
            outside = touched(plan, box_at(build, box)[plan.dimension], place.region[plan.dimension], &low, &past)
            if (past - low + <uint32_t>outside > plan.most) == turn:
                build.work.at[at] = box
                at += 1
        if turn == 0:
            n_narrow[0] = at - start
    build.work.n = at
    return start


cdef uint64_t count_parts(const Build* build, uint32_t first, uint32_t n, Bound region, const Plan* plan,
                          uint32_t* counts) noexcept nogil:
    """Boxes by part of the cut, the outside last; their sum."""
    cdef bint outside
    cdef uint32_t i, k, low, past
    cdef uint64_t total = 0
    memset(counts, 0, (plan.parts + 1) * sizeof(uint32_t))
    for i in range(n):
        outside = touched(plan, box_at(build, build.work.at[first + i])[plan.dimension], region, &low, &past)
        for k in range(low, past):
            counts[k] += 1
        counts[plan.parts] += outside
        total += past - low + <uint32_t>outside
    return total


cdef double scatter(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan,
                    Split* split) noexcept nogil:
    """The parts' lists onto the work stack; copies made of each box.  0 and nothing if too many."""
    cdef bint outside
    cdef uint32_t i, k, low, past, box, count
    cdef uint64_t total
    cdef uint32_t* at
    cdef Bound region = place.region[plan.dimension]
    split.ends = build.work.n
    if not reserve(build, &build.work, plan.parts + 1):
        return 0
    total = count_parts(build, first, n, region, plan, build.work.at + split.ends)
    if total > n * copies_allowed(place) or not reserve(build, &build.work, plan.parts + 1 + total):
        return 0
    split.start = build.work.n + plan.parts + 1
    build.work.n = split.start + <uint32_t>total
    at = build.work.at + split.ends
    total = split.start
    for k in range(plan.parts + 1):
        count = at[k]
        at[k] = <uint32_t>total
        total += count
    for i in range(n):
        box = build.work.at[first + i]
        outside = touched(plan, box_at(build, box)[plan.dimension], region, &low, &past)
        for k in range(low, past):
            build.work.at[at[k]] = box
            at[k] += 1
        if outside:
            build.work.at[at[plan.parts]] = box
            at[plan.parts] += 1
    return <double>(total - split.start) / n


cdef uint32_t new_node(Build* build, uint32_t words) noexcept nogil:
    """Room for a node in the tree, all EMPTY_LEAF; its offset."""
    cdef uint32_t at = build.tree.n
    if at + <uint64_t>words >= FORK_BIT or not reserve(build, &build.tree, words):
        build.failed = True
        return 0
    memset(build.tree.at + at, 0xFF, words * sizeof(uint32_t))
    build.tree.n += words
    build.table.n_nodes += 1
    return at


cdef void child_region(const Plan* plan, uint32_t low, uint32_t high, Bound* region) noexcept nogil:
    """Narrow the region to parts low..high; the outside part keeps it whole."""
    cdef uint64_t end = <uint64_t>plan.lo + (<uint64_t>(high + 1) << plan.shift) - 1
    cdef uint64_t start = <uint64_t>plan.lo + (<uint64_t>low << plan.shift)
    if high >= plan.parts:
        return
    region.lo = <uint32_t>max(<uint64_t>region.lo, start)
    region.hi = <uint32_t>min(<uint64_t>region.hi, end)


cdef void build_parts(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan,
                      const Split* split, double factor, uint32_t refs) noexcept nogil:
    """The subtrees of a scattered list; their references into the tree from `refs` on."""
    cdef uint32_t low = 0, high, start = split.start, ends = split.ends, length, ref, k
    cdef Place below = place[0]
    below.depth += 1
    below.allowance = max(1.0, place.allowance / factor)
    while low <= plan.parts and not build.failed:
        length = build.work.at[ends + low] - start
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
            build.tree.at[refs + k] = ref
        start = build.work.at[ends + high]
        low = high + 1


cdef uint32_t build_cut(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan) noexcept nogil:
    """The cut that `plan` says, of the list's boxes; its reference, or REFUSED."""
    cdef Split split
    cdef double factor = scatter(build, first, n, place, plan, &split)
    cdef uint32_t at
    if build.failed or factor == 0:
        return REFUSED
    at = new_node(build, CUT_HEADER + plan.parts + 1)
    if build.failed:
        return REFUSED
    build.tree.at[at] = plan.lo
    build.tree.at[at + 1] = plan.parts << 16 | plan.shift << 8 | plan.dimension
    build_parts(build, first, n, place, plan, &split, factor, at + CUT_HEADER)
    return at


cdef void first_filters(const Build* build, uint32_t first, uint32_t n, uint32_t* out) noexcept nogil:
    """The list's first filter in each of Table.fork_ranks sublayers, ALL where it has none."""
    cdef uint32_t i, owner, rank
    for rank in range(build.table.fork_ranks):
        out[rank] = ALL
    for i in range(n if build.table.fork_ranks else 0):
        owner = build.boxes.owner[build.work.at[first + i]]
        rank = build.boxes.rest[owner].rank
        out[rank] = min(out[rank], owner)


cdef void order_fork(const Build* build, const uint32_t* narrow, const uint32_t* wide, uint32_t* node) noexcept nogil:
    """Search first what has the first filters in most sublayers: its matches may make the other needless."""
    cdef uint32_t rank, behind = 0, ranks = build.table.fork_ranks
    for rank in range(ranks):
        behind += wide[rank] < narrow[rank]
    if 2 * behind > ranks:
        node[0], node[1] = node[1], node[0]
        wide = narrow
    for rank in range(ranks):
        node[2 + rank] = wide[rank]


cdef uint32_t build_fork(Build* build, uint32_t first, uint32_t n, const Place* place, const Plan* plan) noexcept nogil:
    """Narrow boxes to the planned cut, the others to a tree of their own; the reference, or REFUSED."""
    cdef uint32_t narrow[FORK_RANKS]
    cdef uint32_t wide[FORK_RANKS]
    cdef uint32_t n_narrow = 0, at = build.tree.n, ref, start = split_wide(build, first, n, place, plan, &n_narrow)
    cdef Place below = place[0]
    if n_narrow == 0 or build.failed:
        return REFUSED
    first_filters(build, start, n_narrow, narrow)
    first_filters(build, start + n_narrow, n - n_narrow, wide)
    at = new_node(build, 2 + build.table.fork_ranks)
    below.forks += 1
    below.depth += 1
    ref = build_cut(build, start, n_narrow, &below, plan)
    if ref == REFUSED:
        build.tree.n = at
        build.table.n_nodes -= 1
        return REFUSED
    build.table.forks += 1
    build.tree.at[at] = ref
    ref = build_node(build, start + n_narrow, n - n_narrow, &below)
    if not build.failed:
        build.tree.at[at + 1] = ref
        order_fork(build, narrow, wide, build.tree.at + at)
    return FORK_BIT | at


cdef uint32_t build_planned(Build* build, uint32_t first, uint32_t n, const Place* place, bint exact) noexcept nogil:
    """The subtree by the best plan; its reference, or REFUSED if its true copies are too many."""
    cdef Plan plan
    cdef uint32_t ref, top = build.work.n
    best_plan(build.boxes, build.work.at + first, n, place, exact, &plan)
    if plan.parts == 0:
        return make_leaf(build, first, n, place)
    if plan.most == ALL:
        ref = build_cut(build, first, n, place, &plan)
    else:
        ref = build_fork(build, first, n, place, &plan)
    build.work.n = top
    return ref


cdef uint32_t build_node(Build* build, uint32_t first, uint32_t n, const Place* place) noexcept nogil:
    """The subtree of a list of boxes (work stack, owners ascending); its reference."""
    cdef uint32_t ref
    if build.failed:
        return EMPTY_LEAF
    if FOREST_CHECKED:
        require_meeting(build, first, n, place)
    n = drop_hidden(build, first, n, place)
    build.table.depth = max(build.table.depth, place.depth)
    if n <= LEAF_LANES or place.depth >= MAX_DEPTH:
        return make_leaf(build, first, n, place)
    ref = build_planned(build, first, n, place, False)
    if ref == REFUSED and not build.failed and build.looks >= n:
        build.looks -= n
        ref = build_planned(build, first, n, place, True)
    if ref == REFUSED and not build.failed:
        build.table.n_refused += 1
        ref = make_leaf(build, first, n, place)
    return ref


cdef void* huge_or_plain(size_t size) noexcept nogil:
    """Memory on a 64-byte boundary, in huge pages where it is large and the kernel has them.

    A search touches a few lines in pages all over a table; with 100,000 filters these are more small
    pages than the processor remembers.
    """
    cdef void* memory = NULL
    cdef size_t alignment = HUGE_PAGE if size >= HUGE_PAGE else 64
    if posix_memalign(&memory, alignment, size) != 0:
        return NULL
    if size >= HUGE_PAGE:
        madvise(memory, size, MADV_HUGEPAGE)  # Only a wish.
    return memory


cdef int table_take(Build* build, Table* table) noexcept nogil:
    """Hand the arrays to the table."""
    cdef size_t size = <size_t>build.leaves.n * sizeof(uint32_t)
    table.leaves_memory = huge_or_plain(size + 64)
    if table.leaves_memory == NULL:
        return -1
    if size:
        memcpy(table.leaves_memory, build.leaves.at, size)
    table.leaves = <const uint32_t*>table.leaves_memory
    # Shrinking may fail; then the larger block stays.
    table.tree_memory = realloc(build.tree.at, (<size_t>build.tree.n + 1) * sizeof(uint32_t))
    if table.tree_memory == NULL:
        table.tree_memory = build.tree.at
    build.tree.at = NULL
    table.tree = <const uint32_t*>table.tree_memory
    table.size = size + 64 + sizeof(uint32_t) * <uint64_t>build.tree.n
    return 0


cdef void place_whole(Build* build, Place* place) noexcept nogil:
    """The root's place: everywhere."""
    cdef uint32_t i
    build.looks = <uint64_t>EXACT_BUDGET * build.boxes.n
    for i in range(MAX_DIMENSIONS):
        place.region[i].lo = 0
        place.region[i].hi = ALL
    place.depth = place.forks = 0
    place.allowance = 1.5


cdef void build_root(Build* build) noexcept nogil:
    """The forest of all boxes."""
    cdef Place place
    cdef uint32_t i
    place_whole(build, &place)
    if not reserve(build, &build.work, build.boxes.n):
        return
    for i in range(build.boxes.n):
        build.work.at[i] = i
    build.work.n = build.boxes.n
    build.table.root = build_node(build, 0, build.boxes.n, &place)
    build.work.n = 0


cdef void build_hidden(Build* build) noexcept nogil:
    """The second forest: of what the first one hides somewhere, each box of it wherever it belongs."""
    cdef Place place
    cdef uint8_t* hidden = build.hidden
    cdef Table* table = build.table
    cdef Table apart = table[0]
    cdef uint32_t i
    place_whole(build, &place)
    for i in range(build.boxes.n):
        if hidden[i]:
            build.work.at[build.work.n] = i
            build.work.n += 1
    build.hidden = NULL
    build.table = &apart
    table.n_hidden = build.work.n
    table.hidden = build_node(build, 0, table.n_hidden, &place)
    build.table = table
    build.hidden = hidden


cdef int forest_build(const BoxSet* boxes, Table* table) noexcept nogil:
    cdef Build build
    cdef int status = -1
    memset(&build, 0, sizeof(build))
    build.boxes = boxes
    build.table = table
    build.hidden = <uint8_t*>calloc(boxes.n + 1, 1)
    build.failed = build.hidden == NULL
    table.n_boxes = boxes.n
    table.n_ranks = boxes.rest[boxes.n_filters - 1].rank + 1 if boxes.n_filters else 0
    table.fork_ranks = table.n_ranks if table.n_ranks <= FORK_RANKS else 0
    build_root(&build)
    if not build.failed:
        build_hidden(&build)
    if not build.failed:
        status = table_take(&build, table)
    free(build.hidden)
    free(build.work.at)
    free(build.tree.at)
    free(build.leaves.at)
    return status


cdef void forest_free(Table* table) noexcept nogil:
    free(table.tree_memory)
    free(table.leaves_memory)
    table.tree_memory = NULL
    table.leaves_memory = NULL
    table.tree = NULL
    table.leaves = NULL
