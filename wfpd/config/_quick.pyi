"""Typed surface of `_quick.pyx`."""

from collections.abc import Callable

from wfpd.config._tape import Items
from wfpd.config.filters import FilterReader
from wfpd.config.nodes import Node
from wfpd.config.report import Speaker
from wfpd.model.fields import Field

class QuickReader:
    def __init__(self, reader: FilterReader, top_of: Callable[[Field], int]) -> None: ...
    def read(self, speaker: Speaker, items: Items, left: Callable[[Speaker, Node], None]) -> None: ...
