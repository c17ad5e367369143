import json

from wfpd.observe.events import Encoder
from wfpd.observe.journal import Journal
from wfpd.observe.record import EventRecord
from wfpd.observe.sinks import EventStream, FileSink, Hub, JournalSink

RECORD = EventRecord(0, "block", "filter", filter="f", layer="ipforward_v4", sublayer="s", flow_id=1)


def test_a_file_follows_its_rotation(tmp_path) -> None:
    path = tmp_path / "eve.json"
    stream = EventStream([FileSink(str(path))], Encoder())
    stream.feed(RECORD)
    path.rename(tmp_path / "eve.json.1")
    stream.reopen()
    stream.feed(EventRecord(0, "block", filter="g"))
    stream.close()
    assert json.loads((tmp_path / "eve.json.1").read_text())["wfp"]["filter"] == "f"
    assert json.loads(path.read_text())["wfp"]["filter"] == "g"


def test_a_full_file_system_drops_and_counts() -> None:
    stream = EventStream([FileSink("/dev/full")], Encoder())
    stream.feed(RECORD)
    assert stream.dropped() == {"file": 1}


class Taker:
    """Takes so many lines."""

    def __init__(self, room: int) -> None:
        self.lines: list[bytes] = []
        self._room = room

    def put(self, line: bytes) -> bool:
        if len(self.lines) == self._room:
            return False
        self.lines.append(line)
        return True


def test_a_slow_subscriber_loses_its_own_events_only() -> None:
    hub, slow, quick = Hub(), Taker(1), Taker(3)
    hub.add(slow)
    hub.add(quick)
    for _ in range(3):
        hub.write(RECORD, b"{}\n")
    assert (len(slow.lines), len(quick.lines), hub.dropped) == (1, 3, 2)
    hub.remove(quick)
    hub.write(RECORD, b"{}\n")
    assert (len(quick.lines), hub.dropped) == (3, 3)


def test_a_journal_that_cannot_take_an_entry_drops_and_counts(tmp_path) -> None:
    sink = JournalSink(Journal(str(tmp_path / "none")))
    sink.write(RECORD, b"{}\n")
    assert sink.dropped == 1
