"""Entering namespaces: what can be said without root."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from wfpd.errors import KernelError
from wfpd.netfilter import namespace


def test_without_a_path_the_call_happens_in_the_callers_own_thread() -> None:
    assert namespace.call_in(None, threading.get_ident) == threading.get_ident()


def test_a_missing_namespace_is_a_kernel_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="gone"):
        namespace.call_in(tmp_path / "gone", threading.get_ident)


def test_a_file_that_is_no_namespace_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    with pytest.raises(KernelError, match="network namespace"):
        namespace.enter(plain)


def test_the_same_namespace_has_the_same_id() -> None:
    assert namespace.namespace_id() == namespace.namespace_id(Path("/proc/self/ns/net"))
