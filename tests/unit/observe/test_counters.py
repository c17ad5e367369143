from wfpd.observe.counters import DURATION_BOUNDS, Histogram


def test_a_duration_is_counted_once_in_the_first_bucket_that_admits_it() -> None:
    histogram = Histogram()
    histogram.observe(DURATION_BOUNDS[0])
    histogram.observe(DURATION_BOUNDS[-1] * 2)
    assert histogram.counts[0] == 1
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 2
