"""Which metadata a layer has."""

from __future__ import annotations

import pytest

from wfpd.model.layers import LAYERS
from wfpd.model.metadata import METADATA, metadata_of


@pytest.mark.parametrize("layer", [layer.name for layer in LAYERS])
def test_every_layer_has_its_metadata_and_a_twin_the_reason_too(layer: str) -> None:
    names = metadata_of(layer)
    assert len(set(names)) == len(names) > 0
    assert ("discard_reason" in names) == layer.endswith("_discard")


def test_what_stands_in_the_table_of_the_reference() -> None:
    assert metadata_of("inbound_ippacket_discard") == (
        "ip_header_size",
        "compartment_id",
        "fragment_data",
        "discard_reason",
    )
    assert "ale_classify_required" in METADATA["inbound_transport"]
    assert "ale_classify_required" not in METADATA["outbound_transport"]
    assert "ip_header_size" not in METADATA["ale_auth_connect"]
