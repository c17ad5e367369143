"""Running tools: no shell, own environment, errors with what was said."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from wfpd.errors import KernelError
from wfpd.netfilter.commands import Commands


def tool(directory: Path, body: str) -> Commands:
    path = directory / "tool"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return Commands(search_path=f"{directory}:/bin:/usr/bin", timeout=5)


def test_arguments_and_input_arrive_as_they_are(tmp_path: Path) -> None:
    assert tool(tmp_path, 'echo "$1"; cat').run(["tool", "a b; echo c $(x)"], stdin="text") == "a b; echo c $(x)\ntext"


def test_an_error_carries_what_the_tool_said_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no good") as caught:
        tool(tmp_path, "echo 'no good: Permission denied (you must be root)' >&2; exit 4").run(["tool"])
    assert caught.value.hint == "rules need CAP_NET_ADMIN"
    assert caught.value.exit_status == 3
    with pytest.raises(KernelError, match="exit status 3"):
        tool(tmp_path, "exit 3").run(["tool"])


def test_hints_name_missing_parts_and_foreign_tables(tmp_path: Path) -> None:
    for said, hint in (
        ("Extension x, missing kernel module?", "lacks"),
        ("table `filter' is incompatible", "nftables"),
    ):
        with pytest.raises(KernelError) as caught:
            tool(tmp_path, f'echo "{said.replace("`", "")}" >&2; exit 1').run(["tool"])
        assert hint in caught.value.hint


def test_a_missing_tool_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="gone is not installed"):
        Commands(search_path=str(tmp_path)).run(["gone"])


def test_a_tool_that_hangs_is_ended(tmp_path: Path) -> None:
    commands = Commands(search_path=tool(tmp_path, "exec sleep 60").search_path, timeout=0.2)
    with pytest.raises(KernelError, match=r"did not end within 0\.2 s"):
        commands.run(["tool"])


def test_only_the_lock_file_of_the_environment_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTABLES_LOCKFILE", "/run/x.lock")
    monkeypatch.setenv("SECRET", "1")
    said = tool(tmp_path, "env").run(["tool"])
    assert "XTABLES_LOCKFILE=/run/x.lock" in said
    assert "LC_ALL=C" in said
    assert "SECRET" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_stop_signal_to_the_whole_group_does_not_cut_a_tool_off(tmp_path: Path, number: signal.Signals) -> None:
    # The tool sends the signal to itself, as a service manager would, and says whether it lives on.
    commands = tool(tmp_path, f"kill -{number.value} $$; echo lives")
    assert commands.run(["tool"]) == "lives\n"
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_tool_that_was_killed_is_an_error_and_no_listing(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="tool was ended by signal 9"):
        tool(tmp_path, "echo half a listing; kill -9 $$").run(["tool"])
