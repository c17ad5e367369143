"""The control socket's methods for the engine's objects."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.bfe.engines import Engine, blocking, said
from wfpd.control.objects import ObjectMethods
from wfpd.control.protocol import INVALID_PARAMS, NOT_ALLOWED, REFUSED, Role, RpcError


class Connection:
    """A peer that notes what it is told."""

    def __init__(self, methods: ObjectMethods, role: Role = Role.ADMINISTER, uid: int = 0) -> None:
        self.role, self.uid, self.pid = role, uid, 42
        self.told: list[Mapping[str, Any]] = []
        self._methods = methods.methods()
        self._ends: list[Callable[[], None]] = []

    def at_end(self, callback: Callable[[], None]) -> None:
        self._ends.append(callback)

    def notify(self, method: str, params: Mapping[str, Any]) -> bool:
        assert method == "change"
        self.told.append(params)
        return True

    def end(self) -> None:
        for callback in self._ends:
            callback()

    def call(self, name: str, /, **params: Any) -> Any:
        method = self._methods[name]
        assert params.keys() <= method.parameters
        assert self.role >= method.role
        return method.call(params, cast(Any, self))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def methods(engine: Engine) -> ObjectMethods:
    return ObjectMethods(engine.bfe)


@pytest.fixture
def root(methods: ObjectMethods) -> Connection:
    return Connection(methods)


def code_of(call: Callable[[], object]) -> str:
    """The engine's code of a refusal."""
    with pytest.raises(RpcError) as caught:
        call()
    assert caught.value.code == REFUSED
    assert isinstance(caught.value.data, dict)
    assert caught.value.data["code"] >> 16 == 0x8032
    return str(caught.value.data["error"])


def error_of(call: Callable[[], object]) -> int:
    with pytest.raises(RpcError) as caught:
        call()
    return caught.value.code


def test_objects_of_every_kind_are_added_got_listed_and_deleted(root: Connection, engine: Engine) -> None:
    described: dict[str, dict[str, Any]] = {
        "provider": {"name": "acme"},
        "sublayer": {"name": "mine", "weight": 3, "provider": "acme"},
        "provider_context": {"name": "data", "data": {"a": [1, 2]}},
        "callout": {"name": "c", "use": "wfpd.callouts.fixed:Fixed"},
        "filter": blocking("f", sublayer="mine", action={"callout": "c"}, provider_context="data"),
    }
    keys = {}
    for kind, entry in described.items():
        added = root.call(f"{kind}s.add", **{kind: entry})
        keys[kind] = added["filters" if kind == "filter" else "objects"][0]["key"]
        assert root.call(f"{kind}s.get", key=keys[kind])["object"]["name"] == entry["name"]
        assert root.call(f"{kind}s.list", template={"name": entry["name"]})["total"] == 1
    assert engine.names() == {"f"}
    assert code_of(lambda: root.call("sublayers.delete", keys=[keys["sublayer"]])) == "FWP_E_IN_USE"
    for kind in reversed(described):
        assert root.call(f"{kind}s.delete", keys=[keys[kind]])["deleted"] == 1
    assert not engine.names()


def test_an_entry_s_error_has_no_place_and_its_hint_by_itself(root: Connection) -> None:
    with pytest.raises(RpcError) as caught:
        root.call("filters.add", filter=blocking("f", sublayer="nowhere", when={"ip_sourc_port": 1}))
    assert len(caught.value.data["problems"]) == 2 and "change:" not in caught.value.message
    with pytest.raises(RpcError) as caught:
        root.call("filters.add", filter=blocking("f", when={"ip_sourc_port": 1}))
    assert caught.value.message == 'filter "f": there is no field "ip_sourc_port" (FWP_E_CONDITION_NOT_FOUND)'
    assert caught.value.data["hint"] == 'did you mean "ip_source_port"?'
    with pytest.raises(RpcError, match=r"^change:1: filter "):
        root.call("filters.add", policy=said(filters=[blocking("f", when={"ip_sourc_port": 1})]))


@pytest.mark.parametrize("template", [[], {"name": ["f"]}, {"name": None}, {"provider": 5}, {"layer": ["ipforward"]}])
def test_a_template_s_names_are_texts(root: Connection, template: object) -> None:
    assert error_of(lambda: root.call("filters.list", template=template)) == INVALID_PARAMS
    assert error_of(lambda: root.call("changes.subscribe", template=template)) == INVALID_PARAMS
    assert root.call("filters.list", template={"provider": None})["total"] == 0


def test_a_change_as_text_may_have_all_that_a_filter_needs(root: Connection) -> None:
    text = said(sublayers=[{"name": "mine"}], filters=[{"name": "f", "layer": "ipforward", "sublayer": "mine",
                                                        "action": "block"}])  # fmt: skip
    answer = root.call("filters.add", policy=text)
    assert [(one["name"], one["layer"], one["sublayer"]) for one in answer["filters"]] == [
        ("f", "ipforward_v4", "mine"), ("f", "ipforward_v6", "mine"),
    ]  # fmt: skip
    assert answer["generation"] == 1


def test_the_end_of_a_connection_is_the_end_of_its_session(methods: ObjectMethods, engine: Engine) -> None:
    """A client's death included: what is dynamic goes, a transaction ends."""
    client, other = Connection(methods), Connection(methods)
    opened = client.call("session.open", dynamic=True, name="agent")
    assert opened["dynamic"]
    client.call("filters.add", filter=blocking("f"))
    client.call("transaction.begin")
    client.call("filters.add", filter=blocking("g"))
    assert [(one["name"], one["transaction"]) for one in other.call("sessions.list")["sessions"]] == [
        ("agent", "write")
    ]
    client.end()
    assert not engine.names()
    other.call("transaction.begin")
    assert [one["name"] for one in other.call("sessions.list")["sessions"]] == [""]


def test_a_session_is_opened_before_anything_else_and_closed_by_a_call(root: Connection, engine: Engine) -> None:
    root.call("session.open", dynamic=True)
    assert code_of(lambda: root.call("session.open")) == "FWP_E_ALREADY_EXISTS"
    root.call("filters.add", filter=blocking("f"))
    root.call("session.close")
    assert not engine.names()
    root.call("session.close")
    root.call("filters.add", filter=blocking("g"))
    assert code_of(lambda: root.call("session.open", dynamic=True)) == "FWP_E_ALREADY_EXISTS"
    root.end()
    assert engine.names() == {"g"}


def test_a_transaction_over_the_socket_is_one_switch(root: Connection, engine: Engine) -> None:
    root.call("transaction.begin")
    for number in range(5):
        assert root.call("filters.add", filter=blocking(f"f{number}"))["generation"] is None
    assert code_of(lambda: root.call("transaction.begin")) == "FWP_E_TXN_IN_PROGRESS"
    assert root.call("transaction.commit") == {"generation": 1}
    assert engine.ground.calls == [(5, 0)]
    assert code_of(lambda: root.call("transaction.abort")) == "FWP_E_NO_TXN_IN_PROGRESS"


def test_pages_follow_a_cursor(root: Connection) -> None:
    root.call("transaction.begin")
    for number in range(7):
        root.call("providers.add", provider={"name": f"p{number}"})
    root.call("transaction.commit")
    page = root.call("providers.list", size=3)
    names = [one["name"] for one in page["objects"]]
    while page["cursor"]:
        page = root.call("providers.list", cursor=page["cursor"], size=3)
        names += [one["name"] for one in page["objects"]]
    assert names == ["file", *(f"p{number}" for number in range(7))]
    cursor = root.call("providers.list", size=1)["cursor"]
    root.call("providers.close", cursor=cursor)
    assert code_of(lambda: root.call("providers.list", cursor=cursor)) == "FWP_E_NOT_FOUND"


def test_subscribers_get_notifications(methods: ObjectMethods) -> None:
    one, other = Connection(methods), Connection(methods)
    number = one.call("changes.subscribe", types=["filters"], on_delete=False, template={"name": "f"})["subscription"]
    other.call("filters.add", filter=blocking("f"))
    other.call("filters.add", filter=blocking("g"))
    one.call("filters.add", filter=blocking("f", key=str(uuid.uuid4())))
    assert [(told["name"], told["subscription"]) for told in one.told] == [("f", number)]
    one.call("changes.unsubscribe", subscription=number)
    assert code_of(lambda: one.call("changes.unsubscribe", subscription=number)) == "FWP_E_NOT_FOUND"


def test_errors_of_a_text_come_with_their_code_and_every_problem(root: Connection) -> None:
    with pytest.raises(RpcError) as caught:
        root.call("filters.add", filter=blocking("f", layer="nowhere", action="maybe"))
    data = caught.value.data
    assert isinstance(data, dict)
    assert len(data["problems"]) == 2
    assert data["error"].startswith("FWP_E_")


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("filters.add", {}),
        ("filters.add", {"policy": 1}),
        ("filters.add", {"filter": []}),
        ("filters.add", {"filter": {}, "policy": ""}),
        ("filters.add", {"filter": {}, "for": 0}),
        ("filters.add", {"filter": {}, "for": True}),
        ("filters.add", {"filter": {}, "for": 1e300}),
        ("sublayers.add", {"sublayer": 3}),
        ("filters.delete", {}),
        ("filters.delete", {"keys": []}),
        ("filters.delete", {"keys": ["x"]}),
        ("filters.delete", {"keys": [1]}),
        ("filters.delete", {"keys": [str(uuid.UUID(int=1))] * 1001}),
        ("filters.get", {}),
        ("filters.get", {"key": "f"}),
        ("filters.list", {"template": []}),
        ("filters.list", {"size": 0}),
        ("filters.list", {"size": 1001}),
        ("filters.list", {"cursor": 7}),
        ("session.open", {"dynamic": 1}),
        ("session.open", {"key": "x"}),
        ("session.open", {"name": "a\nb"}),
        ("session.open", {"txn_wait_timeout": -1}),
        ("transaction.begin", {"read_only": "yes"}),
        ("changes.subscribe", {"types": ["flow"]}),
        ("changes.subscribe", {"types": [[]]}),
        ("changes.subscribe", {"template": {"layer": "x"}}),
        ("changes.unsubscribe", {"subscription": "x"}),
    ],
)
def test_what_is_no_parameter_is_refused(root: Connection, engine: Engine, name: str, params: dict[str, Any]) -> None:
    assert error_of(lambda: root.call(name, **params)) == INVALID_PARAMS
    assert not engine.ground.calls


def test_operate_adds_filters_that_expire_in_sublayers_given_to_it(
    methods: ObjectMethods, engine: Engine, tmp_path: Path
) -> None:
    engine.load(tmp_path, "sublayers: [{name: given, operate: true}, {name: kept}]\n")
    operator, other = Connection(methods, Role.OPERATE, uid=7), Connection(methods, Role.OPERATE, uid=8)
    for params in (
        {"filter": blocking("f", sublayer="given")},
        {"filter": blocking("f", sublayer="kept"), "for": 60},
        {"filter": blocking("f"), "for": 60},
        {
            "policy": said(sublayers=[{"name": "own", "operate": True}], filters=[blocking("f", sublayer="own")]),
            "for": 60,
        },
    ):
        assert error_of(partial(operator.call, "filters.add", **params)) == NOT_ALLOWED
    key = operator.call("filters.add", filter=blocking("f", sublayer="given"), **{"for": 60})["filters"][0]["key"]
    assert error_of(lambda: other.call("filters.delete", keys=[key])) == NOT_ALLOWED
    assert operator.call("filters.delete", keys=[key])["deleted"] == 1
    assert not engine.names()


def test_operate_deletes_nothing_that_is_not_its_own(methods: ObjectMethods, engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, "filters: [{name: f, layer: ipforward_v4, action: block}]\n")
    operator, root = Connection(methods, Role.OPERATE), Connection(methods)
    own = root.call("filters.add", filter=blocking("g"))["filters"][0]["key"]
    of_file = root.call("filters.list", template={"name": "f"})["objects"][0]["key"]
    for key in (own, of_file, str(uuid.uuid4())):
        assert error_of(partial(operator.call, "filters.delete", keys=[key])) == NOT_ALLOWED
    assert error_of(lambda: Connection(methods, Role.OPERATE).call("session.open")) == NOT_ALLOWED
    assert Connection(methods, Role.OPERATE).call("session.open", dynamic=True)["dynamic"]


def test_read_begins_no_transaction_that_writes(methods: ObjectMethods) -> None:
    reader = Connection(methods, Role.READ)
    assert error_of(lambda: reader.call("transaction.begin")) == NOT_ALLOWED
    reader.call("transaction.begin", read_only=True)
    assert reader.call("sublayers.list")["total"] == 2
    reader.call("transaction.commit")
