"""Which back end is taken, and what stop and purge do with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfpd.errors import KernelError
from wfpd.netfilter import rules
from wfpd.netfilter.iptables import Iptables
from wfpd.netfilter.rules import Commands, Held, RuleSet, choose
from wfpd.netfilter.ruleset import QueueRule


def having(directory: Path, *tools: str) -> Commands:
    for tool in tools:
        (directory / tool).write_text("#!/bin/sh\n")
        (directory / tool).chmod(0o755)
    return Commands(search_path=str(directory))


def test_auto_takes_iptables_nft_where_it_is_installed(tmp_path: Path) -> None:
    assert choose("auto", having(tmp_path, "nft", "iptables-nft-restore", "iptables-restore")).name == "iptables"


def test_auto_takes_nft_rather_than_an_iptables_of_unknown_kind(tmp_path: Path) -> None:
    assert choose("auto", having(tmp_path, "nft", "iptables-restore")).name == "nftables"


def test_a_named_backend_is_taken_or_missed_by_name(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="nft is not installed"):
        choose("nftables", having(tmp_path))
    with pytest.raises(KernelError, match="iptables is not installed"):
        choose("iptables", having(tmp_path))
    with pytest.raises(KernelError, match="neither"):
        choose("auto", having(tmp_path))
    with pytest.raises(KernelError, match="neither"):
        rules.purge(having(tmp_path))
    plain = choose("iptables", having(tmp_path, "iptables-restore"))
    assert isinstance(plain, Iptables)
    assert plain.variant == ""
    assert choose("nftables", having(tmp_path, "nft")).name == "nftables"


def test_a_clean_stop_touches_nothing_where_absence_blocks(tmp_path: Path) -> None:
    assert not rules.remove(RuleSet(bypass=False), having(tmp_path))


def test_nothing_to_install_and_nothing_there_changes_nothing(tmp_path: Path) -> None:
    commands = having(tmp_path, "iptables-nft-restore", "iptables-nft-save", "ip6tables-nft-save")
    assert not rules.install(RuleSet(), commands)
    assert rules.present(RuleSet(), commands) == ()
    assert rules.counters(commands) == {}
    assert rules.render(RuleSet(), commands) == ""


class Standing:
    """A back end where rules of ours stand, with the bypass flag or without, or none."""

    name = "iptables"

    def __init__(self, bypasses: bool | None) -> None:
        self._bypasses = bypasses
        self.installed: list[RuleSet] = []

    def bypasses(self) -> bool | None:
        return self._bypasses

    def install(self, ruleset: RuleSet) -> bool:
        self.installed.append(ruleset)
        return True


RULE = QueueRule("forward", (), (4,), 3, 4, "hosts", False)


@pytest.mark.parametrize(("stands", "served", "held"), [
    (None, (), Held.INSTALLED), (None, (4,), Held.INSTALLED), (False, (), Held.STAND), (False, (4,), Held.SERVED),
    (True, (), Held.INSTALLED), (True, (5,), Held.INSTALLED), (True, (3,), Held.SERVED),
])  # fmt: skip
def test_holding_adopts_what_blocks_replaces_what_bypasses_and_leaves_what_is_served(
    monkeypatch: pytest.MonkeyPatch, stands: bool | None, served: tuple[int, ...], held: Held
) -> None:
    backend = Standing(stands)
    monkeypatch.setattr(rules, "_all", lambda commands: [backend])
    monkeypatch.setattr(rules, "choose", lambda name, commands: backend)
    wanted = RuleSet((RULE,), bypass=True)
    assert rules.hold(wanted, lambda: served, Commands()) is held
    assert backend.installed == ([RuleSet((RULE,), bypass=False)] if held is Held.INSTALLED else [])


def test_holding_without_rules_to_hold_puts_nothing_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Standing(None)
    monkeypatch.setattr(rules, "_all", lambda commands: [backend])
    assert rules.hold(RuleSet(bypass=False), lambda: (), Commands()) is Held.NOTHING
    assert backend.installed == []
