"""Signed-in shoppers: what their bearer tokens (RFC 6750; JWT, RFC 7519) say, and whether to believe it."""

from __future__ import annotations

import asyncio
import math
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidJTIError, InvalidSubjectError

from gateway.auth.recent import Recent
from gateway.metrics import Metric, Sample

if TYPE_CHECKING:
    from gateway.auth.jwks import Key
    from gateway.config.policies import Shoppers

# Longer ones are refused unread: PyJWT looks at each character of a token in Python, before it is known to be good.
MOST_CHARACTERS: Final = 4096
# OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
_SUBJECT: Final = re.compile(r"[\x20-\x7e]{1,255}")
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9_=-]+(?:\.[A-Za-z0-9_=-]*){2})", re.IGNORECASE | re.ASCII)
# RFC 7518, 3.2: a key of HS256 has at least the bits of its hash.
_LEAST_SECRET_BYTES: Final = 32
# What an entry of a cache takes besides the text of its token.
_ENTRY_BYTES: Final = 400


class Refused(Enum):
    """Why somebody is not believed to be signed in, and how that is told."""

    SCHEME = "Only bearer tokens are taken here"
    MALFORMED = "The token is not a JSON Web Token"
    ALGORITHM = "The token is signed in a way that is not taken here"
    UNKNOWN_KEY = "The token is signed with a key that the issuer does not have"
    SIGNATURE = "The signature of the token is wrong"
    EXPIRED = "The token has expired"
    NOT_YET = "The token is not valid yet"
    ISSUER = "The token is of another issuer"
    AUDIENCE = "The token is for another audience"
    CLAIMS = "The token lacks a claim, or has one that is not as it must be"
    # Not the shopper's fault: nobody can tell now.
    ISSUER_AWAY = "The keys of the issuer cannot be had"

    @property
    def reason(self) -> str:
        """The name in metrics."""
        return self.name.lower().replace("_", "-")


class KeySource(Protocol):
    """Where the public keys are; see `gateway.auth.jwks.Jwks`."""

    @property
    def keys(self) -> _Keys:
        """The keys as they are now."""
        ...

    @property
    def is_away(self) -> bool:
        """Whether the issuer could not be asked last time."""
        ...

    def renewal(self) -> asyncio.Future[None] | None:
        """Something to wait for while keys are fetched anew; None if there is no use in that now."""
        ...

    def on_change(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever there are other keys than before."""
        ...


class _Keys(Protocol):
    @property
    def identities(self) -> frozenset[str]: ...

    def find(self, algorithm: str, kid: str | None) -> Key | None: ...


class _Header(msgspec.Struct):
    """What is read of a token's header before a key is chosen."""

    alg: str
    kid: str | None = None


class _Believed(NamedTuple):
    shopper: str
    expires_at: float
    key: str


class _Disbelieved(NamedTuple):
    why: Refused
    until: float


_header_of: Final = msgspec.json.Decoder(_Header).decode
# `sub` and `jti` are checked by PyJWT to be text; times here, by a clock that tests can move.
_OPTIONS: Final = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "enforce_minimum_key_length": True}
_HS256: Final = "HS256"


class ShopperTokens:
    """Verifies tokens, and remembers those it has verified until they expire, and for a moment those it has refused.

    `secret` is that of HS256; it is used when the policy names that algorithm, and only then. Keys of `keys` only ever
    verify the one algorithm they are made for, so a public key never passes for a shared secret.

    Lives as long as the process: `update` takes other policies, and forgets what was believed under the ones before.
    Raises `ValueError` for a secret that is missing or too short.

    Verifying takes 60 to 200 µs. It is done where it is needed, not in a thread: handing it over and back costs about as
    much, needs a task on a path that has none, and the processes would share the same cores. A token comes again
    with each request of its shopper, and then costs a look-up.
    """

    def __init__(
        self,
        shoppers: Shoppers,
        keys: KeySource,
        *,
        secret: bytes | None = None,
        memory_bytes: int = 32 * 1024 * 1024,
        refused_bytes: int = 2 * 1024 * 1024,
        refused_s: float = 5.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._refused_s = refused_s
        self._now = now
        # By the whole text of `Authorization`, so that a known one is not even taken apart.
        self._believed: Recent[str, _Believed] = Recent(memory_bytes, weigh=_bytes_of)
        self._disbelieved: Recent[str, _Disbelieved] = Recent(refused_bytes, weigh=_bytes_of)
        self._verified = 0
        self._refusals: dict[Refused, int] = dict.fromkeys(Refused, 0)
        self._set(shoppers, secret)
        keys.on_change(self._keys_changed)

    def _set(self, shoppers: Shoppers, secret: bytes | None) -> None:
        self._secret = checked_secret(shoppers, secret)
        self._shoppers = shoppers
        options = {**_OPTIONS, "verify_aud": shoppers.audience is not None}
        self._claims: dict[str, Any] = {
            "issuer": shoppers.issuer,
            "audience": shoppers.audience,
            "options": {**options, "require": ["exp", "sub"]},
        }

    def update(self, shoppers: Shoppers, *, secret: bytes | None = None) -> None:
        """Verify by these policies from now on. Raises `ValueError` as the constructor does, and changes nothing then."""
        before = (self._shoppers, self._secret)
        self._set(shoppers, secret)
        if (self._shoppers, self._secret) != before:
            self._believed.clear()
            self._disbelieved.clear()

    @property
    def is_on(self) -> bool:
        """Whether there is any way to verify a token. If not, `Authorization` is none of our business."""
        return self._shoppers.jwks_url is not None or self._secret is not None

    # The hot path

    def known(self, authorization: str) -> str | None:
        """Who the shopper is, if this very `Authorization` was verified before and has not expired since."""
        believed = self._believed.get(authorization)
        return believed.shopper if believed is not None and believed.expires_at > self._now() else None

    def judge(self, authorization: str, *, may_wait: bool = True) -> str | Refused | asyncio.Future[None]:
        """The shopper that an `Authorization` speaks for, or why it speaks for none.

        A future, if `may_wait`: the issuer may have a key that is not known here; when it is done, judge again.
        """
        shopper = self.known(authorization)
        if shopper is not None:
            return shopper
        now = self._now()
        disbelieved = self._disbelieved.get(authorization)
        if disbelieved is not None and disbelieved.until > now:
            return self._refuse(disbelieved.why)
        verdict = self._verify(authorization, now, may_wait=may_wait)
        if isinstance(verdict, _Believed):
            self._verified += 1
            # Within the leeway after `exp` a token is still believed, but not remembered.
            if verdict.expires_at > now:
                self._believed.put(authorization, verdict)
            return verdict.shopper
        if isinstance(verdict, Refused):
            # One whose key could not be asked for may be good as soon as the issuer answers.
            if verdict is not Refused.ISSUER_AWAY:
                self._disbelieved.put(authorization, _Disbelieved(verdict, now + self._refused_s))
            return self._refuse(verdict)
        return verdict

    def _refuse(self, why: Refused) -> Refused:
        self._refusals[why] += 1
        return why

    # Verifying

    def _verify(self, authorization: str, now: float, *, may_wait: bool) -> _Believed | Refused | asyncio.Future[None]:
        if authorization[:7].lower() != "bearer ":
            return Refused.SCHEME
        found = _BEARER.fullmatch(authorization) if len(authorization) <= MOST_CHARACTERS else None
        if found is None:
            return Refused.MALFORMED
        token = found[1]
        header = _parse_header(token)
        if header is None:
            return Refused.MALFORMED
        if header.alg not in self._shoppers.algorithms:
            return Refused.ALGORITHM
        if header.alg == _HS256:
            return Refused.ALGORITHM if self._secret is None else self._checked(token, _HS256, self._secret, "", now)
        key = self._keys.keys.find(header.alg, header.kid)
        if key is not None:
            return self._checked(token, key.algorithm, key.public, key.identity, now)
        renewal = self._keys.renewal() if may_wait else None
        if renewal is not None:
            return renewal
        return Refused.ISSUER_AWAY if self._keys.is_away else Refused.UNKNOWN_KEY

    def _checked(self, token: str, algorithm: str, key: Any, identity: str, now: float) -> _Believed | Refused:
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm], **self._claims)
        except jwt.PyJWTError as error:
            return _why(error)
        shopper, expires_at = claims["sub"], _time_of(claims, "exp")
        starts_at = [_time_of(claims, name) for name in ("nbf", "iat") if name in claims]
        if not _SUBJECT.fullmatch(shopper) or any(map(math.isnan, [expires_at, *starts_at])):
            return Refused.CLAIMS
        leeway_s = self._shoppers.leeway_s
        if expires_at <= now - leeway_s:
            return Refused.EXPIRED
        if max(starts_at, default=now) > now + leeway_s:
            return Refused.NOT_YET
        return _Believed(shopper, expires_at, identity)

    def _keys_changed(self) -> None:
        """Tokens of a key that the issuer has taken back are believed no more; those refused may be good now."""
        identities = self._keys.keys.identities
        for authorization, believed in self._believed.items():
            if believed.key and believed.key not in identities:
                self._believed.forget(authorization)
        self._disbelieved.clear()

    # Being looked at

    def snapshot(self) -> Mapping[str, Any]:
        """Whether tokens are verified, how many are remembered, and what was refused for which reason."""
        return {
            "on": self.is_on,
            "remembered": len(self._believed),
            "verified": self._verified,
            "refused": {why.reason: count for why, count in self._refusals.items() if count},
        }

    def metrics(self) -> Iterable[Metric]:
        """Signatures verified, refusals by reason, tokens remembered. What was neither is a hit of the cache."""
        yield Metric(
            "peakgate_tokens_verified_total",
            "Shoppers' tokens whose signature was verified and that were believed.",
            "counter",
            [Sample({}, self._verified)],
        )
        yield Metric(
            "peakgate_tokens_refused_total",
            "Requests refused for their token, by reason.",
            "counter",
            [Sample({"reason": why.reason}, count) for why, count in self._refusals.items()],
        )
        yield Metric(
            "peakgate_tokens_remembered",
            "Verified tokens that are remembered until they expire.",
            "gauge",
            [Sample({}, len(self._believed))],
        )


def _bytes_of(authorization: str, _entry: object) -> int:
    return len(authorization) + _ENTRY_BYTES


def checked_secret(shoppers: Shoppers, secret: bytes | None) -> bytes | None:
    """The key of HS256, None where it is not used. Raises `ValueError` for a secret that is missing or no good."""
    if _HS256 not in shoppers.algorithms:
        return None
    if secret is None:
        raise ValueError("HS256 needs a secret (shoppers.hs256_secret_file)")
    if len(secret) < _LEAST_SECRET_BYTES:
        raise ValueError(f"the secret of HS256 has {len(secret)} bytes; it needs at least {_LEAST_SECRET_BYTES}")
    try:
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except jwt.InvalidKeyError:
        # Whoever knows a public key could sign with it.
        raise ValueError(
            "the secret of HS256 is a key or a certificate; it must be one that nobody else knows"
        ) from None


def _parse_header(token: str) -> _Header | None:
    """The header as far as it is needed to choose a key; PyJWT reads it again, and all of it, before it verifies."""
    segment = token.partition(".")[0]
    try:
        return _header_of(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def _why(error: jwt.PyJWTError) -> Refused:
    return next((why for kind, why in _REASONS.items() if isinstance(error, kind)), Refused.MALFORMED)


_REASONS: Final[Mapping[type[jwt.PyJWTError], Refused]] = {
    jwt.InvalidSignatureError: Refused.SIGNATURE,
    jwt.InvalidIssuerError: Refused.ISSUER,
    jwt.InvalidAudienceError: Refused.AUDIENCE,
    jwt.MissingRequiredClaimError: Refused.CLAIMS,
    InvalidSubjectError: Refused.CLAIMS,
    InvalidJTIError: Refused.CLAIMS,
    jwt.InvalidAlgorithmError: Refused.ALGORITHM,
}


def _time_of(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519, 2) in seconds; NaN for what is none, or no finite one."""
    value = claims[name]
    # JSON knows no infinity, but Python's reader of it does; true is a number to Python, too.
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan
