"""A gateway whose store fails over: orders are accepted again, are completed, and none is lost."""

import pytest

from benchmarks.scenarios.failover import WAYS, Way, run
from tests.waiting import WITHIN_S


@pytest.mark.parametrize("way", [WAYS[0], WAYS[-1]], ids=lambda way: way.name)
def test_after_a_failover_orders_are_accepted_and_completed_again(way: Way) -> None:
    outcome = run(way, patience_s=WITHIN_S)
    assert outcome.accepted_s
    assert outcome.statuses.keys() <= {"202", "503"}
    assert outcome.lost == 0
