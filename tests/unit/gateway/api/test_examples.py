"""The examples of the OpenAPI document are what they are examples of."""

from __future__ import annotations

from typing import Any, cast

import jsonschema
import msgspec
import pytest

from gateway.api import examples
from gateway.api.binding import Route
from gateway.api.openapi import document
from gateway.api.routes import cart_routes, checkout_routes, product_routes
from gateway.http import problems

# The rows only call their handlers when a request comes.
NOBODY = cast(Any, None)
ROUTES = (*cart_routes(NOBODY), *product_routes(NOBODY), *checkout_routes(NOBODY))
DOCUMENT = document(ROUTES, "0")
WITH_BODY = [route for route in ROUTES if route.body is not None]


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
def test_each_body_has_an_example_that_its_route_takes(route: Route) -> None:
    body = msgspec.json.decode(msgspec.json.encode(examples.BODIES[route.name]), type=route.body)
    if faults := getattr(body, "faults", None):
        assert faults() == []


def test_no_example_is_left_of_a_route_that_is_gone() -> None:
    assert set(examples.BODIES) == {route.name for route in WITH_BODY}
    assert set(examples.ANSWERS) == {route.answers for route in ROUTES if route.answers and "/" not in route.answers}


@pytest.mark.parametrize("name", examples.ANSWERS)
def test_each_answer_fits_its_schema(name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.validate(examples.ANSWERS[name], schema)


@pytest.mark.parametrize("row", problems.ALL, ids=lambda row: row.slug)
def test_each_problem_shows_its_facts(row: problems.Problem) -> None:
    body = examples.of_problem(row)
    assert body["type"] == f"/problems/{row.slug}"
    has_facts = row.members is not problems.NOT_FOUND.members
    assert has_facts == (
        set(body) - {"type", "title", "status", "detail", "instance"} != set()
        or body["detail"] != row.opening["detail"]
    )
