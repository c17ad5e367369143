"""Cold doors to the tables, for tests, benches and `wfpd check --stats`: answers, times, sizes."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from ._boxes cimport Bound, BoxSet, boxes_free, boxes_make, boxes_of
from ._layered cimport classify
from ._policy cimport SET_RANGES128, SET_RANGES32, CompiledPolicy, PackedSet
from ._table cimport Snapshot
from ._tables cimport tables_build, tables_free
from ._text_set cimport HashedText
from ._tree cimport LEAF_BIT, LEAF_HEADER, LEAF_LANES, Table
from ._types cimport N_FIELDS, N_SLOTS, FieldValues, value_clear, value_set128, value_set_text

from wfpd.model.fields import FIELDS

# Rows to classify.
cdef struct Rows:
    const uint64_t* at          # (high, low) for each field, row by row.
    Py_ssize_t n
    uint32_t fields[N_FIELDS]
    uint8_t is_text[N_FIELDS]   # By position: `low` is an index of `texts`; beyond them the text is absent.
    uint32_t n_fields
    const uint8_t** texts
    uint64_t* lengths
    uint64_t n_texts


cdef void fill_row(FieldValues* values, const Rows* rows, Py_ssize_t row) noexcept nogil:
    cdef const uint64_t* at = rows.at + row * 2 * rows.n_fields
    cdef uint32_t i
    for i in range(rows.n_fields):
        if not rows.is_text[i]:
            value_set128(values, rows.fields[i], at[2 * i], at[2 * i + 1])
        elif at[2 * i + 1] < rows.n_texts:
            value_set_text(values, rows.fields[i], rows.texts[at[2 * i + 1]], rows.lengths[at[2 * i + 1]])
        else:
            value_clear(values, rows.fields[i])


cdef double thread_seconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return now.tv_sec + 1e-9 * now.tv_nsec


cdef double rows_seconds(const CompiledPolicy* policy, unsigned int slot, const Rows* rows,
                         uint32_t* matches) noexcept nogil:
    """Thread CPU time of filling the values of each row and classifying them."""
    cdef FieldValues values
    cdef Py_ssize_t row
    cdef double start = thread_seconds()
    memset(&values, 0, sizeof(values))
    for row in range(rows.n):
        fill_row(&values, rows, row)
        classify(policy, slot, &values, matches)
    return thread_seconds() - start


cdef double net_seconds(const CompiledPolicy* policy, unsigned int slot, const Rows* rows, unsigned int rounds,
                        uint32_t* matches) noexcept nogil:
    """Mean thread CPU time of classifying all rows, less that of filling the values."""
    cdef unsigned int turn, bare = 0
    cdef double seconds = 0
    while bare < N_SLOTS - 1 and policy.search[bare] != NULL:
        bare += 1
    for turn in range(rounds):
        seconds += rows_seconds(policy, slot, rows, matches)
        seconds -= rows_seconds(policy, bare, rows, matches)
    return seconds / rounds


cdef int rows_describe(Rows* rows, fields, const uint64_t[:, ::1] given, list texts) except -1:
    """Everything of `rows`; `texts` has to outlive them.  ValueError if fields and columns do not fit."""
    cdef uint32_t i
    cdef bytes text
    memset(rows, 0, sizeof(Rows))
    if len(fields) > N_FIELDS or given.shape[1] != 2 * len(fields):
        raise ValueError("a row is not two numbers a field")
    rows.n_fields = len(fields)
    for i, field in enumerate(fields):
        if not 0 <= field < N_FIELDS:
            raise ValueError(f"no field {field}")
        rows.fields[i] = field
        rows.is_text[i] = not FIELDS[field].type.bits
    rows.n = given.shape[0]
    rows.at = &given[0, 0] if given.shape[0] and given.shape[1] else NULL
    rows.n_texts = len(texts)
    rows.texts = <const uint8_t**>calloc(len(texts) + 1, sizeof(uint8_t*))
    rows.lengths = <uint64_t*>calloc(len(texts) + 1, sizeof(uint64_t))
    if rows.texts == NULL or rows.lengths == NULL:
        raise MemoryError()
    for i, text in enumerate(texts):
        rows.texts[i] = <const uint8_t*><const char*>text
        rows.lengths[i] = len(text)
    return 0


cdef list rows_answers(const CompiledPolicy* policy, unsigned int slot, const Rows* rows, uint32_t* matches):
    cdef FieldValues values
    cdef Py_ssize_t row
    cdef uint32_t i, found
    memset(&values, 0, sizeof(values))
    answers = []
    for row in range(rows.n):
        fill_row(&values, rows, row)
        found = classify(policy, slot, &values, matches)
        answers.append([matches[i] for i in range(found)])
    return answers


cdef uint64_t* gone_bits(uint32_t n_filters, gone) except NULL:
    """The bits of filters `gone`; to be freed."""
    cdef uint64_t* bits = <uint64_t*>calloc(n_filters // 64 + 1, sizeof(uint64_t))
    cdef uint32_t index
    if bits == NULL:
        raise MemoryError()
    try:
        for index in gone:
            if index >= n_filters:
                raise IndexError(f"no filter {index}")
            bits[index >> 6] |= (<uint64_t>1) << (index & 63)
    except BaseException:
        free(bits)
        raise
    return bits


def classify_many(Snapshot snapshot, unsigned int slot, fields, const uint64_t[:, ::1] rows, unsigned int rounds=0,
                  texts=(), gone=()):
    """Classify every row.

    `fields` are field ids; a row holds (high, low) for each, where `low` of a text is its index in
    `texts` (beyond them: absent).  Without `rounds`: the filters of each row, as lists.  With it:
    mean nanoseconds of thread CPU time a row over that many rounds, less what filling values takes.
    Filters of `gone` are ignored, as if they were not there.
    """
    cdef Rows described
    cdef CompiledPolicy policy = snapshot.policy
    cdef uint64_t* bits = NULL
    cdef double seconds
    cdef list held = list(texts)
    if slot >= N_SLOTS:
        raise ValueError(f"no slot {slot}")
    cdef uint32_t* matches = <uint32_t*>malloc((snapshot.policy.max_layer_filters + 1) * sizeof(uint32_t))
    memset(&described, 0, sizeof(described))
    try:
        if matches == NULL:
            raise MemoryError()
        rows_describe(&described, fields, rows, held)
        if gone:
            bits = gone_bits(policy.n_filters, gone)
            policy.gone = bits
        if not rounds or not described.n:
            return rows_answers(&policy, slot, &described, matches)
        with nogil:
            seconds = net_seconds(&policy, slot, &described, rounds, matches)
        return 1e9 * seconds / described.n
    finally:
        free(bits)
        free(matches)
        free(described.texts)
        free(described.lengths)


def set_bytes(Snapshot snapshot) -> int:
    """What the values of all sets and the ways to them take; of texts, without their letters."""
    cdef const CompiledPolicy* policy = &snapshot.policy
    cdef const PackedSet* item
    cdef uint64_t size = 0
    cdef uint32_t i
    for i in range(policy.n_sets):
        item = &policy.sets[i]
        size += <uint64_t>item.count * (8 if item.kind == SET_RANGES32 else 32 if item.kind == SET_RANGES128 else 8)
        size += <uint64_t>policy.set_index[i].n_words * 4
        if policy.text_index[i].first != NULL:
            size += <uint64_t>item.count * sizeof(HashedText) + 4 * ((<uint64_t>1 << (32 - policy.text_index[i].shift)) + 1)
    return size


def build_seconds(Snapshot snapshot) -> float:
    """Thread CPU time of building all tables of the snapshot once more, in seconds."""
    cdef CompiledPolicy copy = snapshot.policy
    cdef double seconds
    cdef int status
    memset(copy.search, 0, sizeof(copy.search))
    with nogil:
        seconds = -thread_seconds()
        status = tables_build(&copy)
        seconds += thread_seconds()
        tables_free(&copy)
    if status != 0:
        raise MemoryError()
    return seconds


cdef const Table* table_of(Snapshot snapshot, unsigned int slot) except? NULL:
    """The slot's table; NULL where it has no filters."""
    if slot >= N_SLOTS:
        raise IndexError(f"no slot {slot}")
    return <const Table*>snapshot.policy.search[slot]


def table_stats(Snapshot snapshot, unsigned int slot) -> dict:
    """Sizes of the slot's table; empty where it has no filters."""
    cdef const Table* table = table_of(snapshot, slot)
    if table == NULL:
        return {}
    return {
        "filters": table.n_filters, "boxes": table.n_boxes, "copies": table.n_copies, "nodes": table.n_nodes,
        "leaves": table.n_leaves, "largest_leaf": table.largest_leaf, "depth": table.depth, "forks": table.forks,
        "dimensions": table.n_dimensions, "refused": table.n_refused, "hidden": table.n_hidden, "bytes": table.size,
    }


def largest_leaf_filters(Snapshot snapshot, unsigned int slot, unsigned int most=10) -> list:
    """The first `most` filters of the slot's largest leaf, without repetition, as the snapshot's indexes."""
    cdef const Table* table = table_of(snapshot, slot)
    cdef const uint32_t* leaf
    cdef uint32_t i, words
    if table == NULL or table.largest_leaf == 0:
        return []
    leaf = table.leaves + <size_t>(table.largest_ref & ~<uint32_t>LEAF_BIT) * LEAF_HEADER
    words = 2 * LEAF_LANES * (leaf[1] + 1)
    found = {}
    for i in range(leaf[0]):
        if len(found) == most:
            break
        found[table.first + leaf[LEAF_HEADER + <size_t>(i // LEAF_LANES) * words + words - 2 * LEAF_LANES
                                 + i % LEAF_LANES]] = None
    return list(found)


def widened_filters(Snapshot snapshot, unsigned int slot) -> list:
    """Filters whose lists were too many for boxes of their own and are tested again on each packet."""
    cdef const Table* table = table_of(snapshot, slot)
    if table == NULL:
        return []
    return [table.first + i for i in range(table.n_filters) if table.rest[i].widened]


def filter_boxes(Snapshot snapshot, uint32_t index) -> list:
    """The boxes of one filter, each a list of (field, lowest, highest) by dimension.

    A field of several dimensions appears once for each 32 bits, the most significant first.
    """
    if index >= snapshot.policy.n_filters:
        raise IndexError(f"no filter {index}")
    cdef unsigned int slot = snapshot.policy.filters[index].slot
    cdef BoxSet boxes
    cdef const Bound* bounds
    cdef uint32_t first, past, i, d
    try:
        if boxes_make(&snapshot.policy, slot, &boxes) != 0:
            raise MemoryError()
        boxes_of(&boxes, index - snapshot.policy.layers[slot].first, &first, &past)
        found = []
        for i in range(first, past):
            bounds = boxes.bounds + <size_t>i * boxes.n_dimensions
            found.append([(boxes.dimensions[d].field, bounds[d].lo, bounds[d].hi) for d in range(boxes.n_dimensions)])
        return found
    finally:
        boxes_free(&boxes)
