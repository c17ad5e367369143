"""The packed policy: the flat arrays that the packet path reads, and nothing else.

Written by `pack.py` (in a child process), read and bounds-checked by `dataplane.Snapshot`.
Layout: MAGIC (8 bytes), u32 version, u32 section count, then for each section of SECTIONS in
order u64 offset, u64 length in bytes; then the sections, each aligned to a cache line (a reader asks
for 16), so that no record of 32 bytes lies in two.  All integers are little-endian.  A record's layout is a
`struct` format here and a C struct of the same size in `_policy.pxd`; a contract test compares the sizes.
"""

MAGIC = b"WFPDPACK"
VERSION = 1
ALIGNMENT = 64
NONE32 = 0xFFFFFFFF

SECTIONS = (
    "layers",  # LAYER records, one for each of the 64 slots
    "filters",  # FILTER records by slot, then by rank: sublayer weight falling, weight falling, order rising
    "conditions",  # CONDITION records, in filter order
    "terms",  # TERM records
    "atoms",  # ATOM records
    "sets",  # SET records
    "ranges32",  # u32 low, u32 high; sorted, disjoint
    "ranges128",  # u64 low_hi, low_lo, high_hi, high_lo; sorted, disjoint
    "texts",  # TEXT records: byte strings of sets and atoms, sorted within a set
    "sublayers",  # SUBLAYER records, weight falling
    "callouts",  # CALLOUT records, in the order in which Snapshot takes the callables
    "strings",  # STRING records: names
    "bytes",  # what STRING and TEXT records point into
)

LAYER = "<IIQ"  # first filter, filter count, content hash (of the slot's filters; drives reauthorization)
FILTER = "<16sQIIHBBHBBIIIIQ"
# key, weight, name (string), provider (string), sublayer (index), slot, action, flags, reply, on_error,
# callout (index or NONE32), provider context (string or NONE32), first condition, condition count,
# content hash (what the filter decides; drives the life of its counters)
CONDITION = "<HHI"  # field id, term count, first term
TERM = "<HBBII"  # reserved, negate, reserved, atom count, first atom
ATOM = "<BBHIQQQQ"
# op, text open (TEXT_RANGE: 1 = no upper bound), reserved, ref (set index, or index of the first TEXT record),
# low_hi, low_lo, high_hi, high_lo
SET = "<BBHIII"  # kind (0 ranges32, 1 ranges128, 2 texts), reserved, reserved, first, count, name (string)
TEXT = "<II"  # offset in bytes, length
SUBLAYER = "<16sHHI"  # key, weight, reserved, name (string)
CALLOUT = "<16sII"  # key, name (string), reserved
STRING = "<II"  # offset in bytes, length
