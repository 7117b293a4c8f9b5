"""Sign-in by OpenID Connect: the authorization code flow with PKCE (OpenID Connect Core 1.0; RFC 7636; RFC 9700)."""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import jwt
import msgspec
from msgspec import Struct

from gateway.admin.access import Caller
from gateway.admin.sign_in.oidc_file import Oidc, is_safe_url
from gateway.auth.key_fetch import fetch_document
from gateway.auth.key_set import Key, KeySet, parse_key_set

# From the redirect to the issuer until its answer.
PENDING_S: Final = 600.0
# The oldest sign-in is dropped where there are more at once.
MAX_PENDING: Final = 1000
# Discovery and keys are fetched again after this time; for an unknown key no more often than the second.
METADATA_LIFE_S: Final = 3600.0
_REFETCH_S: Final = 30.0
_TIMEOUT_S: Final = 10.0
# Accepted clock skew of the issuer.
_LEEWAY_S: Final = 30.0
_MAX_BYTES: Final = 256 * 1024
_MAX_NAME: Final = 100


class SignInFailed(Exception):
    """A sign-in is refused, with the reason for the operator."""


class IssuerUnavailable(SignInFailed):
    """The issuer does not answer as it should."""


@dataclass(frozen=True)
class Pending:
    """A sign-in that waits for the issuer's answer; `binding` is in a cookie of the browser that began it."""

    binding: str
    nonce: str
    verifier: str
    expires_at: float


class _Metadata(Struct, frozen=True):
    """The members of OpenID Connect Discovery 1.0 that are used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class _Tokens(Struct, frozen=True):
    id_token: str


class _Header(Struct, frozen=True):
    alg: str
    kid: str | None = None


class OidcClient:
    """Begins and finishes sign-ins. `now` is in Unix seconds.

    Each state is used once, by the browser that it was made for. Errors are `SignInFailed`.
    """

    def __init__(self, oidc: Oidc, *, now: Callable[[], float] = time.time) -> None:
        self.oidc = oidc
        self._now = now
        self._pending: dict[str, Pending] = {}
        self._metadata: _Metadata | None = None
        self._keys = KeySet()
        self._fetched_at = -math.inf

    async def begin(self) -> tuple[str, str]:
        """The issuer's address for the browser, and the binding for its cookie."""
        metadata = await self._discover()
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
        pending = Pending(secrets.token_urlsafe(32), secrets.token_urlsafe(32), verifier, self._now() + PENDING_S)
        self._pending[state] = pending
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        query = {
            "response_type": "code",
            "client_id": self.oidc.client_id,
            "redirect_uri": self.oidc.redirect_uri,
            "scope": " ".join(self.oidc.scopes),
            "state": state,
            "nonce": pending.nonce,
            "code_challenge": _base64url(sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(query)}", pending.binding

    async def finish(self, answer: Mapping[str, str], binding: str) -> Caller:
        """The operator or viewer of the issuer's answer, the query of the callback."""
        pending = self._pending.pop(answer.get("state", ""), None)
        if pending is None or pending.expires_at <= self._now():
            raise SignInFailed("this sign-in is unknown, was used already, or took too long")
        if not hmac.compare_digest(binding.encode(errors="replace"), pending.binding.encode()):
            raise SignInFailed("this sign-in was begun by another browser")
        # RFC 9207: an answer of another issuer, where issuers name themselves.
        if answer.get("iss", self.oidc.issuer) != self.oidc.issuer:
            raise SignInFailed("the answer is of another issuer")
        if "code" not in answer:
            raise SignInFailed("the issuer has refused it")
        claims = await self._verify(await self._redeem(answer["code"], pending.verifier))
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(errors="replace"), pending.nonce.encode()):
            raise SignInFailed("the token is of another sign-in (nonce)")
        return self._caller(claims)

    # The token

    async def _redeem(self, code: str, verifier: str) -> str:
        """The ID token for a code."""
        oidc, metadata = self.oidc, await self._discover()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": oidc.redirect_uri,
            "client_id": oidc.client_id,
            "code_verifier": verifier,
        }
        status, body = await _post(metadata.token_endpoint, form, _client_authentication(oidc))
        if status != 200:
            raise SignInFailed(f"the issuer has refused the code (status {status})")
        try:
            return msgspec.json.decode(body, type=_Tokens).id_token
        except msgspec.DecodeError as error:
            raise IssuerUnavailable("the issuer's response has no ID token") from error

    async def _verify(self, token: str) -> Mapping[str, Any]:
        """The claims of an ID token that the issuer signed for this client (OpenID Connect Core 1.0, 3.1.3.7)."""
        key = await self._key_of(token)
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iat", "sub"]}
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                issuer=self.oidc.issuer,
                audience=self.oidc.client_id,
                options=options,
            )
        except jwt.PyJWTError as error:
            raise SignInFailed(f"the token is invalid: {error}") from error
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != self.oidc.client_id:
            raise SignInFailed("the token is for several audiences and not issued to this client (azp)")
        if not _is_current(claims, self._now()):
            raise SignInFailed("the token has expired, or is not valid yet")
        return claims

    async def _key_of(self, token: str) -> Key:
        try:
            header = msgspec.convert(jwt.get_unverified_header(token), _Header)
        except (jwt.PyJWTError, msgspec.ValidationError) as error:
            raise SignInFailed("the token is malformed") from error
        key = self._keys.find(header.alg, header.kid)
        if key is None and self._now() - self._fetched_at >= _REFETCH_S:
            await self._fetch()
            key = self._keys.find(header.alg, header.kid)
        if key is None:
            raise SignInFailed("the token is signed by an unknown key")
        return key

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        given = claims.get(self.oidc.roles_claim)
        listed = given if isinstance(given, list) else [given]
        roles = {each for each in listed if isinstance(each, str)}
        name = _name_of(claims, self.oidc.name_claim)
        if roles & set(self.oidc.operators):
            return Caller(name, "operator")
        if roles & set(self.oidc.viewers):
            return Caller(name, "viewer")
        raise SignInFailed(f"{name} has no role here; the claim {self.oidc.roles_claim} gives it")

    # Discovery

    async def _discover(self) -> _Metadata:
        if self._metadata is None or self._now() - self._fetched_at >= METADATA_LIFE_S:
            await self._fetch()
        assert self._metadata is not None
        return self._metadata

    async def _fetch(self) -> None:
        url = f"{self.oidc.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                metadata = msgspec.json.decode(await fetch_document(url), type=_Metadata)
                _check(metadata, self.oidc.issuer)
                keys = parse_key_set(await fetch_document(metadata.jwks_uri))
        except (aiohttp.ClientError, TimeoutError, ValueError, msgspec.DecodeError) as error:
            raise IssuerUnavailable(f"the issuer cannot be used: {_reason(error)}") from error
        self._metadata, self._keys, self._fetched_at = metadata, keys, self._now()


def _check(metadata: _Metadata, issuer: str) -> None:
    """Raises `ValueError` for metadata that is another issuer's, or sends secrets over an open network."""
    if metadata.issuer != issuer:
        raise ValueError(f"its metadata are those of {metadata.issuer}")
    for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
        if not is_safe_url(url):
            raise ValueError(f"{url} is no https URL")


async def _post(url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]:
    """POST a form; the status, and no more than a bounded body. Raises `IssuerUnavailable`."""
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
            client.post(url, data=form, headers=headers, allow_redirects=False) as response,
        ):
            body = b""
            while len(body) < _MAX_BYTES and (chunk := await response.content.read(_MAX_BYTES)):
                body += chunk
            return response.status, body
    except (aiohttp.ClientError, TimeoutError) as error:
        raise IssuerUnavailable(f"the issuer does not answer: {_reason(error)}") from error


def _client_authentication(oidc: Oidc) -> Mapping[str, str]:
    """`client_secret_basic` (RFC 6749, 2.3.1); a public client has none."""
    headers = {"Accept": "application/json"}
    if oidc.client_secret is not None:
        pair = f"{quote(oidc.client_id, safe='')}:{quote(oidc.client_secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _reason(error: Exception) -> str:
    """The message of an error, or its kind where it has none."""
    return str(error) or type(error).__name__


def _is_current(claims: Mapping[str, Any], now: float) -> bool:
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in times.values()):
        return False
    return bool(now < times["exp"] + _LEEWAY_S and max(times["iat"], times.get("nbf", 0)) <= now + _LEEWAY_S)


def _name_of(claims: Mapping[str, Any], name_claim: str) -> str:
    """The name for the audit log, on one line."""
    name = claims.get(name_claim)
    text = name if isinstance(name, str) and name else str(claims["sub"])
    return "".join(each if each.isprintable() else "?" for each in text[:_MAX_NAME])


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
