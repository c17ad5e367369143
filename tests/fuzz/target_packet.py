"""The packet parser."""

from __future__ import annotations

from wfpd.dataplane import _parse

NAMES = _parse.PARSE_STATUS_NAMES


def check_view(view: dict[str, int], size: int) -> None:
    """What holds for every view, whatever the bytes were."""
    assert 0 <= view["status"] < len(NAMES)
    assert view["captured"] == size
    assert view["transport_offset"] <= size and view["payload_offset"] <= size
    assert view["family"] in (0, 4, 6)
    assert view["ecn"] < 4 and view["dscp"] < 64
    if view["payload_offset"]:
        assert view["payload_offset"] + view["payload_length"] <= view["length"]
    if view["has_tcp"]:
        assert view["has_ports"] and view["protocol"] == 6
    if view["status"]:
        above = [name for name in view if name.startswith("has_") and name not in ("has_protocol", "has_addresses")]
        assert not any(view[name] for name in above)
    if view["fragment"] == 2:
        assert not view["has_ports"] and not view["has_icmp"] and not view["transport_offset"]


def parse_any(data: bytes) -> None:
    """Any bytes, whole or cut: a view inside the buffer or a status, and a cut never makes a packet malformed."""
    for flags in (0, _parse.VERIFY_CHECKSUMS):
        whole = _parse.parse_of(data, flags=flags)
        check_view(whole, len(data))
    whole = _parse.parse_of(data)
    for size in {len(data) - 1, len(data) // 2, 41, 20, 8, 1}:
        if not 0 < size < len(data):
            continue
        cut = _parse.parse_of(data[:size], len(data))
        check_view(cut, size)
        if NAMES[whole["status"]] == "ok":
            assert NAMES[cut["status"]] == "ok"


TARGETS = {"packet": parse_any}
