import logging
from dataclasses import replace

import pytest

from wfpd.control.handover import Compiled
from wfpd.control.reload import ReloadManager, changed_settings, policy_path
from wfpd.errors import ControlError, KernelError, Location, PolicyError, Problem
from wfpd.model.policy import DaemonSettings, Policy


class World:
    """Files, a daemon and a clock, all imagined."""

    def __init__(self) -> None:
        self.now = 100.0
        self.next: Compiled | Exception = compiled("one")
        self.published: list[tuple[str, int]] = []
        self.accepted: list[int] = []
        self.publish_error: Exception | None = None
        self.manager = ReloadManager(
            "/p.yaml", self.publish, compile=self.compile, accepted=lambda c, g: self.accepted.append(g),
            clock=lambda: self.now, wall=lambda: 1000 + self.now,
        )  # fmt: skip

    def compile(self, path: str) -> Compiled:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    def publish(self, found: Compiled) -> int:
        if self.publish_error:
            raise self.publish_error
        generation = len(self.published) + 1
        self.published.append((found.policy.hash, generation))
        return generation


def compiled(name: str, daemon: DaemonSettings | None = None) -> Compiled:
    return Compiled(Policy(hash=name, daemon=daemon or DaemonSettings()), memoryview(b""), frozenset(), (), 3)


@pytest.fixture
def world() -> World:
    world = World()
    world.manager.start()
    return world


def test_each_error_of_a_refused_policy_is_a_record_of_its_own_and_too_many_are_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.next = PolicyError([Problem("no such layer", Location("p.yaml", line), hint="none") for line in range(1, 24)])
    with caplog.at_level(logging.ERROR):
        world.manager.reload()
    assert [record.getMessage() for record in caplog.records][:2] == [
        "reload: refused, the old policy runs",
        "reload: p.yaml:1: no such layer\n  hint: none",
    ]
    assert caplog.records[-1].getMessage() == "reload: 3 more; `wfpd check` shows all of them"
    assert len(caplog.records) == 22


def test_good_bad_good_keeps_the_old_policy_in_between(world: World) -> None:
    world.next = PolicyError([Problem("no such layer", Location("p.yaml", 4))])
    bad = world.manager.reload()
    assert (bad.successful, bad.generation, bad.hash) == (False, 1, "one")
    assert "p.yaml:4" in str(bad.problems[0])
    assert not world.manager.counters().last_successful
    world.next = compiled("two")
    good = world.manager.reload()
    assert (good.successful, good.generation, good.hash) == (True, 2, "two")
    assert world.published == [("one", 1), ("two", 2)]
    counters = world.manager.counters()
    assert (counters.requests, counters.last_successful, counters.last_error) == (2, True, "")


def test_a_policy_that_cannot_be_published_is_refused(world: World) -> None:
    world.next, world.publish_error = compiled("two"), KernelError("queue 7 is taken")
    assert not world.manager.reload().successful
    assert world.manager.counters().hash == "one"


def test_an_unexpected_fault_leaves_the_old_policy_too(world: World) -> None:
    world.next = ZeroDivisionError()
    assert "ZeroDivisionError" in str(world.manager.reload().problems[0])


def test_an_unconfirmed_reload_rolls_back_when_its_time_is_over(world: World) -> None:
    world.next = compiled("two")
    assert world.manager.reload(confirm=60).confirm_within == 60
    assert world.accepted == [1]
    world.now += 59
    assert not world.manager.tick()
    world.now += 1
    assert world.manager.tick()
    assert world.published[-1] == ("one", 3)
    assert world.manager.confirm_remaining is None
    assert not world.manager.counters().last_successful


def test_a_confirmed_reload_stays(world: World) -> None:
    world.next = compiled("two")
    world.manager.reload(confirm=60)
    world.manager.confirm()
    world.now += 61
    assert not world.manager.tick()
    assert world.accepted == [1, 2]
    with pytest.raises(ControlError, match="no reload waits"):
        world.manager.confirm()


def test_a_second_unconfirmed_reload_goes_back_to_the_last_confirmed_policy(world: World) -> None:
    for name in ("two", "three"):
        world.next = compiled(name)
        world.manager.reload(confirm=60)
    world.now += 60
    world.manager.tick()
    assert world.published[-1] == ("one", 4)


def test_a_changed_daemon_key_asks_for_a_restart(world: World) -> None:
    world.next = compiled("two", DaemonSettings(workers=4, flows_max=7))
    assert world.manager.reload().restart_needed == ("flows.max", "workers")


def test_the_time_to_confirm_is_bounded(world: World) -> None:
    with pytest.raises(ControlError):
        world.manager.reload(confirm=0)


def test_a_result_can_be_sent_as_json(world: World) -> None:
    import json

    world.next = PolicyError([Problem("x")])
    assert json.loads(json.dumps(world.manager.reload().as_json()))["problems"][0]["text"] == "x"


def test_changed_settings_are_named_as_in_the_file() -> None:
    a = DaemonSettings()
    assert changed_settings(a, replace(a, control_path="/x", metrics="y")) == ("metrics", "control.path")


def test_the_policys_path_does_not_depend_on_the_later_working_directory() -> None:
    assert policy_path("p.yaml").startswith("/")
