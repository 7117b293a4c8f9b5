"""Identify each request: its client, its API key, and its shopper if the token is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from multidict import istr

from gateway.auth.client_identifier import DENIED, ClientIdentifier
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header

if TYPE_CHECKING:
    from multidict import MultiMapping

# Names of this type are compared without being lowercased for each request.
_FORWARDED_FOR: Final = istr("X-Forwarded-For")
_API_KEY: Final = istr("X-Api-Key")
_AUTHORIZATION: Final = istr("Authorization")
_KEY_CHALLENGE: Final = header("WWW-Authenticate", 'ApiKey realm="peakgate"')


def identity(clients: ClientIdentifier, tokens: ShopperTokens | None = None) -> Layer:
    """Set `client`, `api_key` and, for a cached token, `shopper` of each request.

    Denies with 403 an address that the lists do not admit, and with 401 an unknown `X-Api-Key`. Never awaits: a token
    that is not cached is left to `authentication`. A known client costs one look-up.
    """
    # Bound here, which saves attribute look-ups for each request.
    by_peer, identify_peer = clients.by_peer.get, clients.identify_peer
    by_forwarded_for, identify_forwarded = clients.by_forwarded_for.get, clients.identify_forwarded
    names_by_key, api_key_name = clients.names_by_key.get, clients.api_key_name
    has_proxies, has_keys = len(clients.trusted) > 0, len(clients.key_names) > 0
    cached_shopper = tokens.cached_shopper if tokens is not None and tokens.is_enabled else None

    def layer(handler: Handler) -> Handler:
        def identify(request: Request) -> ResponseOrAwaitable:
            headers = request.headers
            if has_proxies:
                # All field lines of the name: together they are one list.
                lines = cast("MultiMapping[str]", headers).getall(_FORWARDED_FOR, ())
                chain = (request.peer, lines[0]) if len(lines) == 1 else (request.peer, *lines)
                client = by_forwarded_for(chain)
                if client is None:
                    client = identify_forwarded(chain)
            else:
                peer = request.peer
                client = by_peer(peer)
                if client is None:
                    client = identify_peer(peer)
            if client == DENIED:
                return _deny_address(clients, request)
            request.client = client
            if has_keys:
                key = headers.get(_API_KEY)
                if key is not None:
                    request.api_key = names_by_key(key) or api_key_name(key)
                    if request.api_key is None:
                        return _deny_key(clients, request)
            if cached_shopper is not None:
                authorization = headers.get(_AUTHORIZATION)
                if authorization is not None:
                    request.shopper = cached_shopper(authorization)
            return handler(request)

        return identify

    return layer


def _deny_address(clients: ClientIdentifier, request: Request) -> Response:
    clients.denied += 1
    return problems.response(problems.FORBIDDEN, request.id)


def _deny_key(clients: ClientIdentifier, request: Request) -> Response:
    clients.unknown_keys += 1
    return problems.response(
        problems.UNAUTHENTICATED, request.id, {"detail": "The API key is unknown."}, header_block=_KEY_CHALLENGE
    )
