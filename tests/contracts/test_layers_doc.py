"""docs/layers.md is what the schema says today."""

from __future__ import annotations

import pathlib

from wfpd.observe.layers_doc import layers_markdown

PAGE = pathlib.Path(__file__).parents[2] / "docs/layers.md"


def test_the_page_of_layers_is_generated_from_the_schema() -> None:
    assert PAGE.read_text() == layers_markdown(), "run: python -m wfpd.observe.layers_doc docs/layers.md"
