"""Authenticate agents: `Authorization: Bearer` with an API key that the policies name as an agent's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
from multidict import istr

from gateway.auth.client_identifier import ClientIdentifier
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header

_AUTHORIZATION: Final = istr("Authorization")
_PREFIX: Final = "Bearer "
_DENIED: Final = Response(
    401,
    msgspec.json.encode(
        {
            "type": "invalid_request",
            "code": "unauthenticated",
            "message": "Send the API key of an agent as the bearer token.",
        }
    ),
    header_block=header("WWW-Authenticate", 'Bearer realm="peakgate"'),
)


def agent_keys(clients: ClientIdentifier, agents: Collection[str]) -> Layer:
    """Set `api_key` of each request to the name of its agent; deny with 401 a key that is not one of `agents`' names."""

    def layer(handler: Handler) -> Handler:
        def authenticate(request: Request) -> ResponseOrAwaitable:
            authorization = request.headers.get(_AUTHORIZATION, "")
            if authorization[: len(_PREFIX)].title() != _PREFIX:
                return _DENIED
            key = authorization[len(_PREFIX) :].strip()
            name = clients.names_by_key.get(key) or clients.api_key_name(key)
            if name is None or name not in agents:
                return _DENIED
            request.api_key = name
            return handler(request)

        return authenticate

    return layer
