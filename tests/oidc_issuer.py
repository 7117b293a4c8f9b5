"""A stand-in for an OpenID Connect issuer: discovery, keys, and a token endpoint that checks the client, the code and PKCE."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.issuer import Issuer, signed

CLIENT, SECRET = "console", "a secret with: %"


class OidcIssuer:
    """Signs in whoever is asked for: `claims` are of the next tokens. `forged` signs them by a key that it does not show."""

    def __init__(self) -> None:
        self.keys = Issuer()
        self.url = ""
        self.claims: dict[str, Any] = {}
        self.discovery: dict[str, Any] = {}
        self.forged: Any = None
        self.is_away = False
        # The key that signs tokens.
        self.kid = "ec-1"
        self._codes: dict[str, dict[str, str]] = {}

    def authorize(self, url: str) -> dict[str, str]:
        """The query of the callback, as the issuer would send the browser there."""
        query = dict(parse_qsl(urlsplit(url).query))
        assert (query["response_type"], query["client_id"], query["code_challenge_method"]) == ("code", CLIENT, "S256")
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        return {"code": code, "state": query["state"], "iss": self.url}

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Discovery and keys."""
        if self.is_away:
            return web.Response(status=503)
        if request.path == "/keys":
            return web.Response(body=self.keys.document(), content_type="application/json")
        members = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return web.json_response({**members, **self.discovery})

    async def token(self, request: web.Request) -> web.StreamResponse:
        """The ID token for a code, once."""
        form = await request.post()
        basic = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        query = self._codes.pop(str(form["code"]), None)
        challenge = base64.urlsafe_b64encode(sha256(str(form["code_verifier"]).encode()).digest()).rstrip(b"=").decode()
        is_valid = (
            basic == "console:a%20secret%20with%3A%20%25"
            and query is not None
            and query["code_challenge"] == challenge
            and query["redirect_uri"] == form["redirect_uri"]
        )
        if not is_valid or query is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        claims = {"iss": self.url, "aud": CLIENT, "nonce": query["nonce"], "email": "ada@shop.example", **self.claims}
        token = (
            signed(self.forged, "ES256", {"kid": "ec-1"}, **claims)
            if self.forged is not None
            else self.keys.token(self.kid, **claims)
        )
        return web.json_response({"id_token": token, "access_token": "unused", "token_type": "Bearer"})


@asynccontextmanager
async def oidc_issuer() -> AsyncIterator[OidcIssuer]:
    """An `OidcIssuer` on a loopback port."""
    issuer = OidcIssuer()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.show)
    app.router.add_get("/keys", issuer.show)
    app.router.add_post("/token", issuer.token)
    async with TestServer(app, host="127.0.0.1") as server:
        issuer.url = str(server.make_url("")).rstrip("/")
        yield issuer
