"""The generated names of the fields."""

from __future__ import annotations

from wfpd.model.fields import FIELDS
from wfpd.model.generate import field_ids


def test_every_field_is_written_with_its_id_and_the_count_last() -> None:
    lines = [line.strip() for line in field_ids().splitlines()]
    assert f"FIELD_IP_PROTOCOL = {next(f.id for f in FIELDS if f.name == 'ip_protocol')}" in lines
    assert lines[-1] == f"N_FIELDS = {len(FIELDS)}"
