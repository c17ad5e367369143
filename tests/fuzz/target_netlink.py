"""The reader of NFQUEUE's messages."""

from __future__ import annotations

from wfpd.dataplane._netlink import read_datagram

KINDS = {"packet", "answer", "other", "malformed"}


def read_any(data: bytes) -> None:
    """Any datagram, whole or cut: known kinds of messages, and payloads that stand in the datagram."""
    for cut in (False, True):
        found = read_datagram(data, cut=cut)
        assert len(found) <= len(data) // 16
        for message in found:
            assert message["kind"] in KINDS
            if message["kind"] == "packet":
                assert message["captured"] <= message["original"]
                assert message["data"] is None or message["data"] in data


TARGETS = {"netlink": read_any}
