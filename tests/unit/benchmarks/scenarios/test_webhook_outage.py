"""A small outage of a receiver of webhooks, as the benchmark has a large one."""

from __future__ import annotations

import uvloop

from benchmarks.scenarios.webhook_outage import _order, _outage


def test_in_an_outage_the_order_is_kept_with_one_probe_a_minute() -> None:
    results = uvloop.run(_outage([_order() for _ in range(25)]))
    assert all(result.met is not False for result in results), results
    measured = {result.name: result.measured for result in results}
    assert measured["messages that waited"] == 100
    assert 300 < measured["requests in six hours of outage"] < 365
