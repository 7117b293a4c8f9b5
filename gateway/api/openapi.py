"""The OpenAPI 3.1 document, generated from the route table and the structs of request and response bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.api import examples
from gateway.api.binding import Route
from gateway.http import problem_body, problems

_REF: Final = "#/components/schemas/"
_DESCRIPTION: Final = (
    "Carts, products, checkout and orders of a shop. JSON in and out; money is an integer of minor units and a currency; "
    "times are RFC 3339 in UTC. Errors are RFC 9457 problems: their `type` is `/problems/<slug>` and their `instance` the "
    "request id that every response also has as `X-Request-Id`. Signing in is optional: an anonymous cart is open to every client "
    "that knows its id; to other clients, the carts and orders of a signed-in shopper do not exist."
)
# In effect where the operator has configured them.
_SECURITY_SCHEMES: Final = {
    "shopper": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The access token of a signed-in shopper, from the shop's identity provider.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "The key of a known client, such as the shop's app, which has its own rate limits.",
    },
}
_SECURITY: Final[Sequence[Mapping[str, Any]]] = (
    {},
    {"shopper": []},
    {"apiKey": []},
    {"shopper": [], "apiKey": []},
)
_PATH_PARAMETERS: Final = {
    "cart_id": "The id of a cart. It gives access to an anonymous cart.",
    "order_id": "The id of an order.",
    "sku": "A SKU, percent-encoded.",
}
_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "If-Match": {
        "in": "header",
        "description": "The cart's `ETag`, or only its version in quotes. If the cart has changed since, the response is 412.",
        "schema": {"type": "string", "examples": ['"3"']},
    },
    "If-None-Match": {
        "in": "header",
        "description": "The `ETag` of a cached response. If it is still current, the response is 304.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "in": "header",
        "required": True,
        "description": "Chosen by the client, such as a UUID; the same for every retry of one checkout.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
        },
    },
    "Last-Event-ID": {
        "in": "header",
        "description": "The id of the last event received; the stream continues after it.",
        "schema": {"type": "string"},
    },
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    "cursor": {
        "in": "query",
        "description": "The `next_cursor` of the previous page.",
        "schema": {"type": "string"},
    },
    "q": {
        "in": "query",
        "description": "Words that the name must all contain, in any case, or an exact SKU.",
        "schema": {"type": "string", "maxLength": 256},
    },
}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The whole document, as plain data."""
    routes = list(routes)
    types = [each for route in routes for each in (route.body, route.response) if each is not None]
    types.append(problem_body.Problem)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF + "{name}")
    # By identity, because annotated types are not hashable.
    schema_of = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Peakgate", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY_SCHEMES},
        "security": list(_SECURITY),
    }


def _operation(route: Route, schema_of: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {route.path}").strip("_"),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            *_path_parameters(route.path),
            *({"name": name, **_PARAMETERS[name]} for name in route.parameters),
        ],
        "responses": {str(route.status): _response(route, schema_of), **_problem_responses(route.problems)},
    }
    if "If-None-Match" in route.parameters:
        operation["responses"]["304"] = {"description": "Not modified"}
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.body_is_optional,
            "content": {"application/json": _with_example(schema_of[id(route.body)], examples.BODIES.get(route.name))},
        }
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS.get(name, ""),
            **_with_example({"type": "string"}, examples.PARAMETERS.get(name)),
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _response(route: Route, schema_of: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.media_type is not None:
        response["content"] = {route.media_type: {"schema": {"type": "string"}}}
    elif route.response is not None:
        example = examples.RESPONSES.get(route.response)
        response["content"] = {
            "application/json": _with_example(schema_of[id(route.response)], msgspec.to_builtins(example))
        }
    if route.etag is not None:
        response["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return response


def _problem_responses(slugs: Sequence[str]) -> dict[str, Any]:
    """One response for each status, with its problems."""
    by_slug = {row.slug: row for row in problems.ALL}
    by_status: dict[int, list[problems.Problem]] = {}
    for slug in slugs:
        row = by_slug[slug]
        by_status.setdefault(row.status, []).append(row)
    return {
        str(status): {
            "description": "; ".join(f"`{row.slug}`: {row.title}" for row in rows),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REF + problem_body.Problem.__name__},
                    "examples": {row.slug: {"summary": row.title, "value": examples.of_problem(row)} for row in rows},
                }
            },
        }
        for status, rows in sorted(by_status.items())
    }


def _with_example(schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    """The members `schema` and, if there is one, `example`."""
    return {"schema": schema} if example is None else {"schema": schema, "example": example}
