"""After a failed start: what on_absent means now, and doing it.

A policy that loaded speaks for itself; for a broken one the words and rules of the last policy that
ran stand, kept in the state directory.  block: rules that stand stay, and where there are none (a
reboot took them away) they are put in place again, without the bypass flag.
"""

from __future__ import annotations

import logging

from wfpd.control.handover import Compiled
from wfpd.control.state import State
from wfpd.daemon.life import planned
from wfpd.errors import WfpdError
from wfpd.model.policy import Word
from wfpd.netfilter import proc, rules
from wfpd.netfilter.commands import Commands

logger = logging.getLogger("wfpd")


def obey(state: State, compiled: Compiled | None, commands: Commands | None = None) -> rules.Held | None:
    """Do what the words say, and log it.  None: they say permit, or nothing could be done."""
    whose = "this policy" if compiled is not None else "the last accepted policy"
    try:
        ruleset = _ruleset(state, compiled)
        if ruleset is None:
            return None
        held = rules.hold(ruleset, proc.queues, commands or Commands())
    except WfpdError as error:
        logger.error("on_absent: block (%s), but its rules could not be put in place: %s", whose, error.message)
        return None
    hooks = ", ".join(ruleset.hooks)
    if held in (rules.Held.STAND, rules.Held.INSTALLED):
        logger.error("on_absent: block (%s): %s; packets at %s are dropped until wfpd runs; "
                     "`wfpd purge` takes the rules away", whose, held.value, hooks or "their hooks")  # fmt: skip
    else:
        logger.error("on_absent: block (%s): %s", whose, held.value)
    return held


def _ruleset(state: State, compiled: Compiled | None) -> rules.RuleSet | None:
    """The rules that have to stand; None if packets may pass."""
    if compiled is not None:
        return planned(compiled) if compiled.policy.faults.on_absent is Word.BLOCK else None
    kept = state.load()
    if kept is None or kept.faults.on_absent is not Word.BLOCK:
        return None
    # An older version kept words only: rules that stand stay, and there is nothing to put in place.
    return kept.ruleset or rules.RuleSet(bypass=False)
