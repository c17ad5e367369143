import argparse
import json
import time

import pytest

from tests.unit.cli.answering import Daemon, key
from wfpd.cli import kinds, objects
from wfpd.cli.asking import connect
from wfpd.cli.objects import NoSuchObjectError, describe, properties
from wfpd.errors import UsageError


@pytest.fixture
def connection(daemon: Daemon, path: str):
    with connect(argparse.Namespace(socket=path)) as found:
        yield found


def named(*names: str) -> list[dict]:
    return [{"name": name, "key": key(number), "layer": f"layer{number}"} for number, name in enumerate(names, 1)]


def test_a_long_list_comes_in_pages_of_one_snapshot(daemon: Daemon, connection) -> None:
    daemon.objects["filters"] = named("a", "b", "c", "d", "e")
    assert [item["name"] for item in objects.everything(connection, "filters.list")] == ["a", "b", "c", "d", "e"]
    assert daemon.asked == [{"size": 1000}, {"cursor": "cursor 3", "size": 1000}, {"cursor": "cursor 1", "size": 1000}]


def test_an_object_is_found_by_its_name_or_its_key(daemon: Daemon, connection) -> None:
    daemon.objects["sublayers"] = named("a", "b")
    assert [item["key"] for item in objects.find(connection, kinds.SUBLAYERS, "b")] == [key(2)]
    assert [item["name"] for item in objects.find(connection, kinds.SUBLAYERS, f"{{{key(1)}}}".upper())] == ["a"]
    daemon.asked.clear()
    assert objects.keys_of(connection, kinds.SUBLAYERS, [key(7), "a"]) == [key(7), key(1)]
    assert daemon.asked == [{"template": {"name": "a"}, "size": 1000}], "a key is not looked up"


def test_an_ambiguous_name_is_answered_with_the_keys(daemon: Daemon, connection) -> None:
    daemon.objects["filters"] = [
        item | {"provider": provider} for item, provider in zip(named("a", "a", "b"), "xyx", strict=True)
    ]
    with pytest.raises(NoSuchObjectError) as refused:
        objects.find(connection, kinds.FILTERS, "a")
    assert refused.value.message == f'2 filters have the name "a":\n  {key(1)}  layer1\n  {key(2)}  layer2'
    assert refused.value.exit_status == 1
    daemon.objects["sublayers"] = named(*["a"] * 50)
    with pytest.raises(NoSuchObjectError, match="and 30 more"):
        objects.keys_of(connection, kinds.SUBLAYERS, ["a"])


def test_a_filters_name_is_that_of_all_its_layers_and_families(daemon: Daemon, connection) -> None:
    daemon.objects["filters"] = named("a", "a", "b")
    assert [item["key"] for item in objects.find(connection, kinds.FILTERS, "a")] == [key(1), key(2)]
    assert objects.keys_of(connection, kinds.FILTERS, ["b", "a"]) == [key(3), key(1), key(2)]


def test_a_name_that_nobody_has_is_said_without_its_control_characters(daemon: Daemon, connection) -> None:
    with pytest.raises(NoSuchObjectError) as refused:
        objects.find(connection, kinds.PROVIDER_CONTEXTS, "\x1b[2J")
    assert refused.value.message == 'there is no provider context "\\x1b[2J"'


def test_properties_are_texts_lists_and_mappings() -> None:
    found = properties(["a=1", "b=[x, 2001:db8::/32]", "c={none_of: [10.0.0.0/8]}", "d=", "e=x=y"])
    assert found == {"a": "1", "b": ["x", "2001:db8::/32"], "c": {"none_of": ["10.0.0.0/8"]}, "d": "", "e": "x=y"}


def test_free_data_is_as_in_a_policy_file() -> None:
    words = ["options={seconds: 1, clear_right: false, name: '2', list: [0x10, 1.5, -3, null, x y]}", "data=7", "n=7"]
    assert properties(words, free=("data", "options")) == {
        "options": {"seconds": 1, "clear_right": False, "name": "2", "list": [16, 1.5, -3, None, "x y"]}, "data": 7,
        "n": "7",
    }  # fmt: skip
    assert properties(['data={"a": [true, "x"]}'], free=("data",)) == {"data": {"a": [True, "x"]}}
    for text in ("{a: 1", "&x 1", "!!int 1", "[" * 5000, "{a: 1, a: 2}", "\udce4"):
        with pytest.raises(UsageError, match="is no value as in a policy"):
            properties([f"data={text}"], free=("data",))


@pytest.mark.parametrize(("words", "says"), [
    (["nothing"], "is not NAME=VALUE"), (["=x"], "is not NAME=VALUE"), (["a=1", "a=2"], "a is given twice"),
    (["a=[1"], "no list or mapping"), (["a={b: *c}"], "no list or mapping"),
    (["a=" + "[" * 5000], "no list or mapping"),
])  # fmt: skip
def test_what_is_no_property_is_said(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        properties(words)


def test_one_object_is_told_with_every_key_it_has(monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    told = describe({"name": "a\nb", "hits": 3, "last_hit": 990, "expires": 1060.5, "session": None, "flags": [],
                     "weight": 7 << 60, "when": {"ip_protocol": "tcp", "ip_local_port": ["22", "80"]}}, 64)  # fmt: skip
    assert told.splitlines() == [
        "name      a\\nb", "hits      3", "last_hit  10 s ago", "expires   in 60 s", "session   -", "flags     -",
        "weight    0x7000000000000000", "when      ip_protocol=tcp", "          ip_local_port=[22,80]",
    ]  # fmt: skip
    assert describe({"when": {}, "expires": None, "weight": 16}, 16) == "when     -\nexpires  never\nweight   0x0010"


def test_a_list_as_json_is_one_document(capsys) -> None:
    pages = iter([[{"name": "a"}], [{"name": "b"}]])
    objects.show_pages(pages, kinds.PROVIDERS.columns, True, "provider")
    assert json.loads(capsys.readouterr().out) == {"objects": [{"name": "a"}, {"name": "b"}]}
    objects.show_pages(iter([[]]), kinds.PROVIDERS.columns, False, "provider")
    assert tuple(capsys.readouterr()) == ("", "no providers\n")
