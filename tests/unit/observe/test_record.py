from wfpd.observe.record import EventRecord


def test_the_version_is_that_of_the_addresses() -> None:
    assert [EventRecord(0, "permit", source=bytes(n)).ip_version for n in (4, 16, 0)] == [4, 6, 0]
