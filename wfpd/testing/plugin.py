"""The pytest plug-in: fixtures `callout` and `live_callout`.  The only module of wfpd that imports pytest."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from wfpd.testing.callouts import CalloutRun, Layers
    from wfpd.testing.live import LiveCallout

MARKER = "wfpd_live"
RUNS: pytest.StashKey[list[CalloutRun]] = pytest.StashKey()
LIVE: pytest.StashKey[LiveCallout] = pytest.StashKey()
"""What a test has made, for its report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--wfpd-live`."""
    parser.getgroup("wfpd").addoption(
        "--wfpd-live", action="store_true",
        help="tests with live_callout fail where they cannot run, instead of being skipped",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}: runs a daemon in network namespaces (set by the fixture live_callout)"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whatever takes the fixture can be chosen by the marker."""
    if "live_callout" in getattr(item, "fixturenames", ()):
        item.add_marker(MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failed test shows its last packets and why the last of them was decided."""
    report = yield
    if call.when == "call" and report.failed:
        for number, run in enumerate(_runs(item), 1):
            if run.results:
                lines = "".join(f"{one}\n" for one in run.results)
                report.sections.append((f"wfpd: packets of callout {number}", f"{lines}\n{run.last.explain}"))
        if live := item.stash.get(LIVE, None):
            report.sections.append(("wfpd: what the daemon said", live.log))
    return report


def _runs(item: pytest.Item) -> list[CalloutRun]:
    return item.stash.setdefault(RUNS, [])


class Callouts:
    """What the fixture `callout` is."""

    def __init__(self, runs: list[CalloutRun]) -> None:
        self._runs = runs

    def __call__(
        self, callout: Any, /, *, layer: Layers, when: Mapping[str, Any] | None = None, kind: str | None = None,
        on_error: str | None = None, provider_context: object = None, filters: tuple[Mapping[str, Any], ...] = (),
        local: str = "", options: Mapping[str, Any] | None = None, **more: Any,
    ) -> CalloutRun:  # fmt: skip
        """Ask a callout, a class or an object, at a layer or several; `options` and `more` make the object."""
        from wfpd.testing.callouts import CalloutRun

        made = CalloutRun.of(
            callout, layer, when=when, kind=kind, on_error=on_error, provider_context=provider_context,
            filters=filters, local=local, options={**(options or {}), **more},
        )  # fmt: skip
        self._runs.append(made)
        return made

    def policy(self, path: str | os.PathLike[str], *, local: str = "", expects_errors: bool = False) -> CalloutRun:
        """A policy file with the callouts that it names."""
        from wfpd.testing.callouts import CalloutRun

        self._runs.append(CalloutRun.of_policy(path, local=local, expects_errors=expects_errors))
        return self._runs[-1]


@pytest.fixture
def callout(request: pytest.FixtureRequest) -> Iterator[Callouts]:
    """Runs callouts on described packets, captures and streams, without root."""
    runs = _runs(request.node)
    try:
        yield Callouts(runs)
        for run in runs:
            run.close()
    finally:
        runs.clear()


def _skip(request: pytest.FixtureRequest, reason: str) -> NoReturn:
    if request.config.getoption("--wfpd-live"):
        pytest.fail(f"{reason}; and --wfpd-live says that this test must run", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def live_callout(request: pytest.FixtureRequest) -> Iterator[LiveCallout]:
    """Runs callouts in the daemon, on real packets between network namespaces; skips where there can be none."""
    from wfpd.errors import KernelError
    from wfpd.testing.live import LiveCallout
    from wfpd.testing.network import why_no_namespaces

    if reason := why_no_namespaces():
        _skip(request, reason)
    try:
        live = request.node.stash[LIVE] = LiveCallout()
    except (KernelError, OSError) as error:  # OSError: a setting of /proc that this kernel does not have.
        _skip(request, f"no network of namespaces here: {getattr(error, 'message', error)}")
    try:
        if reason := live.network.why_no_queue():
            _skip(request, reason)
        yield live
        live.check()
    finally:
        del request.node.stash[LIVE]
        live.close()
