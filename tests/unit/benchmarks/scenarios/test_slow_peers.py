from collections import Counter

from benchmarks.load.constant_rate import RunStats
from benchmarks.scenarios.slow_peers import CASES, CONFIGURATION, Case, Outcome, results_of
from gateway.config.file import read_text


def test_the_configuration_forwards_and_trusts_the_addresses_of_the_clients() -> None:
    policies = read_text(CONFIGURATION.format(port=8081), name="peakgate.toml").policies
    assert policies.routes[0].upstream == policies.upstreams[0].name
    assert policies.identity.trusted_proxies


def test_errors_of_the_other_clients_miss_the_target_and_those_of_the_slow_ones_do_not() -> None:
    outcome = Outcome(RunStats([0.001, 0.002], wrong=1), Counter({"503": 268, "none": 32}))
    errors, p99 = results_of(Case("uploads", 1, 1000), outcome)
    assert (errors.measured, errors.met) == (1, False)
    assert errors.note == "the slow ones got 268 503, 32 none"
    assert (p99.measured, p99.unit) == (2.0, "ms")


def test_both_directions_are_measured_for_one_client_and_for_many() -> None:
    kinds = {(case.upload_bytes > 100_000, case.addresses > 1) for case in CASES if case.addresses}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
