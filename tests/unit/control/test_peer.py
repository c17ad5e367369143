import json
import threading

from wfpd.control.limits import Room
from wfpd.control.peer import MAX_WAITING, MAX_WAITING_BYTES, Peer
from wfpd.control.protocol import Role


def peer_of(**more) -> Peer:
    return Peer(1, 2, Role.READ, **more)


def test_a_peer_is_known_by_identity() -> None:
    one, other = peer_of(), peer_of()
    assert one != other and len({one, other, one}) == 2
    assert repr(one) == "Peer(uid=1, pid=2, role=read)"


def test_notifications_wait_in_order_and_the_first_wakes() -> None:
    woken = []
    peer = peer_of(wake=lambda: woken.append(1))
    assert peer.notify("change", {"n": 1}) and peer.notify("change", {"n": 2})
    lines = [json.loads(line) for line in peer.take(10_000).splitlines()]
    assert [line["params"]["n"] for line in lines] == [1, 2] and "id" not in lines[0]
    assert peer.take(10_000) == b"" and woken == [1]
    peer.notify("change", {})
    assert woken == [1, 1]


def test_a_full_queue_says_so_by_count_and_by_bytes_and_has_room_again() -> None:
    peer = peer_of()
    assert [peer.send(b"x\n") for _ in range(MAX_WAITING + 2)][-3:] == [True, False, False]
    assert peer.dropped == 2
    assert peer.take(1) == b"x\n" and peer.send(b"y\n")
    large = peer_of()
    assert large.send(b"x" * MAX_WAITING_BYTES) and not large.send(b"x")


def test_connections_of_one_user_share_their_room_and_give_it_back_at_the_end() -> None:
    room = Room(10)
    one, other = peer_of(room=room), peer_of(room=room)
    assert one.send(b"x" * 6) and not other.send(b"x" * 6)
    one.end()
    assert other.send(b"x" * 6)
    assert other.take(100) and room.take(10)


def test_after_the_end_nothing_is_sent_or_begun() -> None:
    peer = peer_of()
    peer.end()
    assert not peer.send(b"x") and not peer.begin() and peer.take(10) == b""


def test_the_end_is_told_once_after_the_call_that_runs_and_last_the_server() -> None:
    said: list[str] = []
    peer = peer_of(finished=lambda: said.append("finished"))
    peer.at_end(lambda: said.append("a"))
    assert peer.begin()
    peer.end()
    peer.end()
    assert said == []
    peer.at_end(lambda: said.append("b"))  # As the call that runs still may.
    peer.done()
    assert said == ["a", "b", "finished"]
    peer.at_end(lambda: said.append("late"))
    assert said[-1] == "late"


def test_a_callback_that_fails_keeps_no_other_from_being_called(caplog) -> None:
    said = []
    peer = peer_of()
    peer.at_end(lambda: 1 / 0)
    peer.at_end(lambda: said.append(1))
    peer.end()
    assert said == [1] and "ZeroDivisionError" in caplog.text


def test_call_and_connection_that_end_at_once_tell_it_exactly_once() -> None:
    for _ in range(300):
        said: list[int] = []
        peer = peer_of()
        peer.at_end(lambda said=said: said.append(1))
        assert peer.begin()
        threads = [threading.Thread(target=work, daemon=True) for work in (peer.end, peer.done)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == [1]
