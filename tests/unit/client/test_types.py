"""The dictionaries are those of the daemon."""

from wfpd.client import types
from wfpd.control.reload import ReloadResult


def test_the_keys_of_a_reload_are_those_that_the_daemon_sends() -> None:
    assert set(types.Reloaded.__annotations__) == set(ReloadResult(True, 1, "", 0.1).as_json())


def test_names_and_keys_are_required_and_the_rest_may_be_missing() -> None:
    assert types.FilterEntry.__required_keys__ == {"name"}
    assert types.FilterShown.__required_keys__ == {"key", "name"}
