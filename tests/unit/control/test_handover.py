import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.control.handover import decode, encode, encode_error
from wfpd.errors import Location, PolicyError, Problem, WfpdError
from wfpd.model.policy import (
    Action,
    Attachment,
    Budget,
    Callout,
    DaemonSettings,
    Faults,
    Filter,
    FilterFlag,
    Policy,
    Provider,
    ProviderContext,
    Sublayer,
    Word,
)

KEY = uuid.UUID(int=1)
POLICY = Policy(
    filters=(Filter("f", KEY, 24, "universal", Action.BLOCK, 0, 1, flags=FilterFlag.METRICS),),
    sublayers=(Sublayer("universal", KEY, 0x8000),),
    callouts=(Callout("c", KEY, "m:C", {"a": [1, {"b": None}]}, location=Location("p", 2, 3), budget=Budget(7)),),
    providers=(Provider("file", KEY),),
    provider_contexts=(ProviderContext("x", KEY, [1, [2]]),),
    attach=(Attachment("forward", ("eth0",), queues=(0, 1)),),
    daemon=DaemonSettings(events=({"file": "/e"},), flows_full=Word.BLOCK),
    faults=Faults(on_late=Word.BLOCK),
    files=("p",),
    hash="ab",
    lints=(Problem("lint", Location("p", 1)),),
)


def test_everything_but_filters_and_sets_survives_the_way() -> None:
    compiled = decode(memoryview(encode(POLICY, b"packed")))
    assert compiled.policy == replace(POLICY, filters=())
    assert bytes(compiled.packed) == b"packed"
    assert (compiled.slots, compiled.metric_filters, compiled.n_filters) == ({24}, ("f",), 1)


def test_a_refusal_comes_back_as_the_errors_it_was() -> None:
    problem = Problem("no", Location("p", 1, 2), "filter", "hint", "FWP_E_NOT_FOUND")
    with pytest.raises(PolicyError) as raised:
        decode(memoryview(encode_error(PolicyError([problem]))))
    assert raised.value.problems == [problem]
    with pytest.raises(PolicyError, match="odd"):
        decode(memoryview(encode_error(WfpdError("odd"))))


@given(st.binary(max_size=64))
def test_any_other_bytes_are_refused_by_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"compiled|Expecting|codec|decode|Extra|JSON"):
        decode(memoryview(data))
