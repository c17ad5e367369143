"""Filters of a policy as rows: the door to `_rows.pyx`."""

from __future__ import annotations

from wfpd.model._rows import FilterRows
from wfpd.model.policy import Policy

__all__ = ["FilterRows", "rows_of"]


def rows_of(policy: Policy) -> FilterRows:
    """The policy's filters as rows; a policy that was read has them so already."""
    return policy.filters if isinstance(policy.filters, FilterRows) else FilterRows(policy.filters)
