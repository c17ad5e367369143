import subprocess
from pathlib import Path

import pytest

from wfpd import cli

COMPLETE = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
specification=$(complete -p wfpd)
function=${specification##*-F }
"${function%% *}" wfpd "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "wfpd.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert cli.main(["completion", "bash"]) == 0
    return path


def offered(script: Path, folder: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    done = subprocess.run(["bash", "--norc", "-c", COMPLETE, "bash", str(script), "wfpd", *words], cwd=folder,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_choices(script: Path, tmp_path) -> None:
    assert offered(script, tmp_path, "re") == {"replay", "reload"}
    assert offered(script, tmp_path, "status", "--") == {"--help", "--debug", "--json", "--socket"}
    assert offered(script, tmp_path, "replay", "--hook", "") == {"forward", "input", "output"}
    assert offered(script, tmp_path, "completion", "") == {"bash", "zsh"}


def test_bash_completes_actions_whatever_stands_before_them(script: Path, tmp_path) -> None:
    assert "add" in offered(script, tmp_path, "filters", "a")
    assert "add" in offered(script, tmp_path, "filters", "--json", "a")
    assert "add" in offered(script, tmp_path, "filters", "--socket", "x.sock", "a")


@pytest.mark.parametrize("before", [["check"], ["replay", "--policy"], ["diff", "a.yaml"], ["explain", "--pcap"]])
def test_bash_completes_files_where_a_file_is_meant(before: list[str], script: Path, tmp_path) -> None:
    (tmp_path / "policy.yaml").touch()
    (tmp_path / "policies").mkdir()
    assert offered(script, tmp_path, *before, "pol") == {"policy.yaml", "policies"}
    assert offered(script, tmp_path, "explain", "--interface", "pol") == set()


def test_zsh_gets_a_script_of_its_own(capsys) -> None:
    assert cli.main(["completion", "zsh"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("#compdef wfpd\n") and "--socket" in said and "_files" in said
