from wfpd.cli.arguments import seconds


def test_times_are_written_with_a_unit() -> None:
    assert [seconds(text) for text in ("60s", "5m", "1h", "500ms", "7")] == [60, 300, 3600, 0.5, 7]
