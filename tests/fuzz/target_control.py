"""The control socket's lines."""

from __future__ import annotations

import json

from wfpd.control.protocol import RpcError, encode, error_line, parse_request, result_line


def control_line(data: bytes) -> None:
    """Any bytes: a request whose answer is one line of JSON, or an RpcError whose answer is; nothing else."""
    try:
        request = parse_request(data)
    except RpcError as error:
        answer = error_line(None, error)
    else:
        answer = result_line(request.id, dict(request.params))
        again = {"jsonrpc": "2.0", "method": request.method, "params": dict(request.params), "id": request.id}
        assert parse_request(encode(again)).method == request.method
    assert answer.endswith(b"\n") and answer.count(b"\n") == 1 and answer.isascii()
    json.loads(answer)


TARGETS = {"control_line": control_line}
