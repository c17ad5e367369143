import pytest

from wfpd import cli
from wfpd.daemon import service


@pytest.mark.parametrize("audit", [True, False])
def test_the_daemon_gets_its_policy_and_its_status_is_the_command_s(audit: bool, tmp_path, monkeypatch) -> None:
    policy = tmp_path / "p.yaml"
    policy.touch()
    called = []
    monkeypatch.setattr(service, "run", lambda path, *, audit: called.append((path, audit)) or 3)
    assert cli.main(["run", "--policy", str(policy), *(["--audit"] if audit else [])]) == 3
    assert called == [(str(policy), audit)]


def test_a_policy_that_cannot_be_opened_starts_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(service, "run", lambda path, *, audit: pytest.fail("it has been started"))
    assert cli.main(["run", "--policy", str(tmp_path / "none.yaml")]) == 3
