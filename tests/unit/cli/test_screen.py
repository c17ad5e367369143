from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.readings import START, hot, queue, reading
from wfpd.cli import screen
from wfpd.cli.rates import View
from wfpd.cli.screen import BAD, lines, sparkline, text
from wfpd.cli.tables import width_of

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "top_80x24.txt"


def busy() -> View:
    """A gateway under load that loses packets, with names that are not nice."""
    view = View()
    for step in range(41):
        view.take(reading(
            3600 + step, permit=1_200_000 * step * (step % 7 + 3), block=40 * step * step, generation=12,
            uninspected={"forward": 7, "input": 0}, vetoes={"ipforward_v4": 3},
            flows={"count": 123_456, "max": 262_144},
            queues=[queue(0, length=17, permitted=600_000 * step, blocked=20 * step),
                    queue(1, length=65_535, permitted=600_000 * step, dropped_full=3 * step, bound=False),
                    *(queue(number) for number in range(2, 9))],
            filters=[hot("telnet", 7 * step, START + 3600 + step - 5), hot("old", 1_234_567_890, START + 10),
                     hot("evil\x1b[2J[red]name[/red] that is far too long", 100_000 * step),
                     hot("never", 0, action="callout_terminating", layer="inbound_transport_v6_discard"),
                     hot("規則", 3, START + 3000), *(hot(f"quiet{number:02}", 1, START) for number in range(30))],
        ))  # fmt: skip
    return view


def test_a_fixed_reading_is_this_screen_of_80_by_24() -> None:
    found = text(lines(busy(), 80, 24))
    assert found + "\n" == GOLDEN.read_text()
    rows = found.split("\n")
    assert len(rows) == 24
    assert all(row.isprintable() and width_of(row) <= 80 for row in rows)


def test_losses_and_what_passed_uninspected_are_red() -> None:
    red = [piece.strip() for line in lines(busy(), 80, 24) for piece, style in line if style == BAD]
    assert red == ["7", "1!", "120"]
    view = View()
    view.take(reading(1, enforcing=False))
    assert [piece for line in lines(view, 80, 24) for piece, style in line if style == BAD] == ["NOT ENFORCING"]


def test_before_the_second_reading_rates_are_not_known() -> None:
    view = View()
    view.take(reading(1, 1000, filters=[hot("a", 3, START)]))
    shown = text(lines(view, 80, 24)).splitlines()
    assert shown[1].split() == ["permit", "-/s", "total", "1,000"]
    assert shown[-1].split() == ["a", "ale_auth_recv_accept_v4", "block", "-", "3", "1", "s"]


def test_the_hottest_by_rate_come_first_and_then_by_hits() -> None:
    view = View()
    view.take(reading(1, filters=[hot("cold", 1000), hot("warm", 10), hot("zero", 5)]))
    view.take(reading(2, filters=[hot("cold", 1000), hot("warm", 30), hot("zero", 5), hot("new", 1001)]))
    assert [line.split()[0] for line in text(lines(view, 80, 24)).splitlines()[-4:]] == ["warm", "new", "cold", "zero"]


def test_queues_that_have_no_room_are_summed_and_those_that_lose_are_shown() -> None:
    view = View()
    view.take(reading(1, queues=[queue(number, length=number, id_gaps=number == 3) for number in range(20)]))
    shown = text(lines(view, 80, 24)).splitlines()
    rows = shown[6:12]
    assert [row.split()[0] for row in rows[:-1]] == ["3", "16", "17", "18", "19"]
    assert rows[-1] == f"15 more, {sum(range(16)) - 3} waiting, 0 lost"


def test_a_daemon_that_is_away_is_said_above_its_last_reading() -> None:
    view = View()
    view.problem = "cannot reach wfpd"
    assert text(lines(view, 80, 24)) == "cannot reach wfpd"
    view.take(reading(1))
    view.problem = "wfpd closed the connection"
    assert "wfpd closed the connection" in text(lines(view, 80, 24)).splitlines()


@pytest.mark.parametrize(("values", "line"), [([], ""), ([0.0, 0.0], "  "), ([1.0, 0.0, 7.0, 3.5], ". #="),
                                              ([0.001, 1e9], ".#")])  # fmt: skip
def test_a_sparkline_has_one_character_a_value(values: list[float], line: str) -> None:
    assert sparkline(values) == line


@pytest.mark.parametrize(("value", "columns", "said"), [
    (0, 8, "       0"), (999_999, 8, " 999,999"), (1_234_567, 8, "  1,234k"), (1 << 63, 8, "  9,223P"),
    (10**30, 8, "    many"),
])  # fmt: skip
def test_a_count_is_shortened_where_it_would_not_fit(value: int, columns: int, said: str) -> None:
    assert screen._count(value, columns) == said


@given(st.integers(0, 200), st.integers(0, 60), st.lists(st.text(max_size=60), max_size=4), st.integers(0, 1 << 64),
       st.integers(0, 40), st.booleans())  # fmt: skip
def test_on_a_terminal_of_any_size_nothing_is_wider_or_higher(
    width: int, height: int, names: list[str], number: int, n_queues: int, away: bool
) -> None:
    view = View()
    more: dict[str, Any] = {"queues": [queue(item, permitted=number, id_gaps=number) for item in range(n_queues)],
                            "filters": [hot(name, number, layer=name, action=name) for name in names]}  # fmt: skip
    view.take(reading(1, number, number, **more))
    view.take(reading(number % 1000, number, number, **more))
    view.problem = "".join(names) if away else ""
    found = lines(view, width, height)
    assert len(found) <= height
    for line in found:
        shown = "".join(piece for piece, _ in line)
        assert shown.isprintable() and width_of(shown) <= width
