"""The OpenAPI 3.1 document, made of the rows of the route table and the types of their bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.api import examples
from gateway.api.binding import Route
from gateway.api.schemas import SCHEMAS
from gateway.http import problems

_REF: Final = "#/components/schemas/"
_DESCRIPTION: Final = (
    "Carts, products, checkout and orders of a shop. JSON in and out; money is an integer of minor units and a currency; "
    "times are RFC 3339 in UTC. Errors are RFC 9457 problems: their `type` is `/problems/<slug>` and their `instance` the "
    "request id that every answer also has as `X-Request-Id`. Signing in is a choice: carts made without are open to whoever "
    "knows their id, carts of a signed-in shopper and their orders are not found by anybody else."
)
# Where the shop has configured them.
_SECURITY_SCHEMES: Final = {
    "shopper": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The token of a signed-in shopper, by the shop's own issuer.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "The key of a known caller, such as the shop's app, which has limits of its own.",
    },
}
_SECURITY: Final[Sequence[Mapping[str, Any]]] = (
    {},
    {"shopper": []},
    {"apiKey": []},
    {"shopper": [], "apiKey": []},
)
_PATH_PARAMETERS: Final = {
    "cart_id": "The id of a cart: whoever knows it may use the cart, unless it is a signed-in shopper's.",
    "order_id": "The id of an order.",
    "sku": "A SKU, percent-encoded.",
}
_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "If-Match": {
        "in": "header",
        "description": "The cart's `ETag`, or just its version in quotes: the call is refused if the cart has changed.",
        "schema": {"type": "string", "examples": ['"3"']},
    },
    "If-None-Match": {
        "in": "header",
        "description": "An `ETag` seen before: answered with 304 if nothing has changed.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "in": "header",
        "required": True,
        "description": "Chosen by the caller, the same for every try of one order, such as a UUID.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
        },
    },
    "Last-Event-ID": {
        "in": "header",
        "description": "The last event seen; those after it follow.",
        "schema": {"type": "string"},
    },
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    "cursor": {
        "in": "query",
        "description": "The `next_cursor` of the page before.",
        "schema": {"type": "string"},
    },
    "q": {
        "in": "query",
        "description": "Words that the name must all contain, whatever their case, or an exact SKU.",
        "schema": {"type": "string", "maxLength": 256},
    },
}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The whole document, as plain data."""
    routes = list(routes)
    bodies = [route.body for route in routes if route.body is not None]
    body_schemas, components = msgspec.json.schema_components(bodies, ref_template=_REF + "{name}")
    schema_of = dict(zip(map(id, bodies), body_schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, schema_of[id(route.body)] if route.body is not None else None)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Peakgate", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {**components, **SCHEMAS}, "securitySchemes": _SECURITY_SCHEMES},
        "security": list(_SECURITY),
    }


def _operation(route: Route, body_schema: Mapping[str, Any] | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {route.path}").strip("_"),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            *_path_parameters(route.path),
            *({"name": name, **_PARAMETERS[name]} for name in route.parameters),
        ],
        "responses": {str(route.status): _answer(route), **_refusals(route.refusals)},
    }
    if "If-None-Match" in route.parameters:
        operation["responses"]["304"] = {"description": "Nothing has changed."}
    if body_schema is not None:
        operation["requestBody"] = {
            "required": not route.body_is_optional,
            "content": {"application/json": _shown(body_schema, examples.BODIES.get(route.name))},
        }
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS.get(name, ""),
            **_shown({"type": "string"}, examples.PARAMETERS.get(name)),
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _answer(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.answers is None:
        return answer
    if "/" in route.answers:
        answer["content"] = {route.answers: {"schema": {"type": "string"}}}
    else:
        schema = {"$ref": _REF + route.answers}
        answer["content"] = {"application/json": _shown(schema, examples.ANSWERS.get(route.answers))}
    if route.etag is not None:
        answer["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return answer


def _refusals(slugs: Sequence[str]) -> dict[str, Any]:
    """One response for each status, with all its slugs."""
    rows = {row.slug: row for row in problems.ALL}
    by_status: dict[int, list[problems.Problem]] = {}
    for slug in slugs:
        by_status.setdefault(rows[slug].status, []).append(rows[slug])
    return {
        str(status): {
            "description": "; ".join(f"`{row.slug}`: {row.title}" for row in found),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REF + "Problem"},
                    "examples": {row.slug: {"summary": row.title, "value": examples.of_problem(row)} for row in found},
                }
            },
        }
        for status, found in sorted(by_status.items())
    }


def _shown(schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    """A schema with its example beside it, where there is one."""
    return {"schema": schema} if example is None else {"schema": schema, "example": example}
