import shutil
import subprocess
from pathlib import Path

import pytest

from tests.proven import skip
from wfpd.cli import manual
from wfpd.cli.parser import parser, subparsers

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "man"


def test_the_pages_are_those_of_the_parser() -> None:
    there = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert there == manual.pages(), "make man"


def test_every_command_has_a_page_that_the_main_one_names() -> None:
    main = (FOLDER / "wfpd.1").read_text()
    for name in subparsers(parser()):
        assert (FOLDER / f"wfpd-{name}.1").exists()
        assert f"\n.BR wfpd\\-{name} (1)\n" in main


def test_pages_are_the_same_on_every_terminal(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert manual.pages() == {path.name: path.read_text() for path in FOLDER.iterdir()}


def test_a_page_of_a_command_that_is_gone_is_removed(tmp_path) -> None:
    (tmp_path / "wfpd-gone.1").touch()
    manual.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(manual.pages())


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir()))
def test_a_page_is_rendered_without_a_warning(name: str) -> None:
    if shutil.which("groff") is None:
        skip("there is no groff here")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", str(FOLDER / name)], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stderr == ""
    assert "Done." in done.stdout
