import pytest

from wfpd.client.errors import CallError, DaemonFault, InvalidCall, NotAllowed, Refused, error_of
from wfpd.errors import WfpdError


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [(-32010, Refused, 1), (-32001, NotAllowed, 3), (-32602, InvalidCall, 2), (-32601, InvalidCall, 2),
     (-32600, InvalidCall, 2), (-32700, InvalidCall, 2), (-32603, DaemonFault, 70), (-1, CallError, 70)],
)  # fmt: skip
def test_the_code_says_who_is_at_fault(code: int, kind: type[CallError], status: int) -> None:
    error = error_of("filters.add", code, "no", None)
    assert type(error) is kind and isinstance(error, WfpdError)
    assert (error.exit_status, error.method, error.rpc_code, str(error)) == (status, "filters.add", code, "no")


def test_a_refusal_has_wfps_name_and_number_a_hint_and_problems() -> None:
    data = {"error": "FWP_E_IN_USE", "code": 2150760458, "hint": "delete its filters", "problems": ["a", "b"]}
    error = Refused("sublayers.delete", -32010, "it is in use", data)
    assert (error.error, error.code, error.hint, error.problems) == (
        "FWP_E_IN_USE", 2150760458, "delete its filters", ["a", "b"])  # fmt: skip


@pytest.mark.parametrize("data", [None, [], "x", {}, {"error": 1, "code": "x", "hint": None, "problems": "x"}])
def test_whatever_the_data_is_a_refusal_can_be_read(data: object) -> None:
    error = Refused("x", -32010, "no", data)
    assert (error.error, error.code, error.hint, error.problems) == ("", 0, "", [])
