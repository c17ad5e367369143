"""What a class says of itself, as its registration tells it."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest

from wfpd.callouts.registered import Registered
from wfpd.model.policy import Callout

ONE = Callout("one", uuid.uuid4(), "some:Class")


class Plain:
    def classify(self, c: Any) -> None:
        c.permit()


class Waits:
    async def classify(self, c: Any) -> None:
        c.permit()


class Picky(Plain):
    layers = ("inbound_transport", "ipforward_v4")
    needs_payload = False
    conditional_on_flow = True


def test_what_a_class_does_not_say_has_its_default() -> None:
    found = Registered(ONE, Plain())
    assert (found.parks, found.needs_payload, found.conditional_on_flow, found.is_async) == (False, True, False, False)
    assert (found.notify, found.flow_delete, found.native) == (None, None, None)


def test_a_coroutine_parks_by_itself() -> None:
    found = Registered(ONE, Waits())
    assert found.parks and found.is_async


def test_a_compiled_one_that_parks_has_somebody_to_give_its_packets_to() -> None:
    class Compiled:
        native = object()
        parks = True

    with pytest.raises(TypeError, match="no method pended"):
        Registered(ONE, Compiled())

    class Awaits(Compiled):
        async def pended(self, c: Any, handle: Any) -> None: ...

    with pytest.raises(TypeError, match="not awaited"):
        Registered(ONE, Awaits())

    class Takes(Compiled):
        def pended(self, c: Any, handle: Any) -> None: ...

    assert Registered(ONE, Takes()).parks and Registered(ONE, Plain()).pended is None


def test_a_compiled_one_injects_from_its_classify_or_from_pended() -> None:
    class Compiled:
        native = object()
        injects = True

    class Asks(Compiled):
        def classify(self, c: Any) -> None: ...

    class Pends(Compiled):
        parks = True

        def pended(self, c: Any, handle: Any) -> None: ...

    class Awaits(Compiled):
        async def classify(self, c: Any) -> None: ...

    with pytest.raises(TypeError, match="needs a classify, or a method pended"):
        Registered(ONE, Compiled())
    assert all(Registered(ONE, right()).injects for right in (Asks, Pends, Awaits))


def test_a_compiled_one_that_parks_may_do_so_in_its_classify() -> None:
    class Asks:
        native = object()
        parks = True

        def classify(self, c: Any) -> None: ...

    class Awaits:
        native = object()

        async def classify(self, c: Any) -> None: ...

    assert Registered(ONE, Asks()).parks
    found = Registered(ONE, Awaits())
    assert found.parks and found.is_async


def test_layers_are_named_with_or_without_their_family() -> None:
    found = Registered(ONE, Picky())
    served = [layer for layer in ("inbound_transport_v4", "inbound_transport_v6", "ipforward_v4", "ipforward_v6",
                                  "inbound_transport_v4_discard") if found.serves(layer)]  # fmt: skip
    assert served == ["inbound_transport_v4", "inbound_transport_v6", "ipforward_v4"]
    assert not found.needs_payload and found.conditional_on_flow
    assert Registered(ONE, Plain()).serves("ipforward_v6")


@pytest.mark.parametrize("layers", ["ipforward", (3,)])
def test_layers_are_names(layers: object) -> None:
    instance = Plain()
    instance.layers = layers  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="layer names"):
        Registered(ONE, instance)


@pytest.mark.parametrize("name", ["ipforwad", "inbound_transport_v5", "discard"])
def test_layers_are_those_that_there_are(name: str) -> None:
    instance = Plain()
    instance.layers = ("ipforward", name)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=f"no layer '{name}'"):
        Registered(ONE, instance)


def test_a_stream_is_held_or_passes() -> None:
    instance = Plain()
    for instance.stream_mode in ("hold", "pass"):  # type: ignore[attr-defined]
        assert Registered(ONE, instance).stream_mode == instance.stream_mode  # type: ignore[attr-defined]
    instance.stream_mode = "both"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="stream_mode is 'both'"):
        Registered(ONE, instance)


def test_a_close_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Plain):
        def close(self) -> None:
            raise RuntimeError("no")

    with caplog.at_level(logging.ERROR, "wfpd.callouts"):
        Registered(ONE, Bad()).close()
    assert "callout one: close() failed" in caplog.text


def test_two_registrations_have_two_numbers() -> None:
    first, second = Registered(ONE, Plain()), Registered(ONE, Plain())
    assert first.number != second.number
    assert Registered(ONE, Plain(), first.number).number == first.number


class Injecting(Plain):
    injects = True
    modifies = True


class InjectsTooOften(Injecting):
    injects_at_most = 256


class WaitsAndActs(Waits):
    injects = True
    modifies = True


def test_what_a_class_says_of_injection() -> None:
    found = Registered(ONE, Injecting())
    assert (found.injects, found.sees_injected, found.injects_at_most, found.modifies) == (True, False, 8, True)
    assert not Registered(ONE, Plain()).injects
    found = Registered(ONE, WaitsAndActs())
    assert (found.injects, found.modifies, found.is_async) == (True, True, True)
    with pytest.raises(TypeError, match="inject"):
        Registered(ONE, InjectsTooOften())
