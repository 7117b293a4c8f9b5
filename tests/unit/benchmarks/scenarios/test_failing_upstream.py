from collections import Counter
from pathlib import Path

import pytest

from benchmarks.load.constant_rate import RunStats
from benchmarks.scenarios.failing_upstream import FAILURES, Case, Failure, Pair, configuration_of, result_of
from benchmarks.upstreams.failing import FAILURE_MODES
from gateway.config.file import read_text

CASES = [Case(failure, is_exposed) for failure in FAILURES for is_exposed in (False, True)]


def seen(*milliseconds: float, wrong: int = 0) -> RunStats:
    return RunStats([each / 1000 for each in milliseconds], wrong)


def test_each_case_has_a_route_an_upstream_and_a_breaker_of_its_own(tmp_path: Path) -> None:
    policies = read_text(configuration_of(CASES, 8081, log=tmp_path / "log"), name="peakgate.toml").policies

    prefixes = [route.prefix for route in policies.routes]
    assert len(prefixes) == len(set(prefixes))
    assert all(case.path.removesuffix("page") in prefixes for case in CASES)
    assert "/healthy/" in prefixes
    assert {route.upstream for route in policies.routes} == {upstream.name for upstream in policies.upstreams}


def test_an_exposed_upstream_is_never_cut_off(tmp_path: Path) -> None:
    policies = read_text(configuration_of(CASES, 8081, log=tmp_path / "log"), name="peakgate.toml").policies

    exposed = [upstream for upstream in policies.upstreams if upstream.name.endswith("-exposed")]
    assert exposed
    assert all(upstream.failures_to_eject > 1_000_000 for upstream in exposed)
    assert policies.breaker.keys() == {upstream.name for upstream in exposed}
    assert all(breaker.min_calls > 1_000_000 for breaker in policies.breaker.values())


def test_the_upstream_has_every_failure_mode_that_is_measured() -> None:
    assert {failure.mode for failure in FAILURES} | {"healthy"} == FAILURE_MODES.keys()


def test_the_ratio_is_taken_within_a_round_and_the_statuses_are_counted_together() -> None:
    pairs = [
        Pair(seen(1), seen(1.1), Counter({"502": 20})),
        Pair(seen(2), seen(2.2), Counter({"503": 30})),
        Pair(seen(1), seen(9), Counter({"503": 10})),
    ]

    result = result_of(Case(Failure("hangs", "hangs"), is_exposed=False), pairs)

    assert (round(result.measured, 3), result.target, result.met) == (1.1, 1.2, True)
    assert result.note == "2.20 to 1.00 ms; its clients got 40 503, 20 502"


@pytest.mark.parametrize(("percent", "expected_ms"), [(50, 2.0), (99, 4.0), (100, 4.0), (0, 1.0)])
def test_a_percentile_is_one_of_the_measured_values(percent: float, expected_ms: float) -> None:
    assert seen(3, 1, 4, 2).percentile_ms(percent) == expected_ms


def test_a_percentile_without_responses_is_an_error() -> None:
    with pytest.raises(ValueError, match="there were no responses"):
        RunStats().percentile_ms(99)
