"""The daemon: builds the parts, starts and stops them in order, and keeps watch."""

from __future__ import annotations


def run(path: str, *, audit: bool = False) -> int:
    """`wfpd run`: until stopped; its exit status."""
    from wfpd.daemon import service

    return service.run(path, audit=audit)
