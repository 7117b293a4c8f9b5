"""An issuer of shoppers' tokens: real keys, their key set, and a server that shows it."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://id.shop.example", "shop"
# A Friday in November, at six.
NOW = 1_795_759_200.0


@functools.cache
def new_rsa(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of that name: making one takes long enough to make it once."""
    return rsa.generate_private_key(65537, bits)


class Issuer:
    """Signs tokens with its keys by name. `keys` may be changed: they are shown as they are when they are asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {
            "rsa-1": ("RS256", new_rsa("rsa-1")),
            "ec-1": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "ed-1": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        }

    def token(self, kid: str = "ec-1", *, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token that is good from now on for an hour, but for the claims that are given; None leaves one out."""
        algorithm, key = self.keys[kid]
        return signed(key, algorithm, {"kid": kid, **(headers or {})}, **claims)

    def jwks(self) -> list[dict[str, Any]]:
        """The keys as they are shown."""
        return [shown(key, kid=kid) for kid, (_, key) in self.keys.items()]

    def document(self) -> bytes:
        """The key set."""
        return json.dumps({"keys": self.jwks()}).encode()


def claims_of(**changes: Any) -> dict[str, Any]:
    """The claims of a good token, changed."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": NOW, "exp": NOW + 3600}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def signed(key: Any, algorithm: str, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """A token signed by any key."""
    kept = {name: value for name, value in (headers or {}).items() if value is not None}
    return jwt.encode(claims_of(**claims), key, algorithm=algorithm, headers=kept)


def bearer(token: str) -> str:
    """The value of `Authorization`."""
    return f"Bearer {token}"


def shown(key: Any, **members: Any) -> dict[str, Any]:
    """A private key's public half as a JSON Web Key; a member None is left out."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        jwk = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        jwk = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        assert isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        jwk = OKPAlgorithm.to_jwk(public, as_dict=True)
    jwk = {**jwk, "use": "sig", **members}
    jwk.pop("key_ops", None) if "key_ops" not in members else None
    return {name: value for name, value in jwk.items() if value is not None}


class IssuerServer:
    """Shows an issuer's keys over HTTP, or sends `response`."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.fetches = 0
        self.response: web.Response | None = None
        self.url = ""

    async def show(self, _request: web.Request) -> web.StreamResponse:
        """The key set."""
        self.fetches += 1
        return self.response or web.Response(body=self.issuer.document(), content_type="application/json")


@asynccontextmanager
async def issuer_server(issuer: Issuer) -> AsyncIterator[IssuerServer]:
    """An `IssuerServer` on a loopback port."""
    showing = IssuerServer(issuer)
    app = web.Application()
    app.router.add_get("/jwks.json", showing.show)
    async with TestServer(app, host="127.0.0.1") as server:
        showing.url = str(server.make_url("/jwks.json"))
        yield showing
