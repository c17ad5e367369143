"""Accounts of debug builds count what they say; other builds keep none."""

from __future__ import annotations

import gc
import os

from tests.accounts import read_accounts
from wfpd.dataplane import Flows
from wfpd.dataplane._netlink import plan_verdicts

KEPT = os.environ.get("WFPD_BUILD", "release") in ("debug", "sanitize")


def test_memory_counts_while_it_is_used() -> None:
    before = read_accounts()
    assert (before is not None) == KEPT
    flows = Flows()
    during = read_accounts()
    del flows
    gc.collect()
    after = read_accounts()
    if before and during and after:
        assert during.memory > before.memory
        assert after.memory == before.memory
        assert after.allocated == during.allocated


def test_a_packet_is_decided_once_and_one_that_had_its_verdict_is_not_counted() -> None:
    before = read_accounts()
    plan_verdicts([(1, 1, None, False), (2, 0, None, False), (3, 1, 7, False), (4, 1, None, True), (9, 1, None, False)])
    after = read_accounts()
    if before and after:
        assert after.received - before.received == 4
        assert after.verdicts - before.verdicts == 4
