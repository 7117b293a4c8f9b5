"""The OpenAPI 3.1 document, generated from the route table and the structs of request and response bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.api import examples
from gateway.api.binding import Route
from gateway.api.events import UNTIL
from gateway.api.openapi_responses import HEADERS, SCHEMAS, responses, shared
from gateway.api.operations import OPERATIONS, TAGS
from gateway.http import problem_body, problems
from gateway.http.own_paths import OWN_PREFIX

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
# Tags of routes without shoppers.
_OF_PROGRAMS: Final = frozenset({"health", "webhooks"})
_PATH_PARAMETERS: Final = {
    "cart_id": "The id of a cart. It gives access to an anonymous cart.",
    "order_id": "The id of an order.",
    "sku": "A SKU, percent-encoded.",
}
_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "If-Match": {
        "in": "header",
        "description": "The cart's `ETag`, or only its version in quotes. If the cart has changed since, the response is 412.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "If-None-Match": {
        "in": "header",
        "description": "The `ETag` of a cached response. If it is still current, the response is 304.",
        "schema": {"type": "string"},
        "example": '"2.6f1d0a3c"',
    },
    "Idempotency-Key": {
        "in": "header",
        "description": "Chosen by the client, such as a UUID; the same for every retry of one request. It belongs to the cart: "
        "the keys of other carts, of the same shopper too, are independent of it.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    },
    "Last-Event-ID": {
        "in": "header",
        "description": "The id of the last event received; the stream continues after it.",
        "schema": {"type": "string"},
        "example": "1",
    },
    "Waiting-Room-Token": {
        "in": "header",
        "description": "The field of the same name of an earlier response, where the route has a waiting room.",
        "schema": {"type": "string"},
        "example": "eyJxIjoiZHJvcCJ9.c2lnbmF0dXJl",
    },
    "webhook-id": {
        "in": "header",
        "required": True,
        "description": "The id of the report; the same when it is repeated.",
        "schema": {"type": "string"},
        "example": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    },
    "webhook-timestamp": {
        "in": "header",
        "required": True,
        "description": "When it was signed, in Unix seconds.",
        "schema": {"type": "string"},
        "example": "1795759200",
    },
    "webhook-signature": {
        "in": "header",
        "required": True,
        "description": "HMAC-SHA256 of id, timestamp and body, as in Standard Webhooks.",
        "schema": {"type": "string"},
        "example": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    "until": {
        "in": "query",
        "description": "The status after which the stream ends, or once the order cannot reach it any more.",
        "schema": {"type": "string", "enum": list(UNTIL), "default": "completed"},
        "example": "delivered",
    },
    "limit": {
        "in": "query",
        "description": "The number of entries of a page.",
        "schema": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 100, "default": 20},
        "example": 20,
    },
    "cursor": {
        "in": "query",
        "description": "The `next_cursor` of the previous page.",
        "schema": {"type": "string"},
        "example": "85123A",
    },
    "q": {
        "in": "query",
        "description": "Words that the name must all contain, in any case, or an exact SKU. A word is also found inside "
        "another one, from three characters on, or from one on in scripts without spaces; such products come last.",
        "schema": {"type": "string", "maxLength": 256},
        "example": "hanging heart",
    },
    "fields": {
        "in": "query",
        "description": "Members of each product, separated by commas; without it all. The SKU is always there.",
        "schema": {"type": "string"},
        "example": "sku,name,price",
    },
    "country": {
        "in": "query",
        "required": True,
        "description": "The country of the shipping address: ISO 3166-1 alpha-2.",
        "schema": {"type": "string", "pattern": "^[A-Za-z]{2}$"},
        "example": "GB",
    },
    "shipping_method": {
        "in": "query",
        "description": "One of the shop's methods; the first if it is absent.",
        "schema": {"type": "string", "maxLength": 64},
        "example": "standard",
    },
    "category": {
        "in": "query",
        "description": "Only products of this category, as the catalogue writes it.",
        "schema": {"type": "string", "maxLength": 200},
        "example": "Lighting",
    },
    "min_price": {
        "in": "query",
        "description": "Only products of this price or more, in minor units of `currency`.",
        "schema": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 999_999_999_999},
        "example": 500,
    },
    "max_price": {
        "in": "query",
        "description": "Only products of this price or less, in minor units of `currency`.",
        "schema": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 999_999_999_999},
        "example": 2000,
    },
    "currency": {
        "in": "query",
        "description": "The currency of `min_price` and `max_price`, without which it has no effect; by default that of the shop.",
        "schema": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "example": "GBP",
    },
    "in_stock": {
        "in": "query",
        "description": "Only products with units for sale.",
        "schema": {"type": "boolean", "enum": [True]},
        "example": True,
    },
}


def document(
    routes: Iterable[Route], version: str, own_path: Callable[[str], str | None] = lambda path: path
) -> dict[str, Any]:
    """The whole document, as plain data. `own_path` says where a path is served, None where it is not."""
    routes = [route for route in routes if route.caller == "shopper" and own_path(route.path) is not None]
    types = [each for route in routes for each in (route.body, route.response) if each is not None]
    types.append(problem_body.Problem)
    schemas, components = msgspec.json.schema_components(types, ref_template=SCHEMAS + "{name}")
    components[problem_body.Problem.__name__]["properties"]["type"]["examples"] = [problems.NOT_FOUND.opening["type"]]
    # By identity, because annotated types are not hashable.
    schema_of = dict(zip(map(id, types), schemas, strict=True))
    for name, example in examples.of_schemas(routes).items():
        if name in components:
            components[name]["examples"] = [example]
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(own_path(route.path) or route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Peakgate",
            "version": version,
            "description": _description(),
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": shared(paths),
            "headers": {**HEADERS, "Location": _moved(HEADERS["Location"])},
            "securitySchemes": _SECURITY_SCHEMES,
        },
        "security": list(_SECURITY),
    }


def _moved(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """A header field whose examples are own paths."""
    examples_of_paths = [OWN_PREFIX.value + path for path in field["schema"]["examples"]]
    return {**field, "schema": {**field["schema"], "examples": examples_of_paths}}


def _description() -> str:
    return _DESCRIPTION.replace("/problems/", f"{OWN_PREFIX.value}/problems/")


def _operation(route: Route, schema_of: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    name, description = OPERATIONS[route.name]
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": route.summary,
        "description": description,
        "tags": [route.tag],
        "parameters": [
            *_path_parameters(route.path),
            *(_parameter(route, name) for name in _parameters(route)),
        ],
        "responses": responses(route, schema_of),
    }
    if route.tag in _OF_PROGRAMS:
        operation["security"] = []
    if route.body is not None:
        operation["requestBody"] = {
            "description": "JSON in UTF-8." if not route.body_is_optional else "JSON in UTF-8; may be empty.",
            "required": not route.body_is_optional,
            "content": {
                "application/json": {"schema": schema_of[id(route.body)], "example": examples.BODIES[route.name]}
            },
        }
    return operation


def _parameter(route: Route, name: str) -> dict[str, Any]:
    is_required = route.path == "/v1/checkout" and name == "Idempotency-Key"
    return {"name": name, **_PARAMETERS[name]} | ({"required": True} if is_required else {})


def _parameters(route: Route) -> Sequence[str]:
    return route.parameters if route.tag in _OF_PROGRAMS else (*route.parameters, "Waiting-Room-Token")


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name],
            "schema": {"type": "string"},
            "example": examples.PARAMETERS[name],
        }
        for name in re.findall(r"{(\w+)}", path)
    ]
