"""From a policy's records to tables: boxes, their forest, and what a search reads beside it."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ._boxes cimport BoxSet, Dimension, FilterRest, boxes_free, boxes_make
from ._forest cimport forest_build, forest_free
from ._policy cimport CompiledPolicy
from ._texts cimport TextEntry, texts_free
from ._tree cimport TRACKED, Table
from ._types cimport N_SLOTS

cdef extern from "_leaf.h" nogil:
    int leaf_level()


cdef void table_free(Table* table) noexcept nogil:
    cdef uint32_t i
    if table == NULL:
        return
    forest_free(table)
    for i in range(table.n_texts):
        texts_free(&table.texts[i])
    free(table.rest)
    free(table.residuals)
    free(table)


cdef void table_describe(Table* table, const BoxSet* boxes) noexcept nogil:
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
        if rank < TRACKED:
            table.rank_end[rank] = i + 1
    # Ranks beyond: a filter past the last tracked one's end is looked up by itself.


cdef int table_fill(Table* table, const CompiledPolicy* policy, unsigned int slot, BoxSet* boxes) noexcept nogil:
    cdef uint32_t i
    if boxes_make(policy, slot, boxes) != 0 or forest_build(boxes, table) != 0:
        return -1
    table_describe(table, boxes)
    table.first = policy.layers[slot].first
    table.level = leaf_level()
    table.rest = boxes.rest
    table.residuals = boxes.residuals
    table.size += boxes.n_filters * sizeof(FilterRest) + 4 * boxes.residuals_capacity + sizeof(Table)
    table.texts = boxes.texts
    table.n_texts = boxes.n_texts
    for i in range(boxes.n_texts):
        table.size += (<uint64_t>boxes.texts[i].mask + 1) * sizeof(TextEntry)
    boxes.n_texts = 0
    boxes.rest = NULL
    boxes.residuals = NULL
    return 0


cdef Table* table_make(const CompiledPolicy* policy, unsigned int slot) noexcept nogil:
    """The slot's table, or NULL when memory ran out."""
    cdef BoxSet boxes
    cdef Table* table = <Table*>calloc(1, sizeof(Table))
    cdef int status
    if table == NULL:
        return NULL
    status = table_fill(table, policy, slot, &boxes)
    boxes_free(&boxes)
    if status == 0:
        return table
    table_free(table)
    return NULL


cdef int tables_build(CompiledPolicy* policy) noexcept nogil:
    cdef unsigned int slot
    for slot in range(N_SLOTS):
        if policy.layers[slot].count == 0:
            continue
        policy.search[slot] = table_make(policy, slot)
        if policy.search[slot] == NULL:
            tables_free(policy)
            return -1
    return 0


cdef void tables_free(CompiledPolicy* policy) noexcept nogil:
    cdef unsigned int slot
    for slot in range(N_SLOTS):
        table_free(<Table*>policy.search[slot])
        policy.search[slot] = NULL
