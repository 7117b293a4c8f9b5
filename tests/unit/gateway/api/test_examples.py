"""The examples in the OpenAPI document are valid."""

from __future__ import annotations

from typing import Any, cast

import jsonschema
import msgspec
import pytest

from gateway.api import examples
from gateway.api.binding import Route
from gateway.api.health import HealthSources, health_routes
from gateway.api.openapi import document
from gateway.api.routes import cart_routes, checkout_routes, product_routes, quote_routes, trending_routes
from gateway.api.webhook_routes import webhook_routes
from gateway.http import problems

# Routes call their handlers only for a request.
NO_HANDLERS = cast(Any, None)
ROUTES = (
    *cart_routes(NO_HANDLERS),
    *product_routes(NO_HANDLERS),
    *trending_routes(NO_HANDLERS),
    *checkout_routes(NO_HANDLERS, NO_HANDLERS, NO_HANDLERS),
    *quote_routes(NO_HANDLERS),
    *webhook_routes(shipping=cast(Any, object()), payments=cast(Any, object())),
    *health_routes(HealthSources(checks={})),
)
DOCUMENT = document(ROUTES, "0")
WITH_BODY = [route for route in ROUTES if route.body is not None]


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
def test_every_request_body_has_a_valid_example(route: Route) -> None:
    body = msgspec.json.decode(msgspec.json.encode(examples.BODIES[route.name]), type=route.body)
    if faults := getattr(body, "faults", None):
        assert faults() == []


def test_every_example_belongs_to_a_route() -> None:
    assert set(examples.BODIES) == {route.name for route in WITH_BODY}
    assert set(examples.RESPONSES) == {route.response for route in ROUTES if route.response is not None}


@pytest.mark.parametrize("struct", examples.RESPONSES)
def test_every_response_example_matches_its_schema(struct: type) -> None:
    schema = {"$ref": f"#/components/schemas/{struct.__name__}", "components": DOCUMENT["components"]}
    example = examples.RESPONSES[struct]
    assert type(example) is struct
    jsonschema.validate(msgspec.to_builtins(example), schema)


@pytest.mark.parametrize("row", problems.ALL, ids=lambda row: row.slug)
def test_every_problem_example_has_its_facts(row: problems.Problem) -> None:
    body = examples.of_problem(row)
    assert body["type"] == f"/problems/{row.slug}"
    has_facts = row.members is not problems.NOT_FOUND.members or row.slug in examples.FACTS_OF_LAYERS
    assert has_facts == (
        set(body) - {"type", "title", "status", "detail", "instance"} != set()
        or body["detail"] != row.opening["detail"]
    )
