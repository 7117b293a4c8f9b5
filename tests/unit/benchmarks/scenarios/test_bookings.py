from dataclasses import replace

from benchmarks.scenarios.bookings import Outcome, book_with_failures, results_of

RIGHT = Outcome(orders=10, most_look_ups=2)


def test_each_wrong_booking_misses_a_target() -> None:
    assert all(result.met is not False for result in results_of(RIGHT))
    for wrong in (
        replace(RIGHT, booked_twice=1),
        replace(RIGHT, without_shipment=1),
        replace(RIGHT, booked_after_cancel=1),
        replace(RIGHT, most_look_ups=4),
    ):
        assert [result.met for result in results_of(wrong)].count(False) == 1


async def test_two_hundred_orders_at_a_failing_service_are_booked_once() -> None:
    outcome = await book_with_failures(200)
    assert outcome.unknown > 0
    assert all(result.met is not False for result in results_of(outcome))
