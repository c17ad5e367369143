"""Which back end is taken, and what stop and purge do with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfpd.errors import KernelError
from wfpd.netfilter import rules
from wfpd.netfilter.iptables import Iptables
from wfpd.netfilter.rules import Commands, RuleSet, choose


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
