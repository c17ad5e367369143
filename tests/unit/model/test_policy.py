"""The policy's values: keys that are the same on every host."""

from __future__ import annotations

import uuid

from wfpd.model.policy import NAMESPACE, Faults, Policy, Word, default_key


def test_a_default_key_depends_on_provider_kind_name_and_layer_alone() -> None:
    key = default_key("file", "filter", "web")
    assert key == default_key("file", "filter", "web") == uuid.uuid5(NAMESPACE, "file\0filter\0web")
    others = {default_key("x", "filter", "web"), default_key("file", "callout", "web"),
              default_key("file", "filter", "web", "ipforward_v4")}  # fmt: skip
    assert key not in others and len(others) == 3


def test_the_declared_words_permit_unless_said_otherwise() -> None:
    assert {Faults().on_absent, Faults().on_full, Faults().on_malformed} == {Word.PERMIT}
    assert Policy().faults == Faults() and Policy().daemon.metrics == "127.0.0.1:9477"
