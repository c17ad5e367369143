"""The lab's namespaces: names, refusals, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfpd.lab import network
from wfpd.lab.errors import LabError
from wfpd.lab.network import Network, last_line


def fake_program(directory: Path, name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program first on PATH that says `words` and fails."""
    program = directory / name
    program.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")


def test_two_labs_have_different_names() -> None:
    assert Network().suffix != Network().suffix


def test_nothing_runs_in_the_callers_own_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "namespace_id", lambda path=None: (4, 7))
    with pytest.raises(LabError, match="caller's own network namespace"):
        Network().inside("router", "true")


def test_a_machine_without_namespaces_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_program(tmp_path, "ip", "mount --make-shared /run/netns failed: Operation not permitted", monkeypatch)
    with pytest.raises(LabError, match=r"no network namespaces: .*not permitted"), Network():
        pass


def test_a_kernel_without_nfqueue_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_program(
        tmp_path, "iptables", "Extension NFQUEUE revision 0 not supported, missing kernel module?", monkeypatch
    )
    lab = Network()
    monkeypatch.setattr(lab, "inside", lambda part, *command: list(command))
    with pytest.raises(LabError, match=r"no NFQUEUE in this kernel: Extension NFQUEUE"):
        lab.require_nfqueue()


def test_a_missing_program_is_named_with_the_way_to_install_it() -> None:
    with pytest.raises(LabError, match="no-such-program is not installed") as caught:
        network.run(["no-such-program"])
    assert ".ci/packages" in caught.value.hint


def test_the_reason_is_the_last_line_that_says_something() -> None:
    assert last_line("warning\nError: no\n\n") == "Error: no"
    assert last_line("") == "no reason given"
