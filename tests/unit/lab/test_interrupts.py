import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wfpd.lab import interrupts


@pytest.fixture(autouse=True)
def handlers_come_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    interrupts.catch()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_an_interrupt(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def nested(noted: list[str]) -> None:
    with interrupts.held():
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGTERM)
            noted.append("inner")
        noted.append("outer")


def failing() -> None:
    with interrupts.held():
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("full")


def test_a_signal_inside_comes_once_at_the_end_of_the_outermost() -> None:
    noted: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        nested(noted)
    assert noted == ["inner", "outer"]
    with interrupts.held():
        pass


def test_an_error_inside_is_not_hidden_and_the_signal_comes_with_the_next() -> None:
    with pytest.raises(OSError, match="full"):
        failing()
    with pytest.raises(KeyboardInterrupt):
        nested([])


def test_a_child_started_inside_can_be_ended() -> None:
    with interrupts.held():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child.terminate()
    assert child.wait(timeout=30) == -signal.SIGTERM
