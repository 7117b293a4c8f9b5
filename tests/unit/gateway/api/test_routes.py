"""The table of routes."""

from __future__ import annotations

from typing import Any, Final

from gateway.api.routes import checkout_routes
from gateway.config.policies import CRITICALITIES

NO_HANDLERS: Final[Any] = None
ROUTES: Final = {(route.method, route.path): route for route in checkout_routes(NO_HANDLERS, NO_HANDLERS, NO_HANDLERS)}


def test_streams_of_events_are_shed_first_and_checkouts_last() -> None:
    assert ROUTES["GET", "/v1/orders/{order_id}/events"].criticality == CRITICALITIES[-1]
    assert ROUTES["POST", "/v1/checkout"].criticality == CRITICALITIES[0]
