import signal
import subprocess
import threading

import pytest

from wfpd.stop_signals import STOP_SIGNALS, held_back


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_child_started_meanwhile_takes_no_stop_signal(number: signal.Signals) -> None:
    with held_back():
        child = subprocess.Popen(["sh", "-c", f"kill -{number.value} $$; echo lives"], stdout=subprocess.PIPE)
    assert child.communicate()[0] == b"lives\n"


def test_the_callers_mask_is_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with held_back():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= set(STOP_SIGNALS)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_signal_that_came_meanwhile_is_taken_afterwards() -> None:
    taken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: taken.append(number))
    try:
        with held_back():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # Another thread would take it of the process.
            assert not taken
        assert taken == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
