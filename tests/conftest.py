"""Tests marked `root` prove why they skip; in debug and sanitize builds each ends with its accounts settled."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator

import pytest

import wfpd.dataplane
from tests.accounts import Accounts, read_accounts
from tests.proven import must_run, need_root

pytest_plugins = ["wfpd.testing.plugin"]
AT_START = pytest.StashKey[Accounts | None]()


def pytest_report_header() -> str:
    kept = "kept" if read_accounts() else "not kept"
    return f"wfpd: {wfpd.dataplane.__path__[0]}, accounts {kept}"


def pytest_configure(config: pytest.Config) -> None:
    if must_run():
        config.option.wfpd_live = True


def pytest_sessionstart() -> None:
    # A shell starts what runs in the background with SIGINT ignored, and the programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("WFPD_BUILD", "release") in ("debug", "sanitize") and read_accounts() is None:
        raise pytest.UsageError("WFPD_BUILD asks for accounts, and the modules loaded keep none")


def pytest_collection_finish() -> None:
    gc.freeze()  # Where accounts are kept, garbage is collected after most tests: only that of tests is searched for.


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[AT_START] = None
    if item.get_closest_marker("root"):
        need_root()
    item.stash[AT_START] = read_accounts()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport]:
    report = yield
    if report.failed:  # Its traceback keeps what the test made.
        item.stash[AT_START] = None
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """After every fixture: what the test received has a verdict, what it allocated is given back."""
    result = yield
    before = item.stash[AT_START]
    if before is None or before == read_accounts():
        return result
    getattr(item, "funcargs", {}).clear()
    gc.collect()
    after = read_accounts()
    assert after is not None
    assert after.undecided == before.undecided, f"{after.undecided - before.undecided} packets without a verdict"
    assert after.memory == before.memory, f"{after.memory - before.memory} pieces of memory were not given back"
    return result
