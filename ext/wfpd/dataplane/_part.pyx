"""A packed policy, checked once so that the packet path may trust every index in it.

The buffer is the compiler's, yet it is treated as a stranger's: whatever is in it, either
Part raises ValueError or no later access leaves it.  Filters, conditions, terms and atoms
must follow each other without gaps (each record's first child is the one after its predecessor's
last), which makes the check one linear pass and overlap impossible.
"""

import os
import sys

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from ._policy cimport (
    N_OPS, OP_EMPTY, OP_IN_SET, OP_RANGE, OP_TEXT_EQUAL, OP_TEXT_RANGE, SET_RANGES128, SET_RANGES32, SET_TEXTS, at_most,
    is_gone, text_compare,
)
from ._set cimport SetIndex, set_build, set_free
from ._tables cimport tables_build, tables_free
from ._text_set cimport SetText, TextSet, text_set_build, text_set_free
from ._types cimport (
    FILTER_CALLOUT_TERMINATING, FILTER_CALLOUT_UNKNOWN, FILTER_PERMIT, N_FIELDS, N_SLOTS, NO_FILTER,
    REPLY_ICMP_UNREACHABLE, WORD_BLOCK,
)

from wfpd.model.fields import FIELDS
from wfpd.model.layers import BY_SLOT

include "_check.pxi"

cdef enum:
    FEW = 8                         # Filters that are looked through rather than indexed by key.

if sys.byteorder != "little":
    raise ImportError("wfpd's packed policy is little-endian; this host is not")
if len(FIELDS) != N_FIELDS:
    raise ImportError("_field_ids.pxi is older than wfpd/model/fields.py: generate it anew")
_learn_schema()


def packed_sizes() -> dict:
    """Bytes of each packed record as the packet path sees it, by the record's name in the format."""
    return {
        "LAYER": sizeof(PackedLayer), "FILTER": sizeof(PackedFilter), "CONDITION": sizeof(PackedCondition),
        "TERM": sizeof(PackedTerm), "ATOM": sizeof(PackedAtom), "SET": sizeof(PackedSet), "TEXT": sizeof(PackedText),
        "SUBLAYER": sizeof(PackedSublayer), "CALLOUT": sizeof(PackedCallout), "STRING": sizeof(PackedText),
    }


cdef uint64_t key_seed = int.from_bytes(os.urandom(8), "little")


cdef int _index_sets(CompiledPolicy* policy) noexcept nogil:
    """What leads to the values of each set; -1 when memory ran out."""
    cdef uint32_t i
    cdef const PackedSet* item
    cdef int status = 0
    policy.set_index = <SetIndex*>calloc(policy.n_sets + 1, sizeof(SetIndex))
    policy.text_index = <TextSet*>calloc(policy.n_sets + 1, sizeof(TextSet))
    if policy.set_index == NULL or policy.text_index == NULL:
        return -1
    for i in range(policy.n_sets):
        item = &policy.sets[i]
        if item.kind == SET_RANGES32:
            status = set_build(&policy.set_index[i], policy.ranges32 + 2 * <uint64_t>item.first, NULL, item.count)
        elif item.kind == SET_RANGES128:
            status = set_build(&policy.set_index[i], NULL, policy.ranges128 + 4 * <uint64_t>item.first, item.count)
        else:
            status = text_set_build(&policy.text_index[i], <const SetText*>(policy.texts + item.first), policy.bytes,
                                    item.count)
        if status != 0:
            return -1
    return 0


cdef void _forget_sets(CompiledPolicy* policy) noexcept nogil:
    cdef uint32_t i
    for i in range(policy.n_sets):
        if policy.set_index != NULL:
            set_free(&policy.set_index[i])
        if policy.text_index != NULL:
            text_set_free(&policy.text_index[i])
    free(policy.set_index)
    free(policy.text_index)


cdef inline uint64_t _key_hash(const uint8_t* key) noexcept nogil:
    """Seeded: a policy may choose its keys."""
    cdef const uint64_t* words = <const uint64_t*>key
    cdef uint64_t h = words[0] ^ key_seed
    h = (h ^ h >> 32) * <uint64_t>0x9E3779B97F4A7C15
    h ^= words[1]
    h = (h ^ h >> 32) * <uint64_t>0xBF58476D1CE4E5B9
    return h ^ h >> 29


cdef void _look_at_fields(CompiledPolicy* policy) noexcept nogil:
    """Largest filter count and fields looked at, by slot."""
    cdef uint32_t slot, i, j
    cdef uint16_t field
    cdef const PackedFilter* item
    for slot in range(N_SLOTS):
        if policy.layers[slot].count > policy.max_layer_filters:
            policy.max_layer_filters = policy.layers[slot].count
    for i in range(policy.n_filters):
        item = &policy.filters[i]
        for j in range(item.n_conditions):
            field = policy.conditions[item.first_condition + j].field
            policy.fields_needed[item.slot][field >> 6] |= (<uint64_t>1) << (field & 63)


cdef class Part:
    """One packed policy (`wfpd.compiler.pack.pack`); a writable buffer is copied.

    Without `search` it is not searched, only merged with others.
    """

    def __cinit__(self, buffer, *, bint search=True):
        self._adopt(buffer)
        if search:
            self._build()

    def __dealloc__(self):
        # What takes time with the number of filters lets other threads run.
        with nogil:
            tables_free(&self.policy)
            _forget_sets(&self.policy)
            free(self.key_table)

    cdef int _build(self) except -1:
        cdef CompiledPolicy* policy = &self.policy
        cdef int failed
        with nogil:
            failed = _index_sets(policy) or tables_build(policy)
        if failed:
            raise MemoryError()
        return 0

    cdef int _adopt(self, buffer) except -1:
        """Point into the buffer once it is found sound."""
        cdef const uint8_t[::1] view
        cdef Sections sections
        cdef CompiledPolicy* policy = &self.policy
        cdef const char* fault
        cdef const uint8_t* data
        cdef uint64_t size
        exported = memoryview(buffer).cast("B")
        view = exported
        if not exported.readonly or (view.shape[0] and <size_t>&view[0] % 16):
            exported = memoryview(bytes(exported))
            view = exported
        self.buffer = exported.obj
        self._view = exported
        if view.shape[0] < <Py_ssize_t>HEADER_SIZE:
            raise ValueError("packed policy: shorter than its header")
        data, size = &view[0], view.shape[0]
        with nogil:
            fault = sections_read(data, size, &sections)
            if fault == NULL:
                policy_point(policy, &sections)
                fault = policy_check(policy, &sections)
            if fault == NULL:
                _look_at_fields(policy)
        if fault != NULL:
            memset(&self.policy, 0, sizeof(self.policy))
            raise ValueError(f"packed policy: {fault.decode()}")
        self.strings = <const PackedText*>sections.at[SECTION_STRINGS]
        self.n_strings = <uint32_t>sections.count[SECTION_STRINGS]
        self.callouts = <const PackedCallout*>sections.at[SECTION_CALLOUTS]
        self._names = {}
        return 0

    cdef str name(self, uint32_t index):
        """A string of the policy, decoded when it is first asked for."""
        cdef const PackedText* text = self.strings + index
        name = self._names.get(index)
        if name is None:
            raw = (<const char*>self.policy.bytes)[text.offset:<uint64_t>text.offset + text.length]
            name = self._names[index] = raw.decode("utf-8", "replace")
        return name

    cdef const PackedFilter* filter(self, uint32_t index) except NULL:
        if index >= self.policy.n_filters:
            raise IndexError(f"no filter {index}")
        return &self.policy.filters[index]

    cdef int _index_keys(self) except -1:
        cdef CompiledPolicy* policy = &self.policy
        cdef uint64_t size = 16, at
        cdef uint32_t i, k
        while size < 2 * <uint64_t>policy.n_filters:
            size *= 2
        self.key_mask = size - 1
        self.key_table = <uint32_t*>calloc(size, sizeof(uint32_t))
        if self.key_table == NULL:
            raise MemoryError()
        with nogil:
            for k in range(policy.n_filters):
                i = policy.n_filters - 1 - k
                at = _key_hash(policy.filters[i].key) & self.key_mask
                while self.key_table[at]:
                    at = (at + 1) & self.key_mask
                self.key_table[at] = i + 1
        return 0

    cdef uint32_t find(self, const uint8_t* key, const uint64_t* gone) except 0xFFFFFFFE:
        cdef uint64_t at
        cdef uint32_t i
        if self.policy.n_filters <= FEW:
            for i in range(self.policy.n_filters):
                if memcmp(self.policy.filters[i].key, key, 16) == 0 and not is_gone(gone, i):
                    return i
            return NO_FILTER
        if self.key_table == NULL:
            self._index_keys()
        at = _key_hash(key) & self.key_mask
        while self.key_table[at]:
            i = self.key_table[at] - 1
            if memcmp(self.policy.filters[i].key, key, 16) == 0 and not is_gone(gone, i):
                return i
            at = (at + 1) & self.key_mask
        return NO_FILTER

    def prepare(self) -> None:
        """Index the keys, so that the first search for one does not wait for it."""
        if self.key_table == NULL and self.policy.n_filters > FEW:
            self._index_keys()

    @property
    def n_filters(self) -> int:
        return self.policy.n_filters

    def keys(self) -> list:
        """The key of each filter, 16 bytes."""
        cdef uint32_t i
        return [(<const char*>self.policy.filters[i].key)[:16] for i in range(self.policy.n_filters)]

    def slots(self) -> set:
        """The slots of layers that have filters."""
        cdef uint32_t i
        return {i for i in range(N_SLOTS) if self.policy.layers[i].count}

    def callout_keys(self) -> list:
        """The key of each callout, 16 bytes."""
        cdef uint32_t i
        return [(<const char*>self.callouts[i].key)[:16] for i in range(self.policy.n_callouts)]
