"""Namespaces of our own, with an `ip` that only notes what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from wfpd.errors import KernelError
from wfpd.netfilter import own_namespaces
from wfpd.netfilter.own_namespaces import OwnNamespaces


class Handles:
    """The directory of named namespaces; each has an id of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def run(self, argv: Sequence[str]) -> str:
        self.asked.append(" ".join(argv[1:]))
        path = self.folder / argv[3]
        path.touch() if argv[2] == "add" else path.unlink()
        return ""

    def id_of(self, path: Path | None = None) -> tuple[int, int]:
        return (0, 0) if path is None else (1, path.stat().st_ino)


@pytest.fixture
def handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handles:
    handles = Handles(tmp_path)
    monkeypatch.setattr(own_namespaces, "path_of", lambda name: tmp_path / name)
    monkeypatch.setattr(own_namespaces, "namespace_id", handles.id_of)
    monkeypatch.setattr(own_namespaces, "Commands", lambda: handles)
    return handles


def test_they_are_there_inside_and_gone_outside_the_last_one_first(handles: Handles) -> None:
    with OwnNamespaces(["a", "b"]) as made:
        assert isinstance(made, OwnNamespaces)
        assert sorted(path.name for path in handles.folder.iterdir()) == ["a", "b"]
    assert handles.asked == ["netns add a", "netns add b", "netns delete b", "netns delete a"]


def test_what_build_could_not_do_leaves_nothing_behind(handles: Handles) -> None:
    class Broken(OwnNamespaces):
        def build(self) -> None:
            self.cleanup.callback(handles.asked.append, "what build had made")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Broken(["a"]):
        pytest.fail("it was not built")
    assert handles.asked == ["netns add a", "what build had made", "netns delete a"]


def test_the_callers_own_namespace_is_refused(handles: Handles, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(OwnNamespaces):
        def build(self) -> None:
            pytest.fail("something was done in it")

    monkeypatch.setattr(own_namespaces, "namespace_id", lambda path=None: (1, 1))
    with pytest.raises(KernelError, match="caller's own"), Careless(["a"]):
        pytest.fail("it was entered")
    assert handles.asked[-1] == "netns delete a"


def test_a_namespace_that_was_there_before_is_neither_used_nor_deleted(handles: Handles) -> None:
    (handles.folder / "b").touch()
    with pytest.raises(KernelError, match="not ours"), OwnNamespaces(["a", "b"]):
        pytest.fail("it was entered")
    assert [path.name for path in handles.folder.iterdir()] == ["b"]
