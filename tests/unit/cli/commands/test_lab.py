import sys

from wfpd import cli


def test_the_lab_is_another_program_of_the_same_package(monkeypatch) -> None:
    called = []

    def replace(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        called.append((program, arguments[1:], environment["PYTHONPATH"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("os.execve", replace)
    assert cli.main(["lab", "--json"]) == 130
    assert called == [(sys.executable, ["-P", "-m", "wfpd.lab", "--json"], called[0][2])]
    assert cli.__file__.startswith(called[0][2])
