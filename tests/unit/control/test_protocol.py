import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.control.protocol import Request, RpcError, error_line, event_line, parse_request, request_line, result_line


def test_a_call_comes_back_as_it_was_sent() -> None:
    assert parse_request(request_line("reload", {"confirm": 60}, 3)) == Request("reload", {"confirm": 60}, 3)


def test_a_call_without_an_id_is_a_notification() -> None:
    assert parse_request(b'{"jsonrpc":"2.0","method":"x"}').notification


def test_parameters_that_are_not_by_name_leave_the_request_its_id() -> None:
    assert parse_request(b'{"jsonrpc":"2.0","method":"x","params":[1],"id":7}') == Request("x", None, 7)


@given(st.binary())
def test_any_line_is_a_request_or_an_rpc_error(line: bytes) -> None:
    with contextlib.suppress(RpcError):
        assert isinstance(parse_request(line), Request)


@pytest.mark.parametrize("line", [b"[" * 100000, b'{"jsonrpc":"2.0","method":"x","id":NaN}', b"[]", b'{"method":"x"}',
                                  b'{"jsonrpc":"2.0","method":1}',
                                  b'{"jsonrpc":"2.0","method":"x","id":[]}'])  # fmt: skip
def test_odd_lines_are_refused(line: bytes) -> None:
    with pytest.raises(RpcError):
        parse_request(line)


def test_every_line_is_one_line() -> None:
    for line in (result_line(1, "a\nb"), error_line(None, RpcError(-1, "x\ny", {"a": 1})), event_line(b'{"a":1}\n')):
        assert line.count(b"\n") == 1
        json.loads(line)
