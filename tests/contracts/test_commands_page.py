"""docs/commands.md has every command, its examples are meant, and those that need no daemon print what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wfpd.cli.parser import parser, subparsers

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text()
BLOCK = re.compile(r"^```(console|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "..."


def commands(block: str) -> list[str]:
    """The command lines of a block."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def output(block: str) -> list[str]:
    """What a block says is printed, all its commands together."""
    return [line for line in block.splitlines() if not line.startswith("$ ")]


def agrees(said: list[str], printed: list[str]) -> bool:
    """Whether the lines are those printed; `...` is any number of lines."""
    if not said:
        return not printed
    if said[0] == LEFT_OUT:
        return any(agrees(said[1:], printed[n:]) for n in range(len(printed) + 1))
    return bool(printed) and said[0] == printed[0] and agrees(said[1:], printed[1:])


RUN = [block for kind, block in BLOCK.findall(PAGE) if kind == "console"]


@pytest.mark.parametrize("block", RUN, ids=[commands(block)[0][:60] for block in RUN])
def test_what_needs_no_daemon_prints_what_the_page_says(block: str, tmp_path: Path) -> None:
    examples = shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    for path in examples.iterdir():
        path.chmod(0o600)  # Whatever the checkout's are, which `wfpd check` would have a word about.
    script = "\n".join([f'wfpd() {{ {shlex.quote(sys.executable)} -P -m wfpd "$@"; }}', *commands(block)])
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120)  # fmt: skip
    assert agrees(output(block), done.stdout.splitlines()), done.stdout + done.stderr


def of_wfpd() -> list[str]:
    """Every line of an example that calls wfpd, what follows a pipe left out."""
    found = [line for _, block in BLOCK.findall(PAGE) for line in commands(block)]
    return [line.split(" | ")[0] for line in found if line.startswith("wfpd ")]


@pytest.mark.parametrize("line", sorted(set(of_wfpd())))
def test_an_example_is_a_command_line_that_the_parser_takes(line: str) -> None:
    assert parser().parse_args(shlex.split(line)[1:])


def test_every_command_has_its_place_and_an_example() -> None:
    headings = re.findall(r"^### wfpd (\S+)$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(subparsers(parser()))
    shown = {line.split()[1] for line in of_wfpd()}
    assert shown == set(headings)


def test_lines_that_are_left_out_are_any_and_all_others_exact() -> None:
    assert agrees(["a", LEFT_OUT, "d"], ["a", "b", "c", "d"])
    assert agrees([LEFT_OUT], []) and agrees([LEFT_OUT, "b"], ["b", "b"])
    assert not agrees(["a"], ["a", "b"]) and not agrees(["a", "b"], ["a"]) and not agrees([LEFT_OUT, "x"], ["a"])
