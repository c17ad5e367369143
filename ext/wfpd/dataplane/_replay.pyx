"""A visit at a time, traced, for replay, explain and tests: the packet path without a queue."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import os
import time

from wfpd.model.layers import slot_name

from ._arbitrate import REASON_NAMES
from ._arbitrate cimport ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, ANSWER_SKIP, CalloutAnswer, decision_dict
from ._cache cimport cache_create, cache_destroy
from ._context cimport CLOCKED_BY_CALL, CLOCKED_LATE, ClassifyContext
from ._explain cimport answer_fill, explain_layer
from ._flow cimport Flows, flow_not_made
from ._host cimport Host
from ._modify cimport edit_create, edit_free, edit_packet
from ._parking cimport ParkedPacket
from ._parse cimport PARSE_VERIFY_CHECKSUMS
from ._policy cimport FilterBrief
from ._stats cimport WorkerStats
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport (
    MAX_ROWS, Trace, TraceRow, VISIT_CALLOUT, VisitInput, VisitStep, Visitor, visit_abandon, visit_answer, visit_begin,
    visit_is_native, visit_native,
)

_ACTIONS = ("none", "permit", "block")
_KINDS = {ANSWER_CONTINUE: "continue", ANSWER_SKIP: "continue", ANSWER_PERMIT: "permit", ANSWER_BLOCK: "block"}
HOOKS = {"prerouting": HOOK_PREROUTING, "input": HOOK_INPUT, "forward": HOOK_FORWARD, "output": HOOK_OUTPUT,
         "postrouting": HOOK_POSTROUTING}


cdef class Replayer:
    """Decides packets one by one against one snapshot.

    `flows` is the flow table (None: no ALE layers); `late_after` is in seconds; `host` as the
    live path has it, or None.
    """

    def __cinit__(self, Snapshot snapshot not None, Flows flows=None, Host host=None, *, bint checksums=False,
                  double late_after=0.5, bint live=False):
        cdef uint32_t capacity = snapshot.policy.max_layer_filters + 1
        self.snapshot = snapshot
        self.flows = flows
        self.host = host
        self.context = ClassifyContext()
        self.late_after = self.context.late_after = late_after
        self.parse_flags = PARSE_VERIFY_CHECKSUMS if checksums else 0
        memset(&self.visitor, 0, sizeof(Visitor))
        self.visitor.live = live
        if flows is not None:
            flows.contexts.expect(snapshot.callouts)
        self.visitor.policy = &snapshot.policy
        self.visitor.flows = &flows.table if flows is not None else NULL
        self.visitor.host = &host.table if host is not None else NULL
        self.visitor.trace = &self.trace
        self.visitor.matches = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        self.visitor.hits = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        self.visitor.edit = edit_create()
        seed = os.urandom(16)
        if (self.visitor.edit == NULL or self.visitor.matches == NULL or self.visitor.hits == NULL
                or cache_create(&self.cache, int.from_bytes(seed[:8], "little"), int.from_bytes(seed[8:], "little"))):
            raise MemoryError()
        self.cache.min_filters = 1
        self.visitor.cache = &self.cache

    def __dealloc__(self):
        edit_free(self.visitor.edit)
        free(self.visitor.matches)
        free(self.visitor.hits)
        free(self.trace.values)
        cache_destroy(&self.cache)

    def visit(self, bytes data not None, str hook, uint64_t now_ns, *, int original=-1, interface_name=None,
              bint loopback=False, mark=None, uint32_t in_interface=0, uint32_t out_interface=0,
              uint32_t capture_interface=0, answers=None, int near=-1, uint32_t room=0, ParkedPacket resume=None):
        """Decide `data` (an IP packet) at `hook`; `now_ns` is the clock, `original` the length before a cut,
        `capture_interface` names the interface in an ended flow.

        Returns a dict: verdict, reason, malformed, slot, filter (index or None), veto, reply,
        flow_id, to_server, noted ((filter, reason) of those with `log: true` that permitted or in audit mode that matched), rows as (slot, action, right, filter, callouts, discard).
        With `answers` no callout is called: answers(callout index) says (kind, clear_right) in its place.
        `room`: one more than the packets that callouts may still park (0: none, ever).  What is parked has its handle as
        `parked`, beside what `on_late` says; once it is completed it is visited again, with the handle as `resume`.
        With `near` from 0 on, `layers` explains each row as explain_values() does, with that many near misses.
        """
        cdef VisitInput given
        cdef bytes name = interface_name or b""
        memset(&given, 0, sizeof(given))
        given.data = <const uint8_t*><const char*>data
        given.captured = <uint32_t>len(data)
        given.original = given.captured if original < 0 else <uint32_t>original
        given.hook = HOOKS[hook]
        given.parse_flags = self.parse_flags
        given.loopback = loopback
        given.now_ns = now_ns
        given.in_interface = in_interface
        given.out_interface = out_interface
        given.capture_interface = capture_interface
        if mark is not None:
            given.has_mark = 1
            given.mark = mark
            given.injected = self.context.injections is not None and self.context.injections.marks.injected_by(mark) != 0
        if interface_name is not None:
            given.interface_name = <const uint8_t*><const char*>name
            given.interface_name_length = <uint32_t>len(name)
        self._begin_lists(resume)
        self.context.replay_room = room
        self.visitor.edit.keeps = room != 0
        if near >= 0 and self.trace.values == NULL:
            self.trace.values = <FieldValues*>calloc(MAX_ROWS, sizeof(FieldValues))
            if self.trace.values == NULL:
                raise MemoryError()
        self.context.resumed = resume
        self.context.provisional = resume.resume.flow_id if resume is not None and resume.resume.provisional else 0
        self.visitor.resume = &resume.resume if resume is not None else NULL
        try:
            result = self._visit(&given, answers)
        finally:
            self.visitor.resume = NULL
            self.context.resumed = None
        if near >= 0:
            result["layers"] = [self._explained(i, near) for i in range(self.trace.n_rows)]
        return result

    def expire(self, ParkedPacket parked not None) -> None:
        """The packet is late, and complete() comes in vain."""
        parked.decided = True
        if parked.resume.provisional:
            flow_not_made(self.visitor.flows, parked.resume.flow_id)

    cdef int _begin_lists(self, ParkedPacket resume) except -1:
        self.asked, self.given = [], []
        if resume is None:
            return 0
        self.asked, self.given = list(resume.asked), list(resume.given)
        if resume.resume.asks:
            self.asked.pop()
        else:
            answer = resume.resume.answers[resume.resume.n - 1].answer
            self.given.append((_KINDS[answer.kind], bool(answer.clear_right)))
        return 0

    cdef dict _parked(self, ParkedPacket parked, uint32_t asked):
        """What on_late says of the packet, with its handle."""
        cdef const FilterBrief* briefs = self.snapshot.policy.briefs
        kept = [i for i, filter in enumerate(self.asked)
                if briefs[<uint32_t>max(filter, -1 - filter)].slot >> 1 & 15 != LAYER_STREAM]
        parked.asked = [self.asked[i] for i in kept]
        parked.given = [self.given[i] for i in kept if i < len(self.given)]
        return self._late(asked) | {"parked": parked}

    cdef dict _visit(self, VisitInput* given, answers):
        """The packet's way from visit_begin() on."""
        cdef VisitStep step
        cdef CalloutAnswer answer
        cdef ParkedPacket parked = None
        result = None
        with nogil:
            step = visit_begin(&self.visitor, given)
        while step == VISIT_CALLOUT:
            started = time.monotonic()
            asked = self.visitor.arbitration.asked
            self.asked.append(asked)
            if answers is None:
                if visit_is_native(&self.visitor):
                    with nogil:
                        visit_native(&self.visitor, &answer)
                self.context.clocked = CLOCKED_BY_CALL
                if not visit_is_native(&self.visitor):
                    parked = self.context.call(&self.visitor, self.snapshot, &answer)
                    if parked is not None:
                        self.context.keep_flow(&self.visitor, parked)
                        result = self._parked(parked, asked)
                        break
                self.given.append((_KINDS[answer.kind], bool(answer.clear_right)))
                if answer.kind == ANSWER_SKIP:
                    self.asked[len(self.asked) - 1] = -1 - <int64_t>asked     # It was not called.
            else:
                self.given.append(answers(self.snapshot.policy.briefs[asked].callout))
                answer_fill(&answer, self.given[len(self.given) - 1])
            if answers is None and self._is_late(started):
                result = self._late(asked)
                break
            with nogil:
                step = visit_answer(&self.visitor, &answer)
        self.context.settle_flow(&self.visitor)
        if result is None:
            result = self._result()
        return result

    cdef bint _is_late(self, double started) except -1:
        """Whether the callout that was called then took too long."""
        if self.context.clocked != CLOCKED_BY_CALL:
            return self.context.clocked == CLOCKED_LATE
        return time.monotonic() - started > self.late_after

    cdef dict _explained(self, uint32_t number, uint32_t near):
        cdef const TraceRow* row = &self.trace.rows[number]
        given = self.given[row.first_callout:row.first_callout + row.n_callouts]
        return explain_layer(self.snapshot, row.slot, &self.trace.values[number], near, given)

    def _late(self, uint32_t asked):
        """The verdict that `on_late` declares, given without waiting for the rest."""
        stands = visit_abandon(&self.visitor)
        result = self._result()
        if stands:
            return result
        result["verdict"] = "block" if self.snapshot.policy.on_late == WORD_BLOCK else "permit"
        result["reason"] = "late"
        if self.visitor.replaced:
            result["verdict"], result["reason"], asked = "block", "callout", self.visitor.replaced - 1
        result["modified"] = None
        result["slot"] = self.snapshot.policy.briefs[asked].slot
        result["filter"] = asked
        result["veto"] = False
        return result

    def _result(self):
        cdef Decision* decision = &self.visitor.decision
        return decision_dict(decision) | {
            "noted": [(self.visitor.noted[i], REASON_NAMES[self.visitor.noted_reason[i]])
                      for i in range(self.visitor.n_noted)],
            "modified": ((<const char*>edit_packet(&self.visitor))[:self.visitor.n_edited]
                         if self.visitor.n_edited and decision.verdict == ACTION_PERMIT else None),
            "parked": None,
            "rows": [self._row(&self.trace.rows[i]) for i in range(self.trace.n_rows)],
        }

    cdef tuple _row(self, TraceRow* row):
        called = tuple([
            self.snapshot.callout_name(self.snapshot.policy.briefs[<uint32_t>asked].callout)
            for asked in self.asked[row.first_callout:row.first_callout + row.n_callouts] if asked >= 0
        ])
        return (
            row.slot, _ACTIONS[row.action], "set" if row.right else "clear",
            None if row.filter == NO_FILTER else row.filter, called, bool(row.discard),
        )
