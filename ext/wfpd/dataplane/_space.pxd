"""The boxes of two policies in one space, so that they can be compared.  Cold: for people."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ._boxes cimport Bound, BoxSet
from ._policy cimport CompiledPolicy
from ._table cimport Snapshot

cdef enum:
    MAX_TESTS = 16
    MAX_AXES = 112                  # 24 dimensions and at most as many wide fields, from each side; tests.

cdef enum AxisKind:
    AXIS_WORD = 0                   # 32 bits of a wide field.
    AXIS_NARROW = 1                 # 8 or 16 bits, 0xFFFFFFFF: absent.
    AXIS_TEXT = 2                   # Numbers of texts, common to both sides; 0xFFFFFFFF: absent.
    AXIS_PRESENCE = 3
    AXIS_TEST = 4                   # Whether a condition that no box can hold is true: 0 or 1.  It has no field.

cdef enum:
    NO_FIELD = 0xFFFF

cdef enum Effect:                   # What a filter can say where it holds.
    EFFECT_IGNORED = 0              # Nothing: audit mode, inspection.
    EFFECT_PERMIT = 1
    EFFECT_HARD_PERMIT = 2
    EFFECT_BLOCK = 3
    EFFECT_ENDS = 4                 # Whatever a terminating callout says.
    EFFECT_ANY = 5                  # Whatever a callout says, or nothing.

cdef struct SpaceAxis:
    uint16_t field
    uint16_t word                   # As in Dimension; with `shift` it names the 32 bits.
    uint32_t shift
    uint8_t kind                    # AxisKind

cdef struct Space:
    SpaceAxis axes[MAX_AXES]
    uint32_t n
    uint32_t first_test             # The tests' axes are the last ones.

cdef struct Side:
    const CompiledPolicy* policy
    BoxSet boxes
    Bound* bounds                   # [n_boxes * space.n], box by box: the boxes in the common space.
    uint32_t* owner                 # [n_boxes] Filter, counted from the slot's first; ascending.
    uint32_t n_boxes
    uint32_t capacity
    uint8_t* effect                 # [n_filters] Effect
    uint8_t* partly                 # [n_filters] Its boxes are larger than what it matches.
    uint32_t* tests                 # [n_filters] Bits of the tests that have to hold.
    uint32_t* twin                  # [n_filters] The same filter on the other side, NO_FILTER if it differs.

# Boxes and effects of the slot's filters; all of `side` is 0 before.  side_close() either way.
cdef int side_open(Side* side, Snapshot snapshot, unsigned int slot) except -1
cdef void side_close(Side* side) noexcept

# Both opened sides into one space with `n_tests` tests; `names` gets the texts of each text axis, number 1 first.
cdef int space_lay(Space* space, Side* sides, dict names, uint32_t n_tests) except -1

# What a box says of one field: (values, empty), or None where it says nothing.  `values`: bounds by 32
# bits for a number, most significant first; texts for a text (None first: all but those); [] where the
# field has no value.  `empty`: a packet without the field is in it.  False: no packet is in it.
cdef field_told(const Space* space, const Bound* bounds, uint32_t field, unsigned int family, dict names)

# Whether two boxes of a common space have a point in common, and whether all of `b` lies in `a`.
cdef inline bint touches(const Bound* a, const Bound* b, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if a[i].lo > b[i].hi or b[i].lo > a[i].hi:
            return False
    return True

cdef inline bint covers(const Bound* a, const Bound* b, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if a[i].lo > b[i].lo or a[i].hi < b[i].hi:
            return False
    return True
