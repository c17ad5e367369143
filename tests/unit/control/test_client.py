import pytest

from wfpd.control.client import Client
from wfpd.errors import ControlError


def test_without_a_daemon_the_error_says_where_it_looked(tmp_path) -> None:
    with pytest.raises(ControlError, match="cannot reach wfpd at") as raised:
        Client(str(tmp_path / "none.sock"))
    assert raised.value.exit_status == 3
    assert raised.value.hint
