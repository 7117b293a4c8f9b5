"""Marks of degraded responses."""

from __future__ import annotations

import pytest

from gateway.http.message import Request, Response, resolve
from gateway.pipeline.degraded import Degraded, degraded_while


def a_request() -> Request:
    return Request("POST", "/v1/checkout", "", {}, b"", "id", ())


def test_a_mark_is_a_header_field_of_the_response_and_a_count() -> None:
    degraded, request = Degraded(), a_request()
    degraded.mark(request, "prices")
    degraded.mark(request, "limits")
    assert request.extra_headers == b"Degraded: prices\r\nDegraded: limits\r\n"
    assert degraded.snapshot()["prices"] == 1
    (metric,) = degraded.metrics()
    assert {sample.labels["part"]: sample.value for sample in metric.samples}["limits"] == 1.0


def test_a_second_mark_of_a_part_adds_nothing() -> None:
    degraded, request = Degraded(), a_request()
    degraded.mark(request, "prices")
    degraded.mark(request, "prices")
    assert (request.extra_headers, degraded.counts["prices"]) == (b"Degraded: prices\r\n", 1)


def test_only_known_parts_can_be_marked() -> None:
    with pytest.raises(KeyError):
        Degraded().mark(a_request(), "everything")


@pytest.mark.parametrize(
    ("status", "away", "notes"), [(202, True, b"Degraded: queue\r\n"), (202, False, b""), (409, True, b"")]
)
async def test_orders_accepted_while_the_queue_is_away_are_marked(status: int, away: bool, notes: bytes) -> None:
    async def handler(_request: Request) -> Response:
        return Response(status)

    request = a_request()
    layer = degraded_while(Degraded(), "queue", lambda: away, status=202)
    assert (await resolve(layer(handler)(request))).status == status
    assert request.extra_headers == notes
