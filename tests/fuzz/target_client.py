"""What a client reads from the control socket."""

from __future__ import annotations

import contextlib

from wfpd.client._core import Answer, Core, Inbox, Notification
from wfpd.errors import ControlError, WfpdError


def client_answers(data: bytes) -> None:
    """Any bytes, in any pieces: the same messages as in one, then at most one ControlError; nothing else."""
    whole, failed = _read([data])
    pieces, also = _read([data[at : at + 7] for at in range(0, len(data), 7)])
    assert (whole == pieces or failed) and failed == also
    inbox = Inbox()
    inbox.begin()
    for message in whole:
        if isinstance(message, Answer):
            assert message.error is None or isinstance(message.failure("x"), WfpdError)
        else:
            inbox.put(message)
    inbox.end(("event", None))


def _read(parts: list[bytes]) -> tuple[list[Answer | Notification], bool]:
    core, found = Core(max_answer=1000), list[Answer | Notification]()
    with contextlib.suppress(ControlError):
        for part in parts:
            found += core.feed(part)
        return found, False
    return found, True


TARGETS = {"client_answers": client_answers}
