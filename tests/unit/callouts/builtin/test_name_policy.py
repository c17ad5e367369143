"""A list of names and the answers to what is found."""

from __future__ import annotations

import pathlib

import pytest

from wfpd.callouts.builtin.name_policy import NamePolicy

ANSWERS = {"listed": "reset", "unlisted": "permit"}


def test_names_come_from_the_option_and_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "names"
    path.write_text("*.b.example # why\n")
    policy = NamePolicy(["a.example"], str(path), ANSWERS)
    assert [policy.of_name(name) for name in (b"a.example", b"x.b.example", b"b.example")] == [
        "reset",
        "reset",
        "permit",
    ]
    assert NamePolicy("a.example", None, ANSWERS).of_name(b"A.EXAMPLE") == "reset"


def test_of_several_names_a_refused_one_decides() -> None:
    policy = NamePolicy("a.example", None, ANSWERS)
    assert policy.of_names([b"b.example", b"a.example"]) == "reset"
    assert policy.of_names([b"b.example", b"c.example"]) == "permit"


@pytest.mark.parametrize(
    ("names", "file", "answers", "said"),
    [
        (None, None, {}, "names, file: neither has a name"), ([], None, {}, "names, file"), (7, None, {}, "names: 7"),
        (["a b"], None, {}, "'a b' is no host name"), (None, "x", {}, "file: 'x' is no absolute path"),
        ("a", None, {"listed": "drop"}, "listed: 'drop' is none of continue, permit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_option(names: object, file: object, answers: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        NamePolicy(names, file, answers)  # type: ignore[arg-type]
