"""The dictionaries are those of the daemon."""

import pytest

from wfpd.client import types
from wfpd.control import schema
from wfpd.control.reload import ReloadResult


def test_the_keys_of_a_reload_are_those_that_the_daemon_sends() -> None:
    assert set(types.Reloaded.__annotations__) == set(ReloadResult(True, 1, "", 0.1).as_json())


def test_names_and_keys_are_required_and_the_rest_may_be_missing() -> None:
    assert types.FilterEntry.__required_keys__ == {"name"}
    assert types.FilterShown.__required_keys__ == {"key", "name"}


@pytest.mark.parametrize(("kind", "name"), [(types.Status, "status"), (types.Reloaded, "reloaded")])
def test_the_keys_are_those_that_the_schema_requires(kind: type, name: str) -> None:
    assert set(kind.__annotations__) == set(schema.load()["$defs"][name]["required"])


@pytest.mark.parametrize(
    ("kind", "method"), [(types.Hello, "hello"), (types.Version, "version"), (types.Counters, "counters"),
                         (types.Opened, "session.open"), (types.AddedFilters, "filters.add"),
                         (types.Deleted, "filters.delete"), (types.Added, "providers.add")],
)  # fmt: skip
def test_the_keys_are_those_of_the_methods_result(kind: type, method: str) -> None:
    assert set(kind.__annotations__) == set(schema.load()["methods"][method]["result"]["required"])
