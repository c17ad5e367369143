"""docs/from-wfp.md and docs/from-netsh.md name methods, members of the client and commands that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wfpd.client
from tests.unit.client.fake import faked
from wfpd.cli.parser import parser
from wfpd.control import schema

DOCS = Path(__file__).resolve().parents[2] / "docs"
CODE = re.compile(r"`([^`]+)`")


def cells(page: str, column: int) -> list[str]:
    """The code in one column of the tables of a page that have three."""
    rows = [line.split(" | ") for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    return [code for row in rows if len(row) == 3 for code in CODE.findall(row[column])]


MEMBERS = sorted({found for code in cells("from-wfp.md", 2) for found in re.findall(r"client\.[a-z_.]+", code)})
METHODS = sorted({code.partition(" ")[0] for code in cells("from-wfp.md", 1) if re.match(r"[a-z_]+\.[a-z]+\b", code)})
COMMANDS = sorted({code for page in ("from-wfp.md", "from-netsh.md") for code in CODE.findall((DOCS / page).read_text())
                   if code.startswith("wfpd ")})  # fmt: skip


def test_there_is_something_to_look_at() -> None:
    assert len(MEMBERS) > 8 and len(METHODS) > 10 and len(COMMANDS) > 6


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_of_the_client_is_one(member: str, tmp_path: Path) -> None:
    with faked(tmp_path / "c.sock") as fake, wfpd.client.Client(fake.path) as found:
        for name in member.split(".")[1:]:
            found = getattr(found, name)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_in_the_schema(method: str) -> None:
    assert method in schema.load()["methods"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one(command: str) -> None:
    words = [{"FILE": "x", "LAYER": "ipforward"}.get(word, word) for word in command.split()[1:]]
    if words[0] == "explain" or len(words) > 1 or words[0] in ("events", "layers", "why"):
        parser().parse_args(words)
    else:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([*words, "--help"])
        assert ended.value.code == 0
