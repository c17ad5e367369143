from wfpd.control.limits import REMEMBERED, SUBSCRIBERS, SUBSCRIBERS_OF_USER, Accounts, Budget, Places, Room


def test_what_is_used_beyond_the_share_has_to_be_waited_for() -> None:
    budget = Budget(share=0.1, burst=0.5)
    budget.charge(0.5, 100.0)
    assert budget.wait(100.0) == 0.0
    budget.charge(0.1, 100.0)
    assert abs(budget.wait(100.0) - 1.0) < 1e-9
    assert budget.wait(101.1) == 0.0


def test_time_that_was_not_used_is_not_saved_beyond_the_burst() -> None:
    budget = Budget(share=0.5, burst=0.5)
    budget.charge(1.0, 1000.0)
    assert budget.wait(1000.0) == 1.0


def test_room_is_taken_and_given_back() -> None:
    room = Room(10)
    assert room.take(10) and not room.take(1)
    room.give(3)
    assert room.take(3) and not room.take(1)


def test_one_user_has_so_many_places_and_those_kept_back_are_for_administrators() -> None:
    accounts = Accounts(Places(total=10, reserved=4, of_user=5))
    one, other, root = accounts.of(1, False), accounts.of(2, False), accounts.of(0, True)
    assert [accounts.take_place(one) for _ in range(6)] == [True] * 5 + [False]
    assert [accounts.take_place(other) for _ in range(2)] == [True, False]
    assert [accounts.take_place(root) for _ in range(5)] == [True] * 4 + [False]
    accounts.leave(one)
    assert accounts.take_place(other) and not accounts.take_place(one)


def test_debts_outlive_connections_and_forgotten_users_are_those_without_any() -> None:
    accounts = Accounts()
    debtor = accounts.of(1, False)
    assert accounts.take_place(debtor)
    debtor.charge(10.0, 0.0)
    accounts.leave(debtor)
    assert accounts.of(1, False).wait(0.0) > 1.0
    kept = accounts.of(2, False)
    assert accounts.take_place(kept)
    for uid in range(100, 100 + REMEMBERED):
        accounts.of(uid, False)
    assert accounts.of(2, False) is kept
    assert len(accounts._accounts) <= REMEMBERED


def test_all_who_do_not_administer_share_one_budget_and_administrators_have_none() -> None:
    accounts = Accounts()
    for uid in range(1, 11):
        accounts.of(uid, False).charge(0.2, 0.0)  # Each within their own.
    assert accounts.of(99, False).wait(0.0) > 1.0
    root = accounts.of(0, True)
    root.charge(1000.0, 0.0)
    assert root.wait(0.0) == 0.0


def test_subscribers_are_counted_for_each_user_and_for_all() -> None:
    accounts = Accounts()
    taken = [accounts.subscribe(accounts.of(uid, False)) for uid in range(10) for _ in range(SUBSCRIBERS_OF_USER + 1)]
    assert sum(taken) == SUBSCRIBERS and not taken[SUBSCRIBERS_OF_USER]
    assert accounts.subscribe(accounts.of(0, True))
    accounts.unsubscribe(accounts.of(0, False))
    assert accounts.subscribe(accounts.of(0, False))
