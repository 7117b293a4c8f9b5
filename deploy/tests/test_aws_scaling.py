"""A recorded peak against the scaling rules of the template: when tasks are added, and that an event adds them before."""

from __future__ import annotations

from functools import cache

import pytest
from cloudformation import load
from scaling import (
    LEAD_MINUTES,
    MARK,
    MINUTES_ABOVE,
    PEAK,
    PLOT,
    README,
    TASK_START_S,
    Fleet,
    Minute,
    Rules,
    TargetTracking,
    both,
    outcome_of,
    plot,
    recorded_peak,
    recording,
    report,
    rules_of,
    simulate,
)

EVENT = LEAD_MINUTES - 30
CPU = TargetTracking("cpu", 50.0, 60, 300)
REQUESTS = TargetTracking("requests", 1000.0, 60, 300)


@cache
def _played(event_minute: int | None) -> list[Minute]:
    template = load("service")
    peak = recorded_peak(recording(), requests_per_s=PEAK)
    return simulate(peak, rules_of(template, "Edge"), rules_of(template, "Worker"), event_minute=event_minute)


def test_the_rules_are_those_of_the_template() -> None:
    edge = rules_of(load("service"), "Edge")

    assert {each.name for each in edge.policies} == {"requests-per-target", "cpu"}
    assert edge.least < edge.event_least < edge.most


def test_tasks_are_added_while_the_peak_rises() -> None:
    outcome = outcome_of(_played(None))

    assert 0 < outcome.first_added <= 10
    assert outcome.most_edge_tasks * 1000 >= 0.9 * PEAK


def test_target_tracking_alone_is_behind_a_steep_rise() -> None:
    outcome = outcome_of(_played(None))

    assert outcome.excess_minutes > 0
    assert outcome.longest_wait_s > 60


def test_an_event_has_its_tasks_before_the_first_request() -> None:
    rules = rules_of(load("service"), "Edge")
    played = _played(EVENT)

    assert outcome_of(played).first_added < -25
    assert played[LEAD_MINUTES].edge_tasks == rules.event_least


def test_with_the_event_no_request_is_above_the_capacity_and_no_order_waits_for_a_minute() -> None:
    outcome = outcome_of(_played(EVENT))

    assert outcome.excess_minutes == 0
    assert outcome.longest_wait_s < 60


def test_workers_stay_while_orders_come_though_none_of_them_waits() -> None:
    played = _played(None)
    busiest = max(range(len(played)), key=lambda index: played[index].requests_per_s)

    assert all(each.wait_s < 60 for each in played[busiest - 3 : busiest + 15])


@pytest.mark.parametrize("event_minute", [None, EVENT])
def test_tasks_are_removed_after_the_peak(event_minute: int | None) -> None:
    played = _played(event_minute)

    assert played[-1].edge_tasks < max(each.edge_tasks for each in played)
    assert played[-1].worker_tasks < max(each.worker_tasks for each in played)


def _fleet(*policies: TargetTracking) -> Fleet:
    return Fleet(Rules(least=4, most=20, event_least=10, policies=policies))


def _minutes(fleet: Fleet, count: int, **metrics: float) -> Fleet:
    for minute in range(count):
        fleet.tick(minute * 60)
        fleet.observe(metrics, fleet.running, minute * 60)
    return fleet


def test_a_short_excursion_adds_no_task() -> None:
    assert _minutes(_fleet(CPU), MINUTES_ABOVE - 1, cpu=100.0).desired == 4


def test_tasks_are_added_in_proportion_to_the_metric() -> None:
    assert _minutes(_fleet(CPU), MINUTES_ABOVE, cpu=75.0).desired == 6


def test_the_policy_that_asks_for_most_wins() -> None:
    assert _minutes(_fleet(CPU, REQUESTS), MINUTES_ABOVE, cpu=75.0, requests=2000.0).desired == 8


def test_no_task_is_removed_while_one_policy_needs_it() -> None:
    fleet = _fleet(CPU, REQUESTS)
    fleet.raise_least(10, 0)
    fleet.raise_least(4, 0)

    assert _minutes(fleet, 60, cpu=10.0, requests=1000.0).desired == 10


def test_a_task_takes_requests_once_it_has_started() -> None:
    fleet = _fleet(CPU)
    fleet.raise_least(10, 0)

    fleet.tick(TASK_START_S - 1)
    before = fleet.running
    fleet.tick(TASK_START_S)

    assert (before, fleet.running) == (4, 10)


def test_the_number_of_tasks_stays_within_its_bounds() -> None:
    assert _minutes(_fleet(CPU), 30, cpu=100.0).desired == 20


def test_the_readme_has_the_figures_of_these_rules() -> None:
    written = README.read_text(encoding="utf-8").split(MARK[0])[1].split(MARK[1])[0]

    assert written.strip() == report(PEAK), "write them again: make bench-scaling ARGS=--write"


def test_the_plot_has_the_figures_of_these_rules() -> None:
    assert PLOT.read_text(encoding="utf-8") == plot(*both(PEAK)), "draw it again: make bench-scaling ARGS=--write"
