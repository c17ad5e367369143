"""Every limit is listed in the documentation with its default."""

import dataclasses
import pathlib

from wfpd.config.limits import DEFAULT

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "config.md"


def test_every_limit_is_in_the_documentation():
    table = PAGE.read_text().split("## Limits")[1].split("## Lints")[0]
    for field in dataclasses.fields(DEFAULT):
        assert f"| {getattr(DEFAULT, field.name):,} |" in table, field.name
