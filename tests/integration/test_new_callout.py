"""Projects of `wfpd new-callout` as they come: installed, their tests and bench run, their policy checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proven import OTHER_USER, need_other_user, open_directory

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("needs_root")


def run(folder: Path, *command: str, site: Path | None = None, before: tuple[str, ...] = ()) -> str:
    """What a command prints, run in a directory by this Python."""
    path = os.pathsep.join(map(str, (ROOT, *filter(None, (site,)))))
    done = subprocess.run(
        [*before, sys.executable, *command], cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "HOME": str(folder)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pytest_in(folder: Path, *options: str, site: Path | None = None, before: tuple[str, ...] = ()) -> str:
    return run(folder, "-m", "pytest", "-q", "-p", "wfpd.testing.plugin", "-p", "no:cacheprovider", *options, site=site,
               before=before)  # fmt: skip


@pytest.mark.parametrize("native", [False, True])
def test_all_of_a_new_project_passes_at_once(tmp_path: Path, native: bool) -> None:
    made = json.loads(
        run(tmp_path, "-P", "-m", "wfpd", "new-callout", "my-callout", "--json", *(["--native"] * native))
    )
    folder, site = tmp_path / made["directory"], tmp_path / "site"
    options = ["-q", "--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run(folder, "-m", "pip", "install", *options, "--target", str(site), ".")
    said = pytest_in(folder, "--wfpd-live", site=site)
    assert f"{13 if native else 10} passed" in said and "skipped" not in said
    assert "policy.yaml: ok" in run(folder, "-P", "-m", "wfpd", "check", "policy.yaml", site=site)
    measured = json.loads(
        run(folder, "bench/bench_callout.py", "--rounds", "1", "--packets", "50", "--json", site=site)
    )
    assert set(measured["replay_ns"]) == {"this policy", "no filters"}
    (hook,) = measured["queue"]["hooks"]
    assert "an empty netfilterqueue callback" in hook["cpu_ns_per_packet"] and hook["queued"] == 50


def test_without_root_and_installation_all_but_the_live_ones_pass() -> None:
    need_other_user()
    with open_directory() as folder:
        run(folder, "-P", "-m", "wfpd", "new-callout", "my-callout")
        said = pytest_in(folder / "my-callout", "-rs", before=OTHER_USER)
        assert "8 passed, 2 skipped" in said and "need root" in said
        small = ["--rounds", "1", "--packets", "50"]
        found = run(folder / "my-callout", "bench/bench_callout.py", *small, before=OTHER_USER)
        assert "on a real queue: run it as root" in found
