import os
import socket

from wfpd.control.notify import Notifier


def test_messages_reach_the_manager_in_its_protocol(tmp_path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
        notifier.ready("up\nand running")
        assert manager.recv(999) == b"READY=1\nSTATUS=up and running"
        notifier.reloading()
        assert manager.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.watchdog()
        assert manager.recv(999) == b"WATCHDOG=1"
        notifier.stopping()
        assert manager.recv(999) == b"STOPPING=1"
        notifier.status("x")
        assert manager.recv(999) == b"STATUS=x"
        assert notifier.watchdog_seconds == 3.0


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready()
    assert notifier.watchdog_seconds == 0
