import time

import pytest

from wfpd.cli import kinds
from wfpd.cli.tables import Table

FILTER = {
    "key": "k", "id": 7, "name": "ssh", "layer": "ale_auth_recv_accept_v4", "sublayer": "perimeter",
    "weight": 7 << 60 | 1,
    "action": "block", "callout": None, "when": {"ip_protocol": "tcp"}, "hits": 12, "last_hit": 95,
}  # fmt: skip


def cells(kind: kinds.Kind, item: dict) -> dict[str, str]:
    return {column.title: column.text(item) for column in kind.columns}


def test_a_filter_s_row_has_its_effective_weight_with_the_range_and_its_hits(monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 100.0)
    assert cells(kinds.FILTERS, FILTER) == {
        "name": "ssh", "layer": "ale_auth_recv_accept_v4", "sublayer": "perimeter",
    "weight": "0x7000000000000001",
        "range": "7", "action": "block", "hits": "12", "last hit": "5 s ago", "key": "k", "when": "ip_protocol=tcp",
    }  # fmt: skip
    action = {"callout": "dns", "kind": "terminating"}
    called = cells(kinds.FILTERS, FILTER | {"action": action, "callout": "dns", "last_hit": None})
    assert (called["action"], called["last hit"]) == ("callout dns (terminating)", "never")


def test_a_sublayer_s_row_has_both_weights() -> None:
    row = cells(kinds.SUBLAYERS, {"name": "s", "weight": 0x9001, "requested_weight": 0x9000, "n_filters": 3})
    assert (row["weight"], row["requested"], row["filters"]) == ("0x9001", "0x9000", "3")


@pytest.mark.parametrize("kind", [kinds.FILTERS, kinds.SUBLAYERS, kinds.PROVIDERS, kinds.PROVIDER_CONTEXTS,
                                  kinds.CALLOUTS])  # fmt: skip
def test_an_object_that_lacks_everything_is_a_row_of_dashes(kind: kinds.Kind) -> None:
    line = Table(kind.columns).lines([{}])[1]
    assert set(line.replace("never", "").split()) == {"-"}
