"""Authenticate shoppers by their bearer token; deny a request whose token is not valid."""

from __future__ import annotations

import asyncio
from typing import Final

from multidict import istr

from gateway.auth.denial import Denial
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header, resolve

# Compared without being lowercased for each request.
_AUTHORIZATION: Final = istr("Authorization")


def authentication(tokens: ShopperTokens) -> Layer:
    """Set `request.shopper` from `Authorization`; deny with 401 a token that is not valid (RFC 6750, 3).

    A request without the header stays anonymous. Schemes other than `Bearer` are denied too: a shopper who believes to be
    signed in must not be served as anonymous. Without keys or a secret there is no layer, and the header is not read.
    While the issuer's keys are unavailable a token of an unknown key gets 503, because it may be good.
    """

    def layer(handler: Handler) -> Handler:
        def authenticate(request: Request) -> ResponseOrAwaitable:
            # The identity layer has set the shopper of a cached token.
            if request.shopper is not None:
                return handler(request)
            authorization = request.headers.get(_AUTHORIZATION)
            if authorization is None:
                return handler(request)
            result = tokens.verify(authorization)
            if isinstance(result, str):
                request.shopper = result
                return handler(request)
            if isinstance(result, Denial):
                return _deny(request, result)
            return _authenticate_after(result, tokens, authorization, request, handler)

        return authenticate

    return layer if tokens.is_enabled else _no_layer


async def _authenticate_after(
    refresh: asyncio.Future[None], tokens: ShopperTokens, authorization: str, request: Request, handler: Handler
) -> Response:
    # Awaits only a future, which is done within the time limit of a fetch: fit for routes without a task.
    await refresh
    result = tokens.verify(authorization, may_wait=False)
    if not isinstance(result, str):
        assert isinstance(result, Denial)
        return _deny(request, result)
    request.shopper = result
    return await resolve(handler(request))


def _no_layer(handler: Handler) -> Handler:
    return handler


def _deny(request: Request, why: Denial) -> Response:
    detail = {"detail": why.value + "."}
    if why is Denial.ISSUER_UNAVAILABLE:
        return problems.response(problems.TIMED_OUT, request.id, detail)
    return problems.response(problems.UNAUTHENTICATED, request.id, detail, header_block=_CHALLENGES[why])


def _challenge(why: Denial) -> bytes:
    # RFC 6750, 3.1: no error code where the request has no token of the scheme.
    error = "" if why is Denial.SCHEME else f', error="invalid_token", error_description="{why.value}"'
    return header("WWW-Authenticate", f'Bearer realm="peakgate"{error}')


_CHALLENGES: Final = {why: _challenge(why) for why in Denial}
