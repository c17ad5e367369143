"""Which filters may match some packet that a template matches, by their boxes: the first look of an enumeration.

A box is never smaller than what its filter matches, so nothing is missed; what boxes cannot express is left to a second
look (`wfpd.bfe.containment`).
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from ._part cimport Part
from ._root cimport Added
from ._space cimport Side, Space, side_close, side_open, space_lay, touches
from ._table cimport Snapshot

from wfpd.model.policy import Word


cdef Snapshot _alone(Part part):
    """A part as if nothing were gone of it or beside it."""
    word = int(Word.PERMIT)
    return Snapshot(part, [None] * part.policy.n_callouts, generation=0, on_error=word, on_malformed=word, on_late=word,
                    flows_full=word)


cdef void _mark(const Side* side, const Side* template, uint32_t n, uint32_t first, const uint32_t* ids,
                uint8_t* marks) noexcept nogil:
    """1 for each filter one of whose boxes meets one of the template's."""
    cdef uint32_t i, k, place
    for i in range(side.n_boxes):
        place = first + side.owner[i]
        if ids != NULL:
            place = ids[place]
        for k in range(template.n_boxes):
            if marks[place]:
                break
            marks[place] = touches(side.bounds + <size_t>i * n, template.bounds + <size_t>k * n, n)


cdef int _mark_part(Part part, const uint32_t* ids, Snapshot template, unsigned int slot, uint8_t* marks) except -1:
    cdef Snapshot whole = _alone(part)
    cdef Space space
    cdef Side[2] sides
    cdef uint32_t first = part.policy.layers[slot].first
    memset(sides, 0, sizeof(sides))
    try:
        side_open(&sides[0], whole, slot)
        side_open(&sides[1], template, slot)
        space_lay(&space, sides, {}, 0)
        with nogil:
            _mark(&sides[0], &sides[1], space.n, first, ids, marks)
    finally:
        side_close(&sides[0])
        side_close(&sides[1])
    return 0


def meeting(Snapshot snapshot not None, template, unsigned int slot) -> bytes:
    """A byte for each number of a filter: 1 where it is one of the slot's that may meet the template, gone or not.

    `template`: a packed policy with filters at this slot, whose conditions count and nothing else.
    """
    cdef Snapshot asked = _alone(Part(template))
    cdef Added entry
    marks = bytearray(snapshot.root.n_ids + 1)
    cdef uint8_t[::1] view = marks
    slot = asked._slot(slot)
    _mark_part(snapshot.root.part, NULL, asked, slot, &view[0])
    for entry in snapshot.added:
        _mark_part(entry.part, entry.ids, asked, slot, &view[0])
    return bytes(marks)
