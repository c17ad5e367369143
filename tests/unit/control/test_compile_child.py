import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from wfpd.control.compile_child import compile_block, compile_in_child, sealed_memory
from wfpd.control.handover import decode
from wfpd.errors import PolicyError


def test_every_error_of_a_broken_policy_comes_back_with_its_line(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nfilters:\n  - {name: a, layer: nowhere, action: permit}\n")
    with pytest.raises(PolicyError) as raised:
        compile_in_child(str(path))
    assert raised.value.problems[0].location.line == 3


def test_a_missing_file_is_an_error_of_the_policy(tmp_path) -> None:
    with pytest.raises(PolicyError):
        compile_in_child(str(tmp_path / "absent.yaml"))


def test_a_sealed_memory_file_cannot_be_changed() -> None:
    fd = sealed_memory(b"abc")
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
    finally:
        os.close(fd)


def test_an_accepted_policy_comes_back_packed(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nfaults: {on_full: block}\nfilters:\n"
                    "  - {name: a, layer: ipforward, action: block, metrics: true}\n")  # fmt: skip
    compiled = compile_in_child(str(path))
    assert bytes(compiled.packed[:8]) == b"WFPDPACK"
    assert (compiled.n_filters, compiled.metric_filters) == (2, ("a",))
    assert compiled.policy.faults.on_full.name == "BLOCK"
    assert bytes(decode(memoryview(compile_block(str(path), "warn"))).packed) == bytes(compiled.packed)


def test_a_stop_signal_to_every_process_leaves_the_compiler_to_its_work(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\n" + "filters:\n  - {name: a, layer: ipforward, action: block}\n")
    done = threading.Event()

    def signal_children() -> None:
        while not done.is_set():
            for child in Path(f"/proc/self/task/{caller}/children").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGTERM)
                    hit.add(child)

    hit: set[str] = set()
    caller = threading.get_native_id()
    thread = threading.Thread(target=signal_children)
    thread.start()
    try:
        assert compile_in_child(str(path)).n_filters == 2
    finally:
        done.set()
        thread.join()
    assert hit
