"""RuleSet to nft text, and a listing back to counters and status."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.netfilter.plans import EVERY, GOLDEN, planned
from wfpd.model.policy import Attachment, Faults, Word
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.nftables import Nftables, table_text
from wfpd.netfilter.ruleset import RuleSet


@pytest.mark.parametrize("absent", [Word.PERMIT, Word.BLOCK])
def test_the_table_for_every_hook_is_the_golden_one(absent: Word) -> None:
    golden = GOLDEN / f"nftables_{absent.name.lower()}.nft"
    assert table_text(planned(*EVERY, faults=Faults(on_absent=absent))) == golden.read_text()


def test_with_callouts_that_inject_the_rules_heed_the_marks_of_their_packets() -> None:
    ruleset = replace(planned(*EVERY), injects=True)
    assert table_text(ruleset) == (GOLDEN / "nftables_injects.nft").read_text()


def test_nothing_attached_takes_the_table_away() -> None:
    assert table_text(planned()) == "add table inet wfpd\ndelete table inet wfpd\n"


def listing_of(ruleset: RuleSet, packets: int = 5) -> str:
    """What `nft -j list table inet wfpd` would show: chains, and a rule object a line."""
    entries: list[dict[str, object]] = [
        {"metainfo": {"json_schema_version": 1}},
        {"table": {"family": "inet", "name": "wfpd"}},
    ]
    chain = ""
    for line in table_text(ruleset).splitlines()[3:]:
        words = line.split()
        if line.startswith("\tchain"):
            chain = words[1]
            entries.append({"chain": {"family": "inet", "table": "wfpd", "name": chain}})
        elif line.startswith("\t\t") and words[0] != "type":
            expressions: list[object] = [{"counter": {"packets": packets, "bytes": 1}}] if "counter" in words else []
            expressions += [{"queue": {"num": 0}}] if "queue" in words else []
            entries.append(
                {"rule": {"chain": chain, "expr": expressions, "comment": line.partition('comment "')[2].rstrip('"')}}
            )
    return json.dumps({"nftables": entries})


class Fake:
    """Stands for Commands with a table that is there or not."""

    def __init__(self, listing: str = "") -> None:
        self.listing = listing
        self.written: list[str] = []

    def run(self, argv: list[str], stdin: str = "") -> str:
        if argv[:4] == ["nft", "-j", "list", "tables"]:
            tables = [{"table": {"family": "inet", "name": "wfpd"}}] if self.listing else []
            return json.dumps({"nftables": tables})
        if argv[:3] == ["nft", "-j", "list"]:
            return self.listing
        self.written.append(stdin)
        return ""


def test_counters_are_summed_over_the_queue_rules_of_a_hook() -> None:
    counters = Nftables(Fake(listing_of(planned(*EVERY)))).counters()  # type: ignore[arg-type]
    assert counters == {"forward": 20, "input": 5, "output": 5, "prerouting": 5, "postrouting": 5}


def test_an_equal_table_is_adopted_and_another_replaced() -> None:
    ruleset = planned(*EVERY)
    fake = Fake(listing_of(ruleset))
    backend = Nftables(fake)  # type: ignore[arg-type]
    assert not backend.install(ruleset)
    assert all(status.in_place for status in backend.present(ruleset))
    other = planned(Attachment("forward"))
    assert not any(status.in_place for status in backend.present(other))
    assert backend.install(other)
    assert fake.written == [table_text(other)]


def test_purge_deletes_the_table_only_if_it_is_there() -> None:
    fake = Fake(listing_of(planned(*EVERY)))
    assert Nftables(fake).purge()  # type: ignore[arg-type]
    assert fake.written == [table_text(planned())]
    assert not Nftables(Fake()).purge()  # type: ignore[arg-type]


@pytest.mark.parametrize(("flags", "expected"), [({"flags": "bypass"}, True), ({"flags": ["fanout", "bypass"]}, True),
                                                 ({}, False), (None, False)])  # fmt: skip
def test_whether_what_stands_bypasses_is_read_from_the_queue_rules(
    monkeypatch: pytest.MonkeyPatch, flags: object, expected: bool
) -> None:
    backend = Nftables(Commands())
    queue = flags if flags is None else {"num": 0, **flags}  # type: ignore[dict-item]
    monkeypatch.setattr(backend, "_listing", lambda: [{"rule": {"chain": "input", "expr": [{"queue": queue}]}}])
    assert backend.bypasses() is expected
    monkeypatch.setattr(backend, "_listing", lambda: [{"chain": {"name": "input"}}])
    assert backend.bypasses() is None
