import re

from wfpd.control.status import build_status, render_status
from wfpd.model.policy import Faults
from wfpd.observe.counters import EngineCounters, QueueCounters, ReloadCounters

NOW = EngineCounters(
    queues={0: QueueCounters(queue_length=5, dropped_full=7), 1: QueueCounters(bound=False)},
    uninspected={"forward": 12}, flows=3, flows_max=262144,
    reload=ReloadCounters(hash="ab" * 32, generation=4, last_success_timestamp=1.7e9), enforcing=False,
)  # fmt: skip


def status() -> dict:
    return build_status(NOW, faults=Faults(), policy="/etc/wfpd/policy.yaml", rules={"forward": True, "input": False},
                        why_not=("12 packets passed uninspected at forward",))  # fmt: skip


def test_the_screen_shows_state_rules_losses_and_words() -> None:
    screen = render_status(status())
    for text in ("NOT ENFORCING", "uninspected", "MISSING", "generation  4", "absent permit", "UNBOUND", "12"):
        assert text in screen
    assert "\x1b" not in screen


def test_the_screen_is_80_columns_wide_and_fits_in_24_lines() -> None:
    lines = render_status(status()).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24


def test_what_passed_uninspected_is_red_on_a_terminal() -> None:
    assert re.search(r"\x1b\[31;1m +12\x1b\[0m", render_status(status(), color=True))


def test_an_enforcing_daemon_says_so() -> None:
    quiet = EngineCounters(enforcing=True)
    screen = render_status(build_status(quiet, faults=Faults(), policy="p", rules={}))
    assert screen.startswith("wfpd 0.1.0: enforcing\n")
