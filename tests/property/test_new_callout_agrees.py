"""The callout of a new project, on any text in any segments and order, against Python's `in`."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wfpd.testing.callouts import CalloutRun
from wfpd.testing.project import Project

WORD = "abab"
TEXTS = st.text("abc", min_size=1, max_size=40).map(str.encode)


def the_class() -> Any:
    """As `wfpd new-callout a-callout` writes it."""
    found: dict[str, Any] = {"__name__": "a_callout"}
    exec(Project("a-callout").files()["src/a_callout/__init__.py"], found)
    return found["ACallout"]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), text=TEXTS, answer=TEXTS)
def test_a_connection_ends_exactly_where_the_word_is(data: st.DataObject, text: bytes, answer: bytes) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, 39), max_size=8)))
    bounds = [0, *(at for at in cuts if at < len(text)), len(text)]
    segments = data.draw(st.permutations([(at, text[at:end]) for at, end in itertools.pairwise(bounds)]))
    run = CalloutRun.of(the_class(), "stream", options={"word": WORD}, kind="unknown")
    talk = run.conversation()
    for at, part in segments:
        if not talk.over:
            talk.client(part, at=at)
    for send in (lambda: talk.server(answer), talk.close):
        if not talk.over:
            send()
    run.close()
    word = WORD.encode()
    assert (talk.verdict == "block") is (word in text or word in answer)
    assert text.startswith(talk.server_received) and answer.startswith(talk.client_received)
    assert word not in talk.server_received and word not in talk.client_received
    if talk.verdict == "permit":
        assert (talk.server_received, talk.client_received) == (text, answer)
