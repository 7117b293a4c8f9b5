"""The OpenAPI document is valid, complete and matches the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

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
DOCUMENT = document(ROUTES, "1.2.3")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """The node, or the one to which it refers."""
    if "$ref" not in node:
        return node
    target: Any = DOCUMENT
    for step in node["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return cast(dict[str, Any], target)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_the_document_has_exactly_the_routes() -> None:
    assert {(method, path) for method, path, _ in operations()} == {(route.method, route.path) for route in ROUTES}


def test_the_routes_are_the_documented_api() -> None:
    cart, order = "/v1/carts/{cart_id}", "/v1/orders/{order_id}"
    assert {(route.method, route.path) for route in ROUTES} == {
        ("POST", "/v1/carts"),
        ("GET", "/v1/orders"),
        ("GET", cart),
        ("GET", "/v1/carts/mine"),
        ("DELETE", cart),
        ("POST", f"{cart}/lines"),
        ("PATCH", f"{cart}/lines"),
        ("PUT", f"{cart}/lines/{{sku}}"),
        ("DELETE", f"{cart}/lines/{{sku}}"),
        ("POST", f"{cart}/lines/{{sku}}/hold"),
        ("POST", f"{cart}/merge"),
        ("PUT", f"{cart}/coupon"),
        ("DELETE", f"{cart}/coupon"),
        ("GET", f"{cart}/quote"),
        ("GET", "/v1/products"),
        ("GET", "/v1/products/trending"),
        ("GET", "/v1/products/{sku}"),
        ("POST", "/v1/checkout"),
        ("GET", order),
        ("GET", f"{order}/events"),
        ("POST", f"{order}/cancel"),
        ("POST", "/v1/webhooks/shipping"),
        ("POST", "/v1/webhooks/payment"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }


def test_every_reference_resolves() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        node: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


def test_every_schema_is_referenced() -> None:
    for kind in ("schemas", "responses", "headers"):
        named = {f"#/components/{kind}/{name}" for name in DOCUMENT["components"][kind]}
        assert named == {each for each in references(DOCUMENT) if each.startswith(f"#/components/{kind}/")}


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"\w+", name) for name in names)


@pytest.mark.parametrize(("method", "path", "operation"), list(operations()), ids=lambda value: str(value)[:40])
def test_an_operation_lists_its_parameters_response_and_problems(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    (route,) = (route for route in ROUTES if (route.method, route.path) == (method, path))
    in_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    assert str(route.status) in operation["responses"]
    descriptions = " ".join(resolved(response)["description"] for response in operation["responses"].values())
    assert all(f"`{slug}`" in descriptions for slug in route.problems)
    assert ("requestBody" in operation) == (route.body is not None)
    if route.body is not None:
        assert {"malformed-json", "invalid-body"} <= set(route.problems)


def test_problems_of_routes_are_known_slugs() -> None:
    known = {row.slug for row in problems.ALL}
    assert all(set(route.problems) <= known for route in ROUTES)


def test_operations_and_parameters_have_descriptions_and_examples() -> None:
    tags = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
    for _, _, operation in operations():
        assert operation["summary"]
        assert operation["description"].endswith(".")
        assert set(operation["tags"]) <= tags
        for parameter in operation["parameters"]:
            assert parameter["description"].endswith("."), parameter["name"]
            assert "example" in parameter, parameter["name"]
        if "requestBody" in operation:
            assert operation["requestBody"]["description"]
            assert "example" in operation["requestBody"]["content"]["application/json"]


def test_schemas_and_their_members_have_descriptions_and_examples() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name
        assert "examples" in schema or "enum" in schema, name
        for member, part in schema.get("properties", {}).items():
            described = [part, *part.get("anyOf", ())]
            assert any("description" in each or "$ref" in each for each in described), (name, member)


def test_arrays_have_a_type_of_items_and_whole_numbers_a_width() -> None:
    def walk(node: object, name: str) -> None:
        if isinstance(node, dict):
            assert node.get("type") != "array" or "items" in node, name
            if name in {"amount", "quantity", "item_count", "version", "stock"} and node.get("type") == "integer":
                assert node["format"] in {"int32", "int64"}, name
            for key, each in node.items():
                walk(each, name if key in {"anyOf", "items"} else key)
        elif isinstance(node, list):
            for each in node:
                walk(each, name)

    walk(DOCUMENT["components"]["schemas"], "")


def test_every_response_names_its_header_fields() -> None:
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            headers = resolved(response)["headers"]
            assert "X-Request-Id" in headers
            if status in {"429", "503"} and operation["operationId"] != "read_readiness":
                assert "Retry-After" in headers
            assert all(resolved(header)["description"] for header in headers.values())
