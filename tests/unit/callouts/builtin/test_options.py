"""What the options of the callouts shipped may be."""

from __future__ import annotations

import os
import pathlib

import pytest

from wfpd.callouts.builtin import options


def test_what_fits_is_given_back() -> None:
    assert options.whole("n", 3, 1, 3) == 3 and options.word("w", "a", ("a", "b")) == "a"
    assert options.flag("f", False) is False
    assert options.texts("t", "one") == ["one"] and options.texts("t", ["a", "b"]) == ["a", "b"]
    assert options.texts("t", []) == []


@pytest.mark.parametrize("value", [0, 4, "3", 2.0, True, None])
def test_a_number_has_its_bounds_and_kind(value: object) -> None:
    with pytest.raises(ValueError, match=r"n: .* is no whole number from 1 to 3"):
        options.whole("n", value, 1, 3)


@pytest.mark.parametrize("value", ["c", 1, None, ["a"]])
def test_a_word_is_one_of_those_known(value: object) -> None:
    with pytest.raises(ValueError, match=r"w: .* is none of a, b"):
        options.word("w", value, ("a", "b"))


def test_flags_and_texts_are_no_other_things() -> None:
    with pytest.raises(ValueError, match="f: 'true' is neither"):
        options.flag("f", "true")
    for value in (1, None, {"a": 1}):
        with pytest.raises(ValueError, match=r"t: .* is neither a text nor a list"):
            options.texts("t", value)
    with pytest.raises(ValueError, match=r"t: 7 is no text; write it in quotes"):
        options.texts("t", ["a", 7])


def test_a_file_gives_its_lines_without_comments(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list"
    path.write_text("# head\n a.example  # why\n\nb.example\r\nc", encoding="utf-8")
    assert options.lines("file", str(path)) == ["a.example", "b.example", "c"]
    path.write_bytes(b"\xff\n")
    for wrong, said in (
        (str(path), "utf-8"),
        (str(tmp_path / "none"), "No such file"),
        ("list", "no absolute"),
        (1, "no absolute"),
    ):
        with pytest.raises(ValueError, match=f"file: .*{said}"):
            options.lines("file", wrong)


def test_a_file_is_a_regular_one_of_bounded_size(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", pathlib.Path("/dev/zero")):
        with pytest.raises(ValueError, match=r"file: .*no regular file"):
            options.lines("file", str(path))
    monkeypatch.setattr(options, "MOST_BYTES", 4)
    (tmp_path / "list").write_text("abc\n")
    assert options.lines("file", str(tmp_path / "list")) == ["abc"]
    (tmp_path / "list").write_text("abcd\n")
    with pytest.raises(ValueError, match=r"file: .*more than 4 bytes"):
        options.lines("file", str(tmp_path / "list"))
