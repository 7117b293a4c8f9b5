from benchmarks.load.open_loop import KindStats, LoadStats
from benchmarks.scenarios.rolling import Outcome, Roll, results_of

CALM = {"connections": 0, "responses": 0, "5xx": 0}


def load(*, accepted: int = 80, rejected: int = 0, other: int = 0, lost: int = 0) -> LoadStats:
    kinds = {"checkout": KindStats(accepted, rejected, other)}
    return LoadStats(accepted + rejected + other + lost, 1.0, kinds, lost, 1.0, 2.0, 3.0, 0.0, [], 0.0)


def outcome(*loads: LoadStats, errors: dict[str, int] = CALM, stock_taken: int = 80) -> Outcome:
    return Outcome(100.0, tuple(Roll(each, 5.0) for each in loads), errors, orders_accepted=80, stock_taken=stock_taken)


def measured(found: Outcome) -> dict[str, float]:
    return {result.name: result.measured for result in results_of(found)}


def test_rolls_that_no_shopper_notices_meet_every_target() -> None:
    results = results_of(outcome(load()))
    assert all(result.met in {True, None} for result in results)
    assert next(result.note for result in results if result.name == "load") == "80% of the most that was served"


def test_failures_of_each_kind_are_counted_over_all_rolls() -> None:
    found = measured(
        outcome(load(rejected=1, lost=2), load(other=3), errors={"connections": 1, "responses": 4, "5xx": 0})
    )
    assert found["responses 429 and 503"] == 1
    assert found["requests without a response"] == 2
    assert found["other responses than 2xx"] == 3
    assert found["connections that a gateway refused or reset"] == 5


def test_a_lost_order_and_a_doubled_one_are_differences_between_orders_and_stock() -> None:
    assert measured(outcome(load(), stock_taken=79))["orders lost or doubled"] == 1
    assert measured(outcome(load(), stock_taken=82))["orders lost or doubled"] == 2
