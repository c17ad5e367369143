"""So many flows at once, as a story of flows that begin and end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.connection_limit import ConnectionLimit


def asked(layer: str, client: str, *, inbound: bool = True, context: Any = None) -> FakeContext:
    ends = ("ip_remote_address", "ip_local_address") if inbound else ("ip_local_address", "ip_remote_address")
    c = FakeContext(layer=layer, flow_context=context)
    c.values = {ends[0]: client, ends[1]: "server", "direction": int(inbound)}
    return c


class Host:
    """One callout with both filters."""

    def __init__(self, **options: Any) -> None:
        self.limit = ConnectionLimit(**options)
        self.flows: list[Any] = []

    def begin(self, client: str, *, inbound: bool = True) -> Any:
        layer = "ale_auth_recv_accept_v4" if inbound else "ale_auth_connect_v6"
        word = answer(self.limit, asked(layer, client, inbound=inbound))
        if word == "continue":
            c = asked("ale_flow_established_v4", client, inbound=inbound)
            assert answer(self.limit, c) == "continue"
            self.flows.append(c.flow_context)
        return word

    def end(self, place: int) -> None:
        self.limit.flow_delete(SimpleNamespace(context=self.flows.pop(place)))


@pytest.mark.parametrize("inbound", [True, False])
def test_each_source_has_its_own_number_of_flows(inbound: bool) -> None:
    host = Host(most=2)
    assert [host.begin("a", inbound=inbound) for _ in range(3)] == ["continue", "continue", "block"]
    assert host.begin("b", inbound=inbound) == "continue"
    host.end(0)
    assert [host.begin("a", inbound=inbound) for _ in range(2)] == ["continue", "block"]
    for _ in range(len(host.flows)):
        host.end(0)
    assert host.limit.counts == {}


def test_all_flows_together() -> None:
    host = Host(most=2, per="all", beyond="tcp_reset")
    assert [host.begin(client) for client in "abc"] == ["continue", "continue", ("block", {"reply": "tcp_reset"})]
    host.end(1)
    assert host.begin("c") == "continue"


def test_a_counted_flow_is_neither_counted_again_nor_refused_when_it_is_authorized_anew() -> None:
    host = Host(most=1, beyond="absorb")
    host.begin("a")
    assert answer(host.limit, asked("ale_auth_recv_accept_v4", "a", context=host.flows[0])) == "continue"
    assert answer(host.limit, asked("ale_flow_established_v4", "a", context=host.flows[0])) == "continue"
    assert list(host.limit.counts.values()) == [1]
    assert host.begin("a") == ("block", {"absorb": True})


@pytest.mark.parametrize("options", [{"most": 0}, {"most": 1, "per": "flow"}, {"most": 1, "beyond": "permit"}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{list(options)[-1]}"):
        ConnectionLimit(**options)
