"""Calling a Python callout: what it may answer, and what an exception means.  What it sees: `_indication`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import time

from wfpd.errors import ActionRefused, FwpError
from wfpd.model.layers import BY_SLOT, slot_name

from ._arbitrate cimport (
    ANSWER_BLOCK, ANSWER_CONTINUE, ANSWER_PERMIT, ANSWER_SKIP, CalloutAnswer, answer_on_error,
)
from ._batch cimport batch_replace, batch_restore
from ._budget cimport (
    ADMITTED, SUSPENDED, Admission, CalloutSlot, watch_admits, watch_took, wfpd_budget_clock, wfpd_budget_write,
)
from ._flow cimport FLOW_STREAM, FlowKey, flow_is, flow_not_made
from ._flow_contexts cimport FlowContexts, contexts_flow_ended, has_native_end
from ._modify cimport MODIFY_OK, modify_replace, modify_write
from ._modify import Draft, completed, refused
from ._netlink cimport QueuedPacket
from ._parking cimport ParkedPacket, Parking, parked_new
from ._policy cimport CALLOUT_CONDITIONAL, FilterBrief, callout_named
from ._stream_indication cimport StreamIndication
from ._table cimport Snapshot
from ._types cimport *
from ._visit cimport (
    HANDED_ASKED, HANDED_MARKED, HANDED_NOTHING, MAX_ANSWERS, PROVISIONAL_CONTEXTS, PROVISIONAL_STREAM, EditBuffer,
    GivenAnswer, Visitor, visit_native, visit_reauthorizes,
)

cdef enum:
    MOST_JOINED = 8192              # Then what is decided is looked for and let go.

_SLOTS = {slot_name(slot): slot for slot in BY_SLOT}
_REPLIES = {None: 0, "none": 0, "tcp_reset": 1, "icmp_unreachable": 2}


def _whose(callout):
    return "this callout" if callout is None else f"callout {callout!r}"


def _drop_decided(dict joined):
    cdef ParkedPacket handle
    for key, handle in list(joined.items()):
        if not handle.open():
            joined.pop(key, None)


cdef class ClassifyContext(StreamIndication):
    """One indication, as a callout sees and answers it.  One object serves all calls of a thread."""

    def __cinit__(self):
        self.visitor = NULL
        self.worker = NULL
        self.errors = {}
        self.durations = {}
        self.injections = None
        self.on_error = None
        self.joined = {}

    cdef ParkedPacket call(self, Visitor* visitor, Snapshot snapshot, CalloutAnswer* answer):
        cdef const FilterBrief* item = &snapshot.policy.briefs[visitor.arbitration.asked]
        cdef const CalloutSlot* slot = &snapshot.policy.callout_slots[item.callout]
        cdef Admission admission = ADMITTED
        cdef uint64_t began = 0
        cdef ParkedPacket parked, follower
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.enforced = 0
        if visitor.edit != NULL and visitor.handed == HANDED_NOTHING:
            visitor.edit.marked = 0
        self.visitor = visitor
        self.snapshot = snapshot
        self.stream_bytes = None
        if self._is_given(answer) or self._answered_without(slot, answer):
            self._release()
            return None
        if self.joined and self._follows(answer):
            parked, self.parked = self.parked, None
            self._release()
            return parked
        if self.worker != NULL and slot.budget_ns:
            began = wfpd_budget_clock()
            admission = watch_admits(slot, began)
            if admission == SUSPENDED:
                answer_on_error(&snapshot.policy, visitor.arbitration.asked, answer)
                self._release()
                return None
            visitor.called = slot
            wfpd_budget_write(&visitor.called_ns, began)
        started = time.perf_counter_ns()
        name = snapshot.callout_name(item.callout)
        try:
            (snapshot.root.asks if visitor.handed == HANDED_ASKED else snapshot.root.calls)[item.callout](self)
        except BaseException as error:  # Whatever it is, the packet needs a verdict.
            self._take_back()
            if self.parked is not None:
                parked = self.parked
                self._forget_parked()
                for follower in parked.followers:
                    follower._complete((None, 0, False, False, False, False), None)    # Asked for itself.
            self.failed(name, error)
            answer_on_error(&snapshot.policy, visitor.arbitration.asked, &self.answer)
        if visitor.replaced == visitor.arbitration.asked + 1:
            self._stay_replaced()
        if self.parked is not None:
            self.parked.called = False
        self._timed(name, time.perf_counter_ns() - started)
        if began:
            wfpd_budget_write(&visitor.called_ns, 0)
            watch_took(slot, admission, began, wfpd_budget_clock())
        if self.stream_bytes is not None:
            self._release_stream()
        answer[0] = self.answer
        answer.enforced = 0 if self.answer.failed else self.enforced
        parked, self.parked = self.parked, None
        self._release()
        return parked

    cdef bint _answered_without(self, const CalloutSlot* slot, CalloutAnswer* answer) except -1:
        """Whether `answer` is there without a call of ours: by a rule, or by a compiled callout that is called now."""
        cdef Visitor* visitor = self.visitor
        cdef uint32_t callout = self.snapshot.policy.briefs[visitor.arbitration.asked].callout
        cdef bint marked = visitor.handed == HANDED_MARKED
        if slot.native == NULL:
            marked = visitor.input.mark and visitor.input.has_mark
            if self.snapshot.policy.callout_registered[callout] & CALLOUT_CONDITIONAL and self.flow_context is None:
                answer[0] = self.answer
                answer.kind = ANSWER_SKIP
                return True
        if marked and self.injections is not None and self._passes_own(answer):
            return True
        if slot.native == NULL or not marked:
            return False
        with nogil:
            visit_native(visitor, answer)
        self._forget_views()        # It may have written.
        return visitor.handed == HANDED_NOTHING

    def failed(self, name, error):
        """Count an exception of a callout, and tell of it."""
        self.errors[name] = self.errors.get(name, 0) + 1
        if self.on_error is not None:
            try:
                self.on_error(name, error)
            except Exception:
                self.errors[name] += 1  # A logger that fails must not lose the packet.

    def _timed(self, name, nanoseconds):
        entry = self.durations.get(name)
        if entry is None:
            entry = self.durations[name] = [0, 0, [0] * 24]
        entry[0] += 1
        entry[1] += nanoseconds
        entry[2][min(23, max(0, (nanoseconds - 1).bit_length() - 8))] += 1

    cdef int _release(self) except -1:
        self.visitor = NULL
        self.snapshot = None
        self._forget_views()
        return 0

    def permit(self, *, bint clear_right=False):
        """Answer PERMIT; with `clear_right` it is hard."""
        self._live()
        self.answer.kind = ANSWER_PERMIT
        self.answer.stream_action = 0
        self.answer.clear_right = clear_right
        self.answer.absorb = 0
        self.answer.reply = 0

    def block(self, *, bint clear_right=False, bint absorb=False, reply=None, reset_both=None):
        """Answer BLOCK; `absorb` hides it, `reply` is 'tcp_reset' or 'icmp_unreachable'.

        `reset_both`, with tcp_reset: the flow is cut, and its other end is reset by its own next packet.  By
        default it is, unless the packet opens the flow.
        """
        cdef Visitor* visitor = self._live()
        if reply not in _REPLIES:
            raise ValueError(f"reply={reply!r}: one of none, tcp_reset, icmp_unreachable")
        if absorb and not BY_SLOT[visitor.slot][0].absorb:
            raise ValueError(f"absorb is not possible at {self.layer} (FWP_E_INVALID_PARAMETER)")
        if absorb and _REPLIES[reply]:
            raise ValueError("an absorbed packet gets no reply (FWP_E_INVALID_PARAMETER)")
        if reset_both and reply != "tcp_reset":
            raise ValueError("reset_both goes with reply='tcp_reset'")
        self.answer.kind = ANSWER_BLOCK
        self.answer.stream_action = 0
        self.answer.clear_right = clear_right
        self.answer.absorb = absorb
        self.answer.reply = _REPLIES[reply]
        self.answer.cut = _REPLIES[reply] == REPLY_TCP_RESET and (reset_both is None or bool(reset_both))

    def pend(self):
        """Take the packet out of its queue, to be decided later by the handle's complete(); returns the handle.

        What else the callout answers in this call means nothing: its answer is what complete() says, and the visit goes
        on with it.  The packet waits at most `late_after`, counted from its receipt; then on_late decides it.  Raises
        FwpError STATUS_FWP_CANNOT_PEND in a reauthorization and at ale_flow_established, and RuntimeError where nothing
        can be parked: the callout does not say `parks = True`, there is no live queue, the packet is blocked
        already (at a discard layer) or modified by this very call, or as many packets or bytes as the parking queue holds are parked.
        """
        cdef Visitor* visitor = self._live()
        if self.parked is not None:
            return self.parked
        self.check_pends()
        if self.replay_room == 0 and (self.parking is None or self.worker == NULL):
            raise RuntimeError("pend() needs a class that says `parks = True`, and a run in which packets may wait")
        if visitor.resume != NULL and visitor.resume.hurried >= MAX_ANSWERS:
            raise RuntimeError(f"pend(): completed without an answer within the call {int(MAX_ANSWERS)} times")
        self.parked = self._park()
        self.parked.called = True
        if visitor.layer in (LAYER_ALE_AUTH_CONNECT, LAYER_ALE_AUTH_RECV_ACCEPT):
            if len(self.joined) >= MOST_JOINED:
                _drop_decided(self.joined)
            self.joined[self._authorization()] = self.parked
        return self.parked

    def check_pends(self):
        """Raise what pend() raises at a place where no packet may wait, whatever room there is."""
        cdef Visitor* visitor = self._live()
        if visitor.layer == LAYER_STREAM:
            raise RuntimeError("pend(): at the stream layer bytes wait, not packets: need_more() or defer()")
        if visitor.in_twin:
            raise RuntimeError("pend(): the packet is blocked already")
        if visitor.replaced:
            raise RuntimeError("pend(): the packet was reinjected")
        if visitor.layer == LAYER_ALE_FLOW_ESTABLISHED or visit_reauthorizes(visitor):
            raise FwpError("STATUS_FWP_CANNOT_PEND", "pend(): only the first authorization of a flow can wait")
        if visitor.n_answered >= MAX_ANSWERS:
            raise RuntimeError(f"pend(): {int(MAX_ANSWERS)} callouts have been asked about this packet")
        if self._changed_by_call():
            raise RuntimeError("pend(): the packet was modified in this call, or at the layer stream: give complete() the packet")
        if visitor.n_edited and visitor.edit.lost:
            raise RuntimeError("pend(): there is no memory for what callouts have made of the packet")

    def waited(self, bint late):
        """Replay: the callout was waited for, and this says whether too long."""
        self.clocked = CLOCKED_LATE if late else CLOCKED_IN_TIME

    def draft(self):
        """A copy of the packet, which changes as modify() and write() would change the packet."""
        cdef Visitor* visitor = self._live()
        return Draft(bytes(self.packet), original=visitor.input.original, gso=visitor.input.gso)

    cdef bint _changed_by_call(self) noexcept:
        """Whether the packet is another than the last answer has left it."""
        cdef const EditBuffer* edit = self.visitor.edit
        return edit != NULL and edit.n_made != edit.n_kept

    cdef ParkedPacket _park(self):
        """A handle of the packet, which has a place; RuntimeError if there is none."""
        cdef Decision decision
        cdef Visitor* visitor = self.visitor
        cdef const FilterBrief* item = &self.snapshot.policy.briefs[visitor.arbitration.asked]
        cdef ParkedPacket handle = parked_new(visitor, self.snapshot)
        if self.replay_room:
            if self.replay_room == 1:
                raise RuntimeError("as many packets as may be are parked")
            return handle
        memset(&decision, 0, sizeof(decision))
        decision.filter = visitor.arbitration.asked
        decision.callout = item.callout
        decision.slot = item.slot
        if not self.parking.take(handle, self.worker, &decision):
            raise RuntimeError("the parking queue is full")
        return handle

    cdef bytes _authorization(self):
        """What names the authorization that is asked for: the flow, and the filter in this policy."""
        cdef Visitor* visitor = self.visitor
        cdef uint64_t generation = self.snapshot.policy.generation
        return ((<const char*>&visitor.key)[:sizeof(FlowKey)] + (<const char*>&generation)[:sizeof(uint64_t)]
                + (<const char*>&visitor.arbitration.asked)[:sizeof(uint32_t)])

    cdef bint _is_given(self, CalloutAnswer* answer) except -1:
        """Whether complete() has given the callout's answer, with what the packet becomes: then it is not asked."""
        cdef Visitor* visitor = self.visitor
        cdef ParkedPacket resumed = self.resumed
        cdef const GivenAnswer* last
        if resumed is None or resumed.packet is None or visitor.in_twin:
            return False
        last = &resumed.resume.answers[resumed.resume.n - 1]
        if last.filter != visitor.arbitration.asked:
            return False
        try:
            self.modify(resumed.packet)
            answer[0] = last.answer
        except Exception as error:
            self._failed_asked(error, answer)
        return True

    cdef bint _follows(self, CalloutAnswer* answer) except -1:
        """Whether the packet waits with another one of its flow, whose authorization the callout has been asked for."""
        cdef Visitor* visitor = self.visitor
        cdef ParkedPacket leader
        if (visitor.in_twin or visitor.replaced or visitor.n_answered >= MAX_ANSWERS
                or visitor.layer not in (LAYER_ALE_AUTH_CONNECT, LAYER_ALE_AUTH_RECV_ACCEPT) or visit_reauthorizes(visitor)):
            return False
        key = self._authorization()
        leader = self.joined.get(key)
        if leader is None:
            return False
        if not leader.open():
            self.joined.pop(key, None)
            return False
        try:
            if visitor.n_edited and visitor.edit.lost:
                raise RuntimeError("there is no memory for what callouts have made of a packet of a flow whose authorization is parked")
            self.parked = self._park()
            self.parked.follow(leader)
        except Exception as error:
            if self.parked is not None:
                self._forget_parked()
            self._failed_asked(error, answer)
        return True

    cdef int _failed_asked(self, error, CalloutAnswer* answer) except -1:
        """The callout's, that is asked, though it was not called."""
        cdef uint32_t asked = self.visitor.arbitration.asked
        self.failed(self.snapshot.callout_name(self.snapshot.policy.briefs[asked].callout), error)
        answer_on_error(&self.snapshot.policy, asked, answer)
        return 0

    cdef int _forget_parked(self) except -1:
        if self.parked.parking is not None:
            self.parked.parking.forget(self.parked)
        self.parked.decided = True
        self.parked = None
        return 0

    def continue_(self, *, bint clear_right=False):
        """Answer CONTINUE: no decision.  `clear_right` has no effect without one."""
        self._live()
        memset(&self.answer, 0, sizeof(CalloutAnswer))
        self.answer.kind = ANSWER_CONTINUE
        self.answer.clear_right = clear_right

    # --------------------------------------------------------------------------------- the flow

    @property
    def flow_context(self):
        """What this callout keeps with the flow for this layer, or None."""
        cdef Visitor* visitor = self._live()
        cdef FlowContexts contexts
        if not visitor.tracked or visitor.pending.id == 0 or visitor.flows.contexts.n == 0:
            return None
        contexts = <FlowContexts><object>visitor.flows.contexts.owner
        return contexts.of(visitor.pending.id, visitor.slot, getattr(self._item(), "number", 0))

    def set_flow_context(self, layer, value, *, callout=None):
        """Keep `value` with the flow, for this callout, or the one of that name, at `layer` (with or without its family).

        FwpError: FWP_E_INVALID_PARAMETER (no such layer, None, the class has no flow_delete, or another one is compiled
        and this is no number that it can get), FWP_E_CALLOUT_NOT_FOUND (none of this name is registered),
        FWP_E_NOT_FOUND (no flow is kept), FWP_E_ALREADY_EXISTS (remove the other one first), FWP_E_OUT_OF_BOUNDS (there
        are too many).
        """
        cdef Visitor* visitor = self._live()
        cdef uint64_t flow_id
        slot = self._slot_named(layer)
        item = self._item() if callout is None else self._item_named(callout)
        if value is None or callout is None and getattr(item, "flow_delete", None) is None and not has_native_end(item, value):
            raise FwpError("FWP_E_INVALID_PARAMETER", "a flow context is not None, and needs a class with flow_delete")
        flow_id = self._flow()
        if flow_id == 0:
            raise FwpError("FWP_E_NOT_FOUND", "no flow is kept for this packet",
                           hint="flows are kept at input and output where a filter is at an ALE layer")
        contexts = <object>visitor.flows.contexts.owner
        status = (contexts.add if callout is None else contexts.give)(flow_id, slot, item, value)
        if status == "refused":
            raise FwpError("FWP_E_INVALID_PARAMETER", f"callout {callout!r} has no flow_delete, or it is compiled and gets "
                           "numbers from 1 to 2^64 - 1 only")
        if status == "exists":
            raise FwpError("FWP_E_ALREADY_EXISTS",
                           f"{_whose(callout)} has a context for the flow at {slot_name(slot)}")
        if status == "full":
            raise FwpError("FWP_E_OUT_OF_BOUNDS", f"there are {contexts.capacity} flow contexts")
        if not visitor.flow_known:
            self.provisional = flow_id
        elif not flow_is(visitor.flows, &visitor.key, visitor.flow_hash, flow_id):
            contexts_flow_ended(visitor.flows.contexts, flow_id)    # Another worker has ended it meanwhile.

    def remove_flow_context(self, layer, *, callout=None):
        """Let the context of this callout, or of the one of that name, go; flow_delete is told of it soon, by another thread.

        FwpError FWP_E_NOT_FOUND: there is none; FWP_E_CALLOUT_NOT_FOUND: no callout of this name is registered.
        """
        cdef Visitor* visitor = self._live()
        slot = self._slot_named(layer)
        item = self._item() if callout is None else self._item_named(callout)
        flow_id = self._flow()
        if not flow_id or not (<object>visitor.flows.contexts.owner).remove(flow_id, slot, getattr(item, "number", 0)):
            raise FwpError("FWP_E_NOT_FOUND", f"{_whose(callout)} has no context for the flow at {slot_name(slot)}")

    cdef object _item_named(self, callout):
        """What is registered under a name."""
        cdef uint32_t found = NO_FILTER
        name = callout.encode("utf-8", "replace") if isinstance(callout, str) else b"\0"
        if 0 not in name:
            found = callout_named(&self.snapshot.policy, name)
        if found == NO_FILTER:
            raise FwpError("FWP_E_CALLOUT_NOT_FOUND", f"no callout {callout!r} is registered")
        return self.snapshot.root.callouts[found]

    def _slot_named(self, layer):
        found = _SLOTS.get(layer)
        if found is None:
            base = str(layer)
            family = "_v6" if self._live().slot & 1 else "_v4"
            if base.endswith("_discard"):
                base, family = base.removesuffix("_discard"), family + "_discard"
            found = _SLOTS.get(base + family)
        if found is None:
            raise FwpError("FWP_E_INVALID_PARAMETER", f"there is no layer {layer!r}")
        return found

    cdef int settle_flow(self, Visitor* visitor) except -1:
        cdef uint64_t flow_id = self.provisional
        if flow_id == 0:
            return 0
        self.provisional = 0
        if not flow_is(visitor.flows, &visitor.key, visitor.flow_hash, flow_id):
            flow_not_made(visitor.flows, flow_id)
        return 0

    cdef int keep_flow(self, Visitor* visitor, ParkedPacket parked) except -1:
        if self.provisional or visitor.provisional:
            parked.resume.flow_id = self.provisional or visitor.provisional
            parked.resume.provisional |= PROVISIONAL_CONTEXTS
            self.provisional = visitor.provisional = 0
        if visitor.tracked and not visitor.flow_known and visitor.pending.flags & FLOW_STREAM:
            parked.resume.flow_id = visitor.pending.id
            parked.resume.provisional |= PROVISIONAL_STREAM
            visitor.pending.flags &= ~<uint16_t>FLOW_STREAM     # It is not the visit's any more.
        return 0

    # ------------------------------------------------------------------------------- modifying

    cdef int _modified(self, int status) except -1:
        if status != MODIFY_OK:
            raise refused(status)
        self._forget_views()
        return 0

    cdef int _take_back(self) except -1:
        """The call has failed: nothing stays of what it has made of the packet, its compiled half included."""
        if self.visitor.edit != NULL:
            self.visitor.edit.take_back(self.visitor)
            self._forget_views()
        return 0

    def modify(self, const uint8_t[::1] packet not None):
        """The packet becomes these bytes, from the IP header on; lengths and checksums are set.

        What is asked after this callout sees the new packet, and it is written back if it is permitted.
        Raises ActionRefused, with what to do instead, and leaves the packet as it was: docs/actions.md.
        """
        cdef Visitor* visitor = self._live()
        cdef uint8_t nothing = 0
        self._modified(modify_replace(visitor, &packet[0] if packet.shape[0] else &nothing,
                                      <uint32_t>min(packet.shape[0], 0xFFFFFFFF)))

    def write(self, offset, const uint8_t[::1] data not None):
        """The packet has these bytes at `offset` from the IP header; as modify()."""
        cdef Visitor* visitor = self._live()
        cdef uint8_t nothing = 0
        if offset < 0:
            raise ValueError("write(): offsets count from the IP header's first byte, from 0 on")
        self._modified(modify_write(visitor, <uint32_t>min(offset, 0xFFFFFFFF), &data[0] if data.shape[0] else &nothing,
                                    <uint32_t>min(data.shape[0], 0xFFFFFFFF)))

    # ------------------------------------------------------------------------------------ injection

    cdef object _arrived(self):
        """The packet as it came, whatever callouts have made of it since; in replay as it is."""
        cdef const QueuedPacket* packet
        if self.worker == NULL:
            return bytes(self.packet)
        packet = &self.worker.packets[self.worker.next]
        return (<const char*>packet.data)[:packet.captured]

    cdef bint _passes_own(self, CalloutAnswer* answer) except -1:
        """What the callout has injected itself passes it without a call."""
        cdef Visitor* visitor = self.visitor
        answer[0] = self.answer
        try:
            if not self.injections.passes(self._item(), visitor.input.mark, self._arrived()):
                return False
        except Exception as error:      # A fault of ours, which is to cost this packet alone.
            self._failed_asked(error, answer)
            return True
        answer.kind = ANSWER_PERMIT
        if self.snapshot.policy.briefs[visitor.arbitration.asked].action == FILTER_CALLOUT_INSPECTION:
            answer.kind = ANSWER_CONTINUE
        return True

    @property
    def injection_state(self):
        """FWPS_PACKET_INJECTION_STATE: 'not_injected', 'injected_by_self', 'injected_by_other' or
        'previously_injected_by_self'; those of SELF come only to a class that says `sees_injected`."""
        cdef Visitor* visitor = self._live()
        if self.injections is None or not visitor.input.has_mark:
            return "not_injected"
        return self.injections.state(self._item(), visitor.input.mark, self._arrived())

    @property
    def injection_handle(self):
        """A handle for clones of this packet, and others: its inject(packet, direction=...) may be called by any thread
        as long as the callout is registered."""
        self._live()
        item = self._injecting()
        return self.injections.handle(item, completed, self._past(), interface=self._link(), silent=self._silent())

    def inject(self, packet, *, direction=None):
        """Inject a new IP packet, whose lengths and checksums are set; `direction` is outbound, inbound or forward.

        By default a packet is forwarded at the layers of `forward`, else outbound.  False, and counted, where the packet
        that is being classified has been injected too often.  Raises ActionRefused where it cannot be sent.
        """
        cdef Visitor* visitor = self._live()
        if direction is None:
            direction = "forward" if visitor.input.hook == HOOK_FORWARD else "outbound"
        if direction not in ("outbound", "inbound", "forward"):
            raise ValueError(f"direction={direction!r}: one of outbound, inbound, forward")
        return bool(self._inject(self._injecting(), completed(packet), direction, False))

    def reinject(self, packet=None):
        """Clone, drop and reinject: block and absorb this packet for good, and inject `packet` (or a clone) in its place.

        It may have another length or other addresses.  False where the packet was injected too often: it is blocked.  Raises
        ActionRefused, and leaves the packet as it was, where it cannot be sent or the action right is clear.
        """
        cdef Visitor* visitor = self._live()
        cdef bint sent, again
        if visitor.in_twin or visitor.layer == LAYER_STREAM or visitor.input.hook == HOOK_PREROUTING:
            raise ActionRefused(f"nothing can be reinjected at {self.layer} of {self.hook}",
                                hint="use a layer of input, output or forward, and modify() before")
        if self.snapshot.policy.briefs[visitor.arbitration.asked].action == FILTER_CALLOUT_INSPECTION:
            raise ActionRefused("a callout of kind inspection cannot drop a packet",
                                hint="name it by a filter of kind terminating or unknown")
        if not visitor.arbitration.right:
            raise ActionRefused("the action right is clear: another callout has taken the packet",
                                hint="look at c.write_right, and wait for what the other one injects")
        if packet is None and (visitor.view.truncated or visitor.view.captured < visitor.input.original):
            raise ActionRefused("the copy of the packet is cut", hint="say `modifies = True` in the callout's class")
        if visitor.input.gso:
            raise ActionRefused("a GSO packet is several packets", hint="use modify(), or a proxy")
        direction = "forward" if visitor.input.hook == HOOK_FORWARD else ("outbound" if visitor.outbound else "inbound")
        item = self._injecting()
        whole = completed(self.packet if packet is None else packet)
        again = visitor.replaced != 0
        if not self._replace():
            raise ActionRefused("the packet has its verdict already", hint="answer within late_after, and without pend()")
        try:
            sent = self._inject(item, whole, direction, True)
        except BaseException:
            if not again:
                self._restore()
            raise
        self.block(clear_right=True, absorb=BY_SLOT[visitor.slot][0].absorb)
        return bool(sent)

    cdef bint _replace(self) except -1:
        """The packet passes no more, whoever gives it its verdict; False: it has that already."""
        cdef Visitor* visitor = self.visitor
        if self.parked is not None:
            return False
        if self._silent() or visitor.replaced:
            return True
        if self.worker != NULL:
            return batch_replace(self.worker, visitor.arbitration.asked)
        visitor.replaced = visitor.arbitration.asked + 1
        return True

    cdef int _restore(self) except -1:
        if self.worker != NULL:
            batch_restore(self.worker)
        else:
            self.visitor.replaced = 0
        return 0

    cdef int _stay_replaced(self) except -1:
        """Whatever the callout has done since: what has a clone is blocked for good."""
        self.answer.failed = 0
        self.block(clear_right=True, absorb=BY_SLOT[self.visitor.slot][0].absorb)
        return 0

    cdef bint _inject(self, object item, bytes whole, str direction, bint clone) except -1:
        if self._silent():
            return True
        return self.injections.inject(item, whole, direction, past=self._past(), clone=clone, interface=self._link())

    cdef object _injecting(self):
        """What is registered for the callout, if it may inject."""
        item = self._item()
        if self.injections is None or not getattr(item, "injects", False):
            raise ActionRefused("nothing can be injected", hint="say `injects = True` in the callout's class")
        return item

    cdef object _past(self):
        return self.injections.past_of(self.visitor.input.mark if self.visitor.input.has_mark else 0, self._arrived())

    cdef uint32_t _link(self) noexcept:
        """The interface that an IPv6 link-local destination is taken to be at."""
        return self.visitor.input.out_interface or self.visitor.input.in_interface

    cdef bint _silent(self) noexcept:
        """In audit mode everything passes as it was."""
        return self.snapshot.policy.audit
