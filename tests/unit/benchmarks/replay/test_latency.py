import pytest

from benchmarks.replay.latency import Latencies, LatencyRow, percentile


@pytest.mark.parametrize(
    ("share", "value"), [(0.01, 1.0), (0.5, 50.0), (0.505, 51.0), (0.9, 90.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_a_percentile_is_the_least_value_that_the_share_does_not_exceed(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(1, 101)], share) == value


def test_a_single_call_is_every_percentile() -> None:
    latencies = Latencies()
    latencies.add("read", 0.002)

    assert latencies.rows() == [LatencyRow("read", 1, 2.0, 2.0, 2.0, 2.0)]


def test_rows_are_in_the_order_of_first_calls() -> None:
    latencies = Latencies()
    for kind, seconds in [("write", 0.003), ("read", 0.001), ("write", 0.001), ("write", 0.002)]:
        latencies.add(kind, seconds)

    assert latencies.rows() == [
        LatencyRow("write", 3, 2.0, 3.0, 3.0, 3.0),
        LatencyRow("read", 1, 1.0, 1.0, 1.0, 1.0),
    ]
