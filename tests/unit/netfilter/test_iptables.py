"""RuleSet to iptables-restore text, and what is found back to a status."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.netfilter.plans import EVERY, GOLDEN, planned
from wfpd.errors import KernelError
from wfpd.model.policy import Attachment, Faults, Word
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.iptables import Iptables, hook_status, queue_counters, stands, transaction, wanted
from wfpd.netfilter.ruleset import RuleSet
from wfpd.netfilter.xtables_save import Tables, parse_save


def saved(ruleset: RuleSet, family: int = 4, extra: str = "") -> Tables:
    """What iptables-save would print after the transaction, roughly: -I rules first."""
    text, heads = [], []
    for line in (transaction(wanted(ruleset, family), {}) + extra).splitlines():
        if line.startswith("-I"):
            heads.append(line.replace("-I", "-A", 1).replace(" 1 ", " ", 1))
        elif line == "COMMIT":
            text += heads
            heads = []
        else:
            text.append(line)
    return parse_save("\n".join(text))


@pytest.mark.parametrize("absent", [Word.PERMIT, Word.BLOCK])
def test_the_rules_for_every_hook_are_the_golden_ones(absent: Word) -> None:
    golden = GOLDEN / f"iptables_{absent.name.lower()}.txt"
    text = Iptables(Commands()).render(planned(*EVERY, faults=Faults(on_absent=absent)))
    assert text == golden.read_text()


def test_with_callouts_that_inject_the_rules_heed_the_marks_of_their_packets() -> None:
    ruleset = replace(planned(*EVERY), injects=True)
    assert Iptables(Commands()).render(ruleset) == (GOLDEN / "iptables_injects.txt").read_text()


def test_nothing_attached_is_an_empty_transaction() -> None:
    assert transaction(wanted(planned(), 4), {}) == ""
    assert stands(wanted(planned(), 4), {})


def test_what_was_put_in_place_stands_and_is_in_place() -> None:
    ruleset = planned(*EVERY)
    found = saved(ruleset)
    assert stands(wanted(ruleset, 4), found)
    for hook in ("input", "forward", "output", "postrouting"):
        status = hook_status(ruleset, hook, 4, found)
        assert status.in_place
        assert status.last


def test_other_rules_of_ours_are_taken_out_in_the_same_transaction() -> None:
    old, new = planned(*EVERY), planned(Attachment("forward"))
    text = transaction(wanted(new, 4), saved(old))
    assert not stands(wanted(new, 4), saved(old))
    mangle, filter_ = text.split("*filter")
    assert f'-D INPUT -m comment --comment "wfpd input {old.fingerprint}" -j WFPD_IN' in mangle
    assert "-X WFPD_IN_Q0_2" in mangle
    assert "-X WFPD_OUT_ACT" in filter_
    assert mangle.index("-D FORWARD") < mangle.index("-A FORWARD")
    assert mangle.count("COMMIT") == 1


def test_foreign_rules_are_left_out_of_the_transaction() -> None:
    foreign = parse_save("*mangle\n:FORWARD ACCEPT [0:0]\n:X - [0:0]\n-A FORWARD -j X\n")
    text = transaction(wanted(planned(Attachment("forward")), 4), foreign)
    assert "-D" not in text
    assert " X" not in text


def test_a_missing_or_changed_part_does_not_stand() -> None:
    ruleset = planned(*EVERY)
    good = wanted(ruleset, 4)
    for spoil in ("WFPD_FWD", "WFPD_FWD_Q0", "FORWARD"):
        found = saved(ruleset)
        found["mangle"][spoil].pop()
        assert not stands(good, found)
        assert not hook_status(ruleset, "forward", 4, found).in_place
    found = saved(ruleset)
    found["filter"]["FORWARD"].clear()
    assert not stands(good, found)
    assert not hook_status(ruleset, "forward", 4, found).acts


def test_a_jump_out_of_position_is_replaced_and_what_shadows_it_named() -> None:
    ruleset = planned(Attachment("forward"))
    found = saved(ruleset)
    accept = parse_save("*mangle\n-A FORWARD -j ACCEPT\n")["mangle"]["FORWARD"][0]
    found["mangle"]["FORWARD"].append(accept)
    assert not hook_status(ruleset, "forward", 4, found).last
    assert hook_status(ruleset, "forward", 4, found).in_place
    assert not stands(wanted(ruleset, 4), found)
    found["mangle"]["FORWARD"].insert(0, accept)
    found["filter"]["FORWARD"].insert(0, accept)
    status = hook_status(ruleset, "forward", 4, found)
    assert status.shadowed_by == status.acts_shadowed_by == "-A FORWARD -j ACCEPT"
    assert not status.in_place


def test_counters_are_summed_over_the_queue_rules_of_a_hook() -> None:
    text = """*mangle
:WFPD_IN_Q0 - [0:0]
[9:9] -A WFPD_IN_Q0 -m mark ! --mark 0x0/0xfff00000 -j MARK --set-xmark 0x0/0xfff00000
[1:9] -A WFPD_IN_Q0 -m bpf --bytecode "1,6 0 0 1" -g WFPD_IN_Q0_0
[3:9] -A WFPD_IN_Q0_0 -m comment --comment "wfpd input" -j NFQUEUE --queue-num 4
[4:9] -A WFPD_IN_Q0_1 -m comment --comment "wfpd input" -j NFQUEUE --queue-num 5
[5:9] -A WFPD_FWD_Q0 -j NFQUEUE --queue-num 0
[7:9] -A FORWARD -j NFQUEUE --queue-num 0
"""
    assert queue_counters(parse_save(text)) == {"input": 7, "forward": 5}


class Fake:
    """Stands for Commands: answers save with a text, refuses restores of a family."""

    def __init__(self, refuse: str = "") -> None:
        self.refuse = refuse
        self.saves = {"iptables-nft-save": "", "ip6tables-nft-save": ""}
        self.restores: list[tuple[str, str]] = []

    def run(self, argv: list[str], stdin: str = "") -> str:
        if argv[0] in self.saves:
            return self.saves[argv[0]]
        if argv[0] == self.refuse:
            raise KernelError("refused")
        self.restores.append((argv[0], stdin))
        self.saves[argv[0].replace("restore", "save")] = stdin
        return ""


def test_a_jump_that_another_tool_took_away_meanwhile_is_no_failure() -> None:
    class Raced(Fake):
        """The rules vanish between listing and commit."""

        def run(self, argv: list[str], stdin: str = "") -> str:
            if "-D FORWARD" in stdin:
                self.saves[argv[0].replace("restore", "save")] = ""
                raise KernelError("Bad rule (does a matching rule exist in that chain?)")
            return super().run(argv, stdin)

    fake = Raced()
    backend = Iptables(fake)  # type: ignore[arg-type]
    backend.install(planned(Attachment("forward", queues=(0, 0))))
    fake.restores.clear()
    assert backend.install(planned(Attachment("forward", queues=(1, 1))))
    assert [tool for tool, _ in fake.restores] == ["iptables-nft-restore", "ip6tables-nft-restore"]


@pytest.mark.parametrize(("absent", "restores"), [(Word.PERMIT, 2), (Word.BLOCK, 1)])
def test_a_half_installed_pair_goes_again_only_where_absence_permits(absent: Word, restores: int) -> None:
    fake = Fake(refuse="ip6tables-nft-restore")
    with pytest.raises(KernelError):
        Iptables(fake).install(planned(Attachment("forward"), faults=Faults(on_absent=absent)))  # type: ignore[arg-type]
    assert len(fake.restores) == restores
    if restores == 2:
        assert "-X WFPD_FWD" in fake.restores[1][1]


def test_a_purge_that_another_tool_disturbed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Iptables(Commands())
    found = parse_save("*mangle\n:FORWARD ACCEPT [0:0]\n:WFPD_FWD - [0:0]\n-A FORWARD -j WFPD_FWD\nCOMMIT\n")
    tries: list[int] = []

    def commit(family: int, text: str) -> None:
        tries.append(family)
        if tries.count(family) < 3:
            raise KernelError("iptables-nft-restore: line 3: RULE_DELETE failed")

    monkeypatch.setattr(backend, "found", lambda family: found)
    monkeypatch.setattr(backend, "_commit", commit)
    assert backend.purge() is True and tries == [4, 4, 4, 6, 6, 6]


def test_a_purge_that_never_succeeds_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Iptables(Commands())
    found = parse_save("*mangle\n:FORWARD ACCEPT [0:0]\n:WFPD_FWD - [0:0]\n-A FORWARD -j WFPD_FWD\nCOMMIT\n")
    monkeypatch.setattr(backend, "found", lambda family: found)

    def commit(family: int, text: str) -> None:
        raise KernelError("no permission")

    monkeypatch.setattr(backend, "_commit", commit)
    with pytest.raises(KernelError, match="no permission"):
        backend.purge()


def test_a_listing_that_fails_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Iptables(Commands())
    tries: list[int] = []

    def found(family: int) -> Tables:
        tries.append(family)
        if len(tries) == 1:
            raise KernelError("iptables-nft-save was ended by signal 15")
        return {}

    monkeypatch.setattr(backend, "found", found)
    assert backend.purge() is False and tries == [4, 4, 6]


def test_a_family_that_cannot_be_cleared_does_not_keep_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Iptables(Commands())
    stands_ = parse_save("*mangle\n:FORWARD ACCEPT [0:0]\n:WFPD_FWD - [0:0]\n-A FORWARD -j WFPD_FWD\nCOMMIT\n")
    cleared: list[int] = []

    def commit(family: int, text: str) -> None:
        if family == 4:
            raise KernelError("no permission")
        cleared.append(family)

    monkeypatch.setattr(backend, "found", lambda family: stands_)
    monkeypatch.setattr(backend, "_commit", commit)
    with pytest.raises(KernelError, match="no permission"):
        backend.purge()
    assert cleared == [6]


@pytest.mark.parametrize(("absent", "expected"), [(Word.PERMIT, True), (Word.BLOCK, False)])
def test_whether_what_stands_bypasses_is_read_from_the_queue_rules(
    monkeypatch: pytest.MonkeyPatch, absent: Word, expected: bool
) -> None:
    backend = Iptables(Commands())
    found = saved(planned(*EVERY, faults=Faults(on_absent=absent)))
    monkeypatch.setattr(backend, "found", lambda family: found if family == 4 else {})
    assert backend.bypasses() is expected
    monkeypatch.setattr(backend, "found", lambda family: {})
    assert backend.bypasses() is None


@pytest.mark.parametrize("family", [4, 6])
def test_no_rule_of_ours_touches_connection_marks(family: int) -> None:
    """Any that did would make conntrack reassemble fragments ahead of every hook; `defragment` asks for that alone."""
    text = transaction(wanted(planned(*EVERY), family), {})
    assert "CONNMARK" not in text and "connmark" not in text
    assert [line for line in text.splitlines() if "conntrack" in line and "defragment" not in line] == []
