import re

from wfpd.control.status import reasons, render_status


def status(**changed: object) -> dict:
    queue = {"queue": 0, "bound": True, "length": 5, "permitted": 10**9, "blocked": 8, "dropped_full": 7,
             "dropped_user": 0, "socket_drops": 0, "id_gaps": 0, "truncated": 0}  # fmt: skip
    return {
        "version": "0.1.0", "pid": 4194304, "policy": "/etc/wfpd/policy.yaml", "enforcing": False, "audit": False,
        "generation": 4, "hash": "ab" * 32, "uptime_seconds": 90061.5,
        "hooks": [{"hook": "forward", "rules": True, "problem": "", "uninspected": 12},
                  {"hook": "input", "rules": False, "problem": "", "uninspected": 0},
                  {"hook": "output", "rules": False, "problem": "no filter needs it: not queued", "uninspected": 0}],
        "queues": [queue, queue | {"queue": 1, "bound": False}],
        "flows": {"used": 3, "max": 262144},
        "reload": {"last_successful": True, "last_success_timestamp": 1.7e9, "last_error": "",
                   "confirm_remaining": None},
        "words": dict.fromkeys(("on_absent", "on_full", "on_late", "on_error", "on_malformed"), "permit"),
        "rules_error": "",
    } | changed  # fmt: skip


def test_the_screen_shows_state_rules_losses_and_words() -> None:
    screen = render_status(status())
    for text in (
        "NOT ENFORCING",
        "uninspected",
        "MISSING",
        "not needed",
        "generation  4",
        "permit: on_absent",
        "UNBOUND",
    ):
        assert text in screen
    assert "\x1b" not in screen


def test_the_screen_is_80_columns_wide_and_fits_in_24_lines() -> None:
    lines = render_status(status()).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24


def test_what_passed_uninspected_is_red_on_a_terminal() -> None:
    assert re.search(r"\x1b\[31;1m +12\x1b\[0m", render_status(status(), color=True))


def test_an_enforcing_daemon_says_so_and_gives_no_reason() -> None:
    quiet = status(enforcing=True, hooks=[], queues=[])
    assert render_status(quiet).startswith("wfpd 0.1.0: enforcing\npolicy ")
    assert reasons(quiet) == []


def test_a_refused_reload_and_one_that_waits_are_said() -> None:
    reload = {"last_successful": False, "last_success_timestamp": 0, "last_error": "p:3: no", "confirm_remaining": 30.0}
    screen = render_status(status(reload=reload))
    assert "LAST REFUSED: p:3: no" in screen


def test_why_it_does_not_enforce_stands_under_the_headline_each_line_whole() -> None:
    why = ["queue 3 is not bound", "the rules at input (IPv4) are shadowed by -A INPUT " + "-m x " * 20 + "-j ACCEPT"]
    lines = render_status(status(why_not=why)).splitlines()
    assert lines[:2] == ["wfpd 0.1.0: NOT ENFORCING", "  not enforcing: queue 3 is not bound"]
    assert max(map(len, lines)) <= 80 and any(line.endswith("-j ACCEPT") for line in lines)


def test_a_hook_whose_rules_are_shadowed_is_not_called_missing() -> None:
    hook = {"hook": "input", "rules": False, "problem": "-A INPUT -j ACCEPT", "uninspected": 0}
    screen = render_status(status(hooks=[hook], why_not=[]))
    assert "SHADOWED" in screen and "MISSING" not in screen


def test_each_word_stands_under_its_choice_and_the_line_fits() -> None:
    mixed = dict.fromkeys(("on_absent", "on_full"), "block") | dict.fromkeys(
        ("on_late", "on_error", "on_malformed"), "permit"
    )
    line = next(line for line in render_status(status(words=mixed)).splitlines() if line.startswith("faults"))
    assert line.split(None, 1)[1] == "block: on_absent, on_full  permit: on_late, on_error, on_malformed"
    assert len(line) <= 80


def test_a_long_refusal_is_wrapped_and_the_last_good_load_still_stands() -> None:
    reload = {"last_successful": False, "last_success_timestamp": 1.7e9, "confirm_remaining": None,
              "last_error": "/etc/wfpd/policy.yaml:41: " + "word " * 60}  # fmt: skip
    screen = render_status(status(reload=reload))
    assert "loaded      2023-" in screen and "LAST REFUSED: /etc/wfpd/policy.yaml:41:" in screen
    assert max(map(len, screen.splitlines())) <= 80


def test_a_hook_says_which_queues_are_its() -> None:
    hook = {"hook": "input", "rules": True, "problem": "", "uninspected": 0, "queues": [0, 1, 2, 7]}
    assert re.search(r"^input +present +0-2, 7 +0$", render_status(status(hooks=[hook])), re.MULTILINE)
