import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.cli import tables
from wfpd.cli.tables import Column, Table


def test_columns_are_aligned_and_numbers_stand_right() -> None:
    table = Table([Column("name", tables.of("name")), Column("hits", tables.of("hits"), right=True)])
    assert table.lines([{"name": "a", "hits": 5}, {"name": "longer"}]) == [
        "name    hits", "a          5", "longer     -"]  # fmt: skip
    assert table.lines([{"name": "b", "hits": 12345}]) == ["b       12345"], "later rows keep the first ones' widths"


def test_a_line_is_cut_only_where_a_width_is_given() -> None:
    columns = [Column("name", tables.of("name")), Column("why", tables.of("why"))]
    row = {"name": "x" * 30, "why": "y" * 30}
    assert len(Table(columns).lines([row])[1]) == 62
    lines = Table(columns, 40).lines([row])
    assert [len(line) for line in lines] == [35, 40] and lines[1].endswith("y…")
    assert Table(columns, 3).lines([row])[1] == "xx…"


@pytest.mark.parametrize("bad", ["\x1b[31mred", "two\nlines", "a\tb", "\x9b2J", "\u202eright", "\u2028", "\r"])
def test_nothing_that_moves_the_cursor_gets_through(bad: str) -> None:
    (_, line) = Table([Column("name", tables.of("name"))]).lines([{"name": bad}])
    assert line.isprintable() and "\\" in line


def test_wide_characters_take_two_columns() -> None:
    table = Table([Column("name", tables.of("name")), Column("n", tables.of("n"))])
    rows = [{"name": "策略", "n": 1}, {"name": "e\u0301a", "n": 2}]
    assert table.lines(rows) == ["name  n", "策略  1", "e\u0301a    2"]
    assert tables.cut("策略規則", 5) == "策略…"
    assert (tables.cut("策略規則", 4), tables.cut("abc", 3), tables.cut("abc", 0)) == ("策…", "abc", "")


def test_times_are_said_as_how_long_ago() -> None:
    said = [tables.ago(then, 100_000) for then in (99_997, 100_050, 99_880, 92_800, 10_000, 0, None)]
    assert said == ["3 s ago", "0 s ago", "2 min ago", "2 h ago", "1 d ago", "1 d ago", "never"]


def test_weights_are_hexadecimal_however_they_come() -> None:
    assert tables.weight(7 << 60, 64) == tables.weight(str(7 << 60), 64) == "0x7000000000000000"
    assert (tables.weight("0x10", 16), tables.weight(None, 16), tables.weight("odd", 16)) == ("0x0010", "-", "odd")


def test_conditions_are_written_as_a_command_line_takes_them() -> None:
    when = {"ip_protocol": "tcp", "ip_local_port": 22, "ip_remote_address": {"none_of": ["192.0.2.0/24"]},
            "ip_remote_port": ["80", 443]}  # fmt: skip
    assert tables.conditions(when) == (
        'ip_protocol=tcp ip_local_port=22 ip_remote_address={"none_of":["192.0.2.0/24"]} ip_remote_port=[80,443]'
    )
    assert (tables.conditions(None), tables.conditions({})) == ("", "")


def test_values_are_said_plainly() -> None:
    said = [tables.value(found) for found in (None, "", True, False, 0, [], ["a", 2], {"a": 1}, "text")]
    assert said == ["-", "-", "yes", "no", "0", "-", "a, 2", '{"a": 1}', "text"]


def test_only_a_terminal_has_a_width(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert tables.terminal_width() is None
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert tables.terminal_width() == 77


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.integers(1, 60))
def test_any_names_at_all_make_lines_of_one_row_that_fit(rows: list[tuple[str, str]], width: int) -> None:
    columns = [Column("name", tables.of("name")), Column("why", tables.of("why"))]
    lines = Table(columns, width).lines([{"name": name, "why": why} for name, why in rows])
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() and tables.width_of(line) <= width for line in lines)
