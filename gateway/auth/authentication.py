"""Let in who is signed in, or says nothing of it; refuse whoever says so and is not."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.auth.shopper_tokens import Refused, ShopperTokens
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header, resolve


def authentication(tokens: ShopperTokens) -> Layer:
    """Set `request.shopper` from `Authorization`; refuse with 401 what is no valid token (RFC 6750, 3).

    Without the header a request goes on as nobody's. Other schemes than `Bearer` are refused, too: a shopper who believes to
    be signed in must not be served as a stranger. Where no way to verify tokens is configured there is no layer, and the
    header is not looked at. A token that cannot be judged because the issuer is away gets 503, for it may well be good.
    """

    def layer(handler: Handler) -> Handler:
        def authenticated(request: Request) -> ResponseOrAwaitable:
            # The layer of identity has found the token among those verified.
            if request.shopper is not None:
                return handler(request)
            authorization = request.headers.get("Authorization")
            if authorization is None:
                return handler(request)
            verdict = tokens.judge(authorization)
            if isinstance(verdict, str):
                request.shopper = verdict
                return handler(request)
            if isinstance(verdict, Refused):
                return _refuse(request, verdict)
            return _when_told(request, authorization, verdict)

        async def _when_told(request: Request, authorization: str, renewal: asyncio.Future[None]) -> Response:
            # Awaits nothing but a future, which ends within the time limit of a fetch: fit for routes without a task.
            await renewal
            verdict = tokens.judge(authorization, may_wait=False)
            if not isinstance(verdict, str):
                assert isinstance(verdict, Refused)
                return _refuse(request, verdict)
            request.shopper = verdict
            return await resolve(handler(request))

        return authenticated

    return layer if tokens.is_on else _unchanged


def _unchanged(handler: Handler) -> Handler:
    return handler


def _refuse(request: Request, why: Refused) -> Response:
    if why is Refused.ISSUER_AWAY:
        return problems.response(problems.TIMED_OUT, request.id, {"detail": why.value + "."})
    return problems.response(
        problems.UNAUTHENTICATED, request.id, {"detail": why.value + "."}, header_block=_CHALLENGES[why]
    )


def _challenge(why: Refused) -> bytes:
    # RFC 6750, 3.1: without a token of the scheme there is no error to speak of.
    told = "" if why is Refused.SCHEME else f', error="invalid_token", error_description="{why.value}"'
    return header("WWW-Authenticate", f'Bearer realm="peakgate"{told}')


_CHALLENGES: Final = {why: _challenge(why) for why in Refused}
