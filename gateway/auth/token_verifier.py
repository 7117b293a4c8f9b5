"""Verify one bearer token (RFC 6750; JWT, RFC 7519): its form, algorithm, key, signature and claims."""

from __future__ import annotations

import asyncio
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidJTIError, InvalidSubjectError

from gateway.auth.denial import Denial
from gateway.auth.verified_token import VerifiedToken

if TYPE_CHECKING:
    from gateway.auth.key_set import Key
    from gateway.config.policies import Shoppers

# Longer ones are denied unparsed: PyJWT looks at each character of a token in Python before it verifies it.
MAX_CHARACTERS: Final = 4096
# OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
_SUBJECT: Final = re.compile(r"[\x20-\x7e]{1,255}")
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9_=-]+(?:\.[A-Za-z0-9_=-]*){2})", re.IGNORECASE | re.ASCII)
_HS256: Final = "HS256"
# RFC 7518, 3.2: a key of HS256 has at least the bits of its hash.
_MIN_SECRET_BYTES: Final = 32


class Keys(Protocol):
    """The public keys of an issuer; see `gateway.auth.key_set.KeySet`."""

    @property
    def identities(self) -> frozenset[str]:
        """The identity of each key."""
        ...

    def find(self, algorithm: str, kid: str | None) -> Key | None:
        """The key of that name."""
        ...


class KeySource(Protocol):
    """The source of public keys; see `gateway.auth.jwks.Jwks`."""

    @property
    def keys(self) -> Keys:
        """The current keys."""
        ...

    @property
    def is_unavailable(self) -> bool:
        """Whether the last fetch failed."""
        ...

    def refresh(self) -> asyncio.Future[None] | None:
        """A future that is done after the next fetch; None where waiting is useless."""
        ...

    def on_change(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever the keys change."""
        ...


class _Header(msgspec.Struct):
    """The members of a token's header that choose its key."""

    alg: str
    kid: str | None = None


_decode_header: Final = msgspec.json.Decoder(_Header).decode
# PyJWT checks that `sub` and `jti` are text. Times are checked here, by a clock that tests can move.
_OPTIONS: Final = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "enforce_minimum_key_length": True}


class TokenVerifier:
    """Verifies tokens under one set of policies.

    `secret` is that of HS256; it is used only if the policy names that algorithm. Each key of `keys` verifies only its
    own algorithm, so that a public key never passes for a shared secret (RFC 8725, 2.1).

    Raises `ValueError` for a secret that is missing or too short.
    """

    def __init__(self, shoppers: Shoppers, keys: KeySource, secret: bytes | None) -> None:
        self.secret = checked_secret(shoppers, secret)
        self.shoppers = shoppers
        self._keys = keys
        self._claims: dict[str, Any] = {
            "issuer": shoppers.issuer,
            "audience": shoppers.audience,
            "options": {**_OPTIONS, "verify_aud": shoppers.audience is not None, "require": ["exp", "sub"]},
        }

    def verify(
        self, authorization: str, now: float, *, may_wait: bool
    ) -> VerifiedToken | Denial | asyncio.Future[None]:
        """Verify an `Authorization`; see `ShopperTokens.verify`."""
        if authorization[:7].lower() != "bearer ":
            return Denial.SCHEME
        match = _BEARER.fullmatch(authorization) if len(authorization) <= MAX_CHARACTERS else None
        header = None if match is None else _parse_header(match[1])
        if match is None or header is None:
            return Denial.MALFORMED
        if header.alg not in self.shoppers.algorithms:
            return Denial.ALGORITHM
        if header.alg == _HS256:
            return Denial.ALGORITHM if self.secret is None else self._verify(match[1], _HS256, self.secret, "", now)
        key = self._keys.keys.find(header.alg, header.kid)
        if key is not None:
            return self._verify(match[1], key.algorithm, key.public, key.identity, now)
        refresh = self._keys.refresh() if may_wait else None
        if refresh is not None:
            return refresh
        return Denial.ISSUER_UNAVAILABLE if self._keys.is_unavailable else Denial.UNKNOWN_KEY

    def _verify(self, token: str, algorithm: str, key: Any, identity: str, now: float) -> VerifiedToken | Denial:
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm], **self._claims)
        except jwt.PyJWTError as error:
            return next((why for kind, why in _DENIALS.items() if isinstance(error, kind)), Denial.MALFORMED)
        shopper, expires_at = claims["sub"], _time_of(claims, "exp")
        starts_at = [_time_of(claims, name) for name in ("nbf", "iat") if name in claims]
        if not _SUBJECT.fullmatch(shopper) or any(map(math.isnan, [expires_at, *starts_at])):
            return Denial.CLAIMS
        leeway_s = self.shoppers.leeway_s
        if expires_at <= now - leeway_s:
            return Denial.EXPIRED
        if max(starts_at, default=now) > now + leeway_s:
            return Denial.NOT_YET
        return VerifiedToken(shopper, expires_at, identity)


def checked_secret(shoppers: Shoppers, secret: bytes | None) -> bytes | None:
    """The key of HS256, None where HS256 is not used. Raises `ValueError` for a secret that is missing or unsafe."""
    if _HS256 not in shoppers.algorithms:
        return None
    if secret is None:
        raise ValueError("HS256 needs a secret (shoppers.hs256_secret_file)")
    if len(secret) < _MIN_SECRET_BYTES:
        raise ValueError(f"the secret of HS256 has {len(secret)} bytes; it needs at least {_MIN_SECRET_BYTES}")
    try:
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except jwt.InvalidKeyError:
        # Anyone who knows a public key could sign with it.
        raise ValueError(
            "the secret of HS256 is a key or a certificate; it must be one that nobody else knows"
        ) from None


def _parse_header(token: str) -> _Header | None:
    """The members that choose a key; PyJWT parses the whole header again before it verifies."""
    segment = token.partition(".")[0]
    try:
        return _decode_header(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


_DENIALS: Final[Mapping[type[jwt.PyJWTError], Denial]] = {
    jwt.InvalidSignatureError: Denial.SIGNATURE,
    jwt.InvalidIssuerError: Denial.ISSUER,
    jwt.InvalidAudienceError: Denial.AUDIENCE,
    jwt.MissingRequiredClaimError: Denial.CLAIMS,
    InvalidSubjectError: Denial.CLAIMS,
    InvalidJTIError: Denial.CLAIMS,
    jwt.InvalidAlgorithmError: Denial.ALGORITHM,
}


def _time_of(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519, 2) in seconds; NaN for anything but a finite number."""
    value = claims[name]
    # JSON has no infinity, but Python's parser accepts one; and bool is an int in Python.
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan
