"""The examples of docs/client.md print what stands under them."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

import wfpd.client
from tests.control_schema import check_params, check_result
from tests.unit.client.fake import Fake, faked, line_of, refusal

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
KEYS = [f"7c2f3e0c-3b6e-4c4d-9d0a-00000000000{n}" for n in (4, 6)]
RELOADED = {"successful": True, "generation": 4, "hash": "", "seconds": 0.1, "n_filters": 1, "problems": [],
            "lints": [], "restart_needed": [], "confirm_within": None}  # fmt: skip
ANSWERS = {
    "reload": RELOADED, "confirm": RELOADED,
    "explain": {"format": 1, "generation": 4, "packet": {}, "decision": {"verdict": "block"}, "visits": []},
    "filters.add": {"generation": 4, "filters": [
        {"name": "telnet", "layer": f"inbound_transport_v{family}", "key": key}
        for family, key in zip((4, 6), KEYS, strict=True)]},
    "filters.list": {"objects": [{"name": name, "key": KEYS[0], "layer": "inbound_transport_v4", "hits": hits}
                                 for name, hits in (("telnet", 12), ("ssh", 3))], "cursor": None, "total": 2},
    "filters.delete": {"generation": 5, "deleted": 2},
    "session.open": {"key": KEYS[0], "id": 1, "dynamic": True},
    "transaction.begin": {}, "transaction.commit": {"generation": 5}, "transaction.abort": {},
    "sublayers.add": {"generation": 5, "objects": [{"name": "guests", "key": KEYS[0]}]},
    "flows.list": {"objects": [{"flow_id": 1}, {"flow_id": 2}], "cursor": None, "total": 2},
    "counters": {"time": 0.0, "generation": 3, "enforcing": True, "queues": [], "packets": {"permit": 9, "block": 7},
                 "bytes": {}, "drops": [], "flows": {"count": 0, "max": 1}, "filters": [], "uninspected": {},
                 "vetoes": {}},
}  # fmt: skip
CHANGE = {"subscription": 4, "type": "filters", "key": KEYS[0], "id": 1, "name": "telnet", "generation": 4}


def scripted(fake: Fake) -> None:
    """A daemon that answers what the examples ask for."""
    for method, answer in ANSWERS.items():
        check_result(method, answer)
        fake.on(method, answer)
    fake.on("status", {"generation": 3, "enforcing": True})
    fake.on("sublayers.delete", refusal(-32010, "it is in use", error="FWP_E_IN_USE", code=0x8032000A,
                                        hint="delete its filters first"))  # fmt: skip
    fake.on("changes.unsubscribe", {})

    def subscribed(params: dict[str, object]) -> bytes:
        told = [CHANGE | {"change": "add"}, CHANGE | {"change": "delete"},
                {"subscription": 4, "error": "FWP_E_NOTIFICATION_DROPPED", "dropped": 17}]  # fmt: skip
        answer = line_of({"id": len(fake.asked), "result": {"subscription": 4}})
        return answer + b"".join(line_of({"method": "change", "params": one}) for one in told)

    fake.on("changes.subscribe", subscribed)
    event = line_of({"method": "event", "params": {"event_type": "drop", "src_ip": "192.0.2.7"}})
    fake.on("events.subscribe", lambda params: line_of({"id": len(fake.asked), "result": {}}) + event)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_what_stands_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    code, printed = EXAMPLES[number]
    with faked(tmp_path / "c.sock") as fake:
        scripted(fake)
        for name in ("Client", "AsyncClient"):
            bound = functools.partial(getattr(wfpd.client, name), fake.path, timeout=5)
            monkeypatch.setattr(wfpd.client, name, bound, raising=False)
        namespace = {"__name__": "example"}
        exec(compile(code, f"docs/client.md, example {number + 1}", "exec"), namespace)
    assert capsys.readouterr().out == printed
    for method, params in fake.asked:
        check_params(method, params)


def test_every_block_of_python_is_such_an_example() -> None:
    assert TEXT.count("```python") == len(EXAMPLES) == 5
