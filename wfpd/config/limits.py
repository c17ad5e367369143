"""Limits on what a policy may ask of its reader; docs/config.md lists each with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds; past one the reader stops with an error that names it."""

    file_size: int = 64 << 20
    """Bytes of one policy file."""
    set_file_size: int = 256 << 20
    """Bytes of one set file."""
    total_size: int = 512 << 20
    """Bytes of all files together."""
    files: int = 1000
    """Policy files, the first one included."""
    include_depth: int = 8
    nesting: int = 32
    """Lists and mappings inside each other."""
    nodes: int = 20_000_000
    """Scalars, lists and mappings of one file."""
    filters: int = 1_000_000
    """Engine filters (one for each layer and family)."""
    objects: int = 4096
    """Objects of each other kind: sublayers, callouts, providers, contexts, sets, attachments."""
    set_entries: int = 5_000_000
    """Values of one set."""
    condition_values: int = 65_536
    """Values that one condition lists."""
    layers: int = 32
    """Entries of one filter's `layer` list."""
    name_length: int = 128
    """Characters."""
    text_length: int = 4096
    """Bytes of a description, path or text value."""
    problems: int = 10_000
    """Errors that are reported."""


DEFAULT = Limits()
