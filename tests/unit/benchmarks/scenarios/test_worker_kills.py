from benchmarks.scenarios.worker_kills import Outcome, results_of
from cart.model import OrderId

A, B, C = OrderId("a"), OrderId("b"), OrderId("c")


def measured(outcome: Outcome) -> dict[str, float]:
    return {result.name: result.measured for result in results_of(outcome)}


def test_orders_that_ended_as_they_may_meet_every_target() -> None:
    outcome = Outcome(
        {A: "tok_ok", B: "tok_declined", C: "tok_timeout"},
        {A: "completed", B: "cancelled", C: "attention"},
        stock_taken=2,
        took_s=1.0,
    )
    assert all(result.met in {True, None} for result in results_of(outcome))
    assert measured(outcome)["orders that need attention"] == 1


def test_an_order_without_an_end_a_wrong_end_and_lost_stock_are_counted() -> None:
    outcome = Outcome(
        {A: "tok_ok", B: "tok_ok", C: "tok_declined"},
        {A: None, B: "attention", C: "completed"},
        stock_taken=5,
        took_s=1.0,
    )
    assert measured(outcome)["orders without an end"] == 1
    assert measured(outcome)["orders with a wrong end"] == 2
    assert measured(outcome)["units of stock taken without an order that has them"] == 3
