from wfpd.observe.hits import HitLedger


def test_filters_past_the_limit_are_counted_in_other() -> None:
    ledger = HitLedger(1)
    rows = ledger.update(1, ["a", "b"], {("a", "l", "block"): 3, ("b", "l", "block"): 4})
    assert rows == {("a", "l", "block"): 3, ("other", "l", "block"): 4}


def test_a_name_once_exported_stays_over_a_reload_that_removes_it() -> None:
    ledger = HitLedger(2)
    ledger.update(1, ["a"], {("a", "l", "block"): 3})
    assert ledger.update(2, ["b"], {("b", "l", "permit"): 1}) == {("a", "l", "block"): 3, ("b", "l", "permit"): 1}


def test_membership_does_not_change_within_a_generation() -> None:
    ledger = HitLedger(5)
    ledger.update(1, ["a"], {})
    assert ledger.update(1, ["a", "b"], {("b", "l", "permit"): 1}) == {("other", "l", "permit"): 1}


def test_other_never_falls_when_a_filter_gets_a_place_later() -> None:
    ledger = HitLedger(5)
    ledger.update(1, [], {("b", "l", "permit"): 7})
    rows = ledger.update(2, ["b"], {("b", "l", "permit"): 9})
    assert rows == {("other", "l", "permit"): 7, ("b", "l", "permit"): 2}


def test_a_filter_that_changed_under_its_name_goes_on_from_what_was_exported() -> None:
    ledger = HitLedger(10)
    key = ("web", "ipforward_v4", "permit")
    assert ledger.update(1, ["web"], {key: 100}) == {key: 100}
    assert ledger.update(2, ["web"], {key: 5}) == {key: 105}
    assert ledger.update(2, ["web"], {key: 7}) == {key: 107}


def test_a_filter_that_comes_back_begins_at_nothing() -> None:
    ledger = HitLedger(10)
    key = ("web", "ipforward_v4", "permit")
    ledger.update(1, ["web"], {key: 3})
    assert ledger.update(2, [], {}) == {key: 3}
    assert ledger.update(3, ["web"], {key: 5}) == {key: 8}
