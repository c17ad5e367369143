import os
import struct
import subprocess
import sys

import pytest

from tests.unit.cli.answering import GOOD
from wfpd import cli
from wfpd.errors import KernelError
from wfpd.observe import layers_doc


def test_usage_is_2(capsys) -> None:
    for arguments in ([], ["nonsense"], ["reload", "--confirm", "soon"], ["events", "--count", "-1"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2


def test_a_fault_of_ours_is_70_with_a_report_and_no_traceback(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(layers_doc, "layers_json", lambda: 1 // 0)
    assert cli.main(["layers"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (report,) = tmp_path.glob("wfpd-report-*.txt")
    assert "ZeroDivisionError" in report.read_text() and str(report) in said
    assert cli.main(["layers", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_error_on_purpose_has_its_own_status(monkeypatch, capsys) -> None:
    def refuse() -> None:
        raise KernelError("queue 0 is taken", hint="look")

    monkeypatch.setattr(layers_doc, "layers_json", refuse)
    assert cli.main(["layers"]) == 3
    assert capsys.readouterr().err == "error: queue 0 is taken\n  hint: look\n"


def test_a_closed_pipe_is_0_without_a_message() -> None:
    child = subprocess.Popen([sys.executable, "-m", "wfpd", "layers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 0
    child.stderr.close()


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    """`wfpd` in a command line of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = command.replace("wfpd", f"{sys.executable} -m wfpd", 1)
    return subprocess.run(["sh", "-c", line], capture_output=True, env=environment, text=True, check=False)


def test_output_that_cannot_be_written_is_3_and_no_fault_of_ours(tmp_path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    capture = tmp_path / "one.pcap"
    capture.write_bytes(
        struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101, 1, 0, 20, 20)
        + bytes.fromhex("4500001400000000400b000001020304050607ff")
    )
    for command in ("wfpd layers >/dev/full", f"wfpd replay --policy {policy} --eve /dev/full {capture} >/dev/null"):
        done = in_shell(command)
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1] == "error: the output cannot be written: No space left on device"


def test_a_stream_that_the_caller_closed_leads_nowhere(tmp_path) -> None:
    assert in_shell("wfpd layers >&-").returncode == 0
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 2\n")
    done = in_shell(f"wfpd check {policy} 2>&-")
    assert (done.returncode, done.stdout) == (1, "")


def test_a_name_that_the_locale_cannot_write_is_escaped(tmp_path) -> None:
    policy = tmp_path / "ü.yaml"
    policy.write_text(GOOD)
    done = in_shell(f"PYTHONIOENCODING=ascii wfpd check {policy}")
    assert done.stdout.splitlines()[-1].startswith(f"{tmp_path}/\\xfc.yaml: ok")
