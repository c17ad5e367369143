"""Cuts are judged by a sample of a node's boxes and a model of what a search costs.

A cut into equal parts of a window is good where the boxes spread over the parts and few touch many.
Where many do, the cut is judged as a fork: boxes that touch few parts are cut, the others get a
tree of their own, which costs a second descent.  The model takes packets to be spread as boxes are.

The sample is drawn at pseudo-random places, one of each run of equal length: a fixed step would
see only every k-th filter of a policy written with a period, and believe it.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

from ._boxes cimport Bound, BoxSet
from ._tree cimport LEAF_LANES, MAX_FORKS

cdef enum:
    SAMPLES = 1024
    NEAR = 1024                 # Boxes of a table that the nearest caches hold.
    N_WIDTHS = 7

cdef uint32_t[N_WIDTHS] WIDTHS = [2, 4, 8, 32, 128, 512, 1024]

# Costs, a block's being 10.  What is reached by a reference (a cut, a fork's other tree, a leaf) waits for
# memory and for the branch that depends on it; a leaf's blocks lie in a row and are loaded ahead.  The
# larger the table, the farther away is what a reference leads to, so these grow with it (`distance`).
cdef double COST_CUT = 30
cdef double COST_PART = 0.006       # Of each part: larger nodes miss the caches.
cdef double COST_FORK = 20
cdef double COST_LEAF = 30
cdef double COST_BLOCK = 10
cdef double FARTHER = 0.35          # Each doubling above NEAR boxes.

cdef struct Sample:
    const BoxSet* boxes
    const uint32_t* list
    uint32_t n                  # Of the list.
    uint32_t step               # One box of each `step` is looked at.
    uint32_t size               # Boxes looked at.
    double far                  # What following a reference costs, against a small table.

cdef struct Window:
    uint32_t lo
    uint32_t hi
    uint32_t n                  # Sampled boxes that do not span the region.


cdef inline Bound sampled(const Sample* sample, uint32_t index, uint32_t dimension) noexcept nogil:
    """Bound of the index-th sampled box."""
    cdef uint32_t at = index * sample.step
    cdef uint32_t left = min(sample.step, sample.n - at)
    if left > 1:
        at += ((index * <uint32_t>0x9E3779B1) >> 15) % left
    return sample.boxes.bounds[<size_t>sample.list[at] * sample.boxes.n_dimensions + dimension]


cdef double distance(uint32_t n) noexcept nogil:
    """What following a reference costs in a table of `n` boxes, against a small one."""
    cdef double far = 1
    while n > NEAR:
        far += FARTHER
        n >>= 1
    return far


cdef inline double cost_of(const Sample* sample, double n) noexcept nogil:
    """Expected cost of searching `n` boxes: growing, but slower than n."""
    cdef double blocks = n / LEAF_LANES, leaf = sample.far * COST_LEAF
    if blocks <= 1:
        return leaf + COST_BLOCK
    return leaf + COST_BLOCK * (1 + (blocks - 1) / (1 + blocks / 48))


cdef void find_window(const Sample* sample, uint32_t d, Bound region, Window* window) noexcept nogil:
    """Where the boxes that do not span the region lie."""
    cdef uint32_t k
    cdef Bound bound
    window.lo = ALL
    window.hi = 0
    window.n = 0
    for k in range(sample.size):
        bound = sampled(sample, k, d)
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


cdef inline void tally(int32_t* changes, uint32_t first, uint32_t past, bint outside, uint32_t parts) noexcept nogil:
    """Count a box in the differences of neighbouring parts' counts; part `parts` is the outside."""
    changes[first] += 1
    changes[past] -= 1
    if outside:
        changes[parts] += 1
        changes[parts + 1] -= 1


cdef void score_cut(const Sample* sample, const Place* place, Plan* plan) noexcept nogil:
    """Score the cut without and with a fork; keep the better."""
    cdef int32_t narrow[MAX_PARTS + 3]
    cdef int32_t wide[MAX_PARTS + 3]
    cdef bint outside
    cdef Bound region = place.region[plan.dimension]
    cdef uint32_t i, first, past, t, n_wide = 0, most = 2 if plan.parts > 4 else 1
    cdef double scale, copies_narrow = 0, copies = 0, squares_narrow = 0, squares = 0, a = 0, b = 0, score
    cdef double allowed = copies_allowed(place)
    memset(narrow, 0, (plan.parts + 3) * sizeof(int32_t))
    memset(wide, 0, (plan.parts + 3) * sizeof(int32_t))
    for i in range(sample.size):
        outside = touched(plan, sampled(sample, i, plan.dimension), region, &first, &past)
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
    scale = <double>sample.n / sample.size
    plan.score = 0
    if copies <= sample.size * allowed:
        plan.score = sample.far * COST_CUT + COST_PART * plan.parts + cost_of(sample, scale * squares / copies)
        plan.most = ALL
    if n_wide and n_wide * 16 < 15 * sample.size and place.forks < MAX_FORKS:
        t = sample.size - n_wide
        if copies_narrow <= t * allowed:
            score = sample.far * (COST_FORK + COST_CUT) + COST_PART * plan.parts + cost_of(
                sample, scale * squares_narrow / copies_narrow) + cost_of(sample, scale * n_wide)
            if plan.score == 0 or score < plan.score:
                plan.score = score
                plan.most = most


cdef void best_plan(const BoxSet* boxes, const uint32_t* list, uint32_t n, const Place* place, bint exact,
                    Plan* best) noexcept nogil:
    cdef uint32_t d, i, last_parts
    cdef Window window
    cdef Plan plan
    cdef Sample sample
    sample.boxes = boxes
    sample.list = list
    sample.n = n
    sample.step = 1 if exact else (n + SAMPLES - 1) // SAMPLES
    sample.size = (n + sample.step - 1) // sample.step
    sample.far = distance(boxes.n)
    best.score = sample.far * COST_LEAF + COST_BLOCK * <double>n / LEAF_LANES
    best.parts = 0
    for d in range(boxes.n_dimensions):
        find_window(&sample, d, place.region[d], &window)
        if window.n * 16 < sample.size or (window.lo == window.hi and window.n >= sample.size):
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
            score_cut(&sample, place, &plan)
            if plan.score > 0 and plan.score < best.score:
                best[0] = plan
