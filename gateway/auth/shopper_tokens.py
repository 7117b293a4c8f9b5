"""Access tokens of signed-in shoppers: verified once, then cached until they expire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.auth.denial import Denial
from gateway.auth.token_verifier import KeySource, TokenVerifier
from gateway.auth.verified_token import CachedDenial, VerifiedToken
from gateway.metrics import Metric, Sample
from primitives.bounded_map import BoundedMap

if TYPE_CHECKING:
    from gateway.config.policies import Shoppers

# The memory of a cache entry besides the text of its token.
_ENTRY_BYTES: Final = 400


class ShopperTokens:
    """Caches verified tokens until they expire, and denied ones for `denied_s`.

    Lives as long as the process. `update` sets other policies and empties the caches. See `TokenVerifier` for `secret`.

    Verifying takes 60 to 200 µs. It runs in the loop, not in a thread: the hand-over costs about as much, needs a task
    on a path without one, and the processes would share the same cores. A token that is sent again costs a look-up.
    """

    def __init__(
        self,
        shoppers: Shoppers,
        keys: KeySource,
        *,
        secret: bytes | None = None,
        memory_bytes: int = 32 * 1024 * 1024,
        denied_bytes: int = 2 * 1024 * 1024,
        denied_s: float = 5.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._denied_s = denied_s
        self._now = now
        # The key is the whole text of `Authorization`, so that a cached one is not even parsed.
        self._verified: BoundedMap[str, VerifiedToken] = BoundedMap(memory_bytes, weigh=_bytes_of)
        self._denied: BoundedMap[str, CachedDenial] = BoundedMap(denied_bytes, weigh=_bytes_of)
        self._verified_count = 0
        self._denials: dict[Denial, int] = dict.fromkeys(Denial, 0)
        self._verifier = TokenVerifier(shoppers, keys, secret)
        keys.on_change(self._keys_changed)

    def update(self, shoppers: Shoppers, *, secret: bytes | None = None) -> None:
        """Verify by these policies from now on. Raises `ValueError` as the constructor does, and changes nothing then."""
        before, self._verifier = self._verifier, TokenVerifier(shoppers, self._keys, secret)
        if (before.shoppers, before.secret) != (self._verifier.shoppers, self._verifier.secret):
            self._verified.clear()
            self._denied.clear()

    @property
    def is_enabled(self) -> bool:
        """Whether tokens can be verified. If not, `Authorization` is not read."""
        return self._verifier.shoppers.jwks_url is not None or self._verifier.secret is not None

    def cached_shopper(self, authorization: str) -> str | None:
        """The shopper of this very `Authorization`, if it was verified before and has not expired since."""
        token = self._verified.get(authorization)
        return token.shopper if token is not None and token.expires_at > self._now() else None

    def verify(self, authorization: str, *, may_wait: bool = True) -> str | Denial | asyncio.Future[None]:
        """The shopper of an `Authorization`, or why it is denied.

        A future, if `may_wait`: the issuer may have a key that is unknown here. Once it is done, verify again.
        """
        shopper = self.cached_shopper(authorization)
        if shopper is not None:
            return shopper
        now = self._now()
        denied = self._denied.get(authorization)
        if denied is not None and denied.until > now:
            return self._count(denied.why)
        result = self._verifier.verify(authorization, now, may_wait=may_wait)
        if isinstance(result, VerifiedToken):
            self._verified_count += 1
            # Within the leeway after `exp` a token is still accepted, but not cached.
            if result.expires_at > now:
                self._verified.put(authorization, result)
            return result.shopper
        if isinstance(result, Denial):
            # A token whose key could not be fetched may be good as soon as the issuer responds.
            if result is not Denial.ISSUER_UNAVAILABLE:
                self._denied.put(authorization, CachedDenial(result, now + self._denied_s))
            return self._count(result)
        return result

    def _count(self, why: Denial) -> Denial:
        self._denials[why] += 1
        return why

    def _keys_changed(self) -> None:
        """Drop the tokens of keys that the issuer has withdrawn, and all denials: those tokens may be good now."""
        identities = self._keys.keys.identities
        for authorization, token in self._verified.items():
            if token.key and token.key not in identities:
                self._verified.discard(authorization)
        self._denied.clear()

    def snapshot(self) -> Mapping[str, Any]:
        """Whether tokens are verified, how many are cached, and denials by reason."""
        return {
            "enabled": self.is_enabled,
            "cached": len(self._verified),
            "verified": self._verified_count,
            "denied": {why.reason: count for why, count in self._denials.items() if count},
        }

    def metrics(self) -> Iterable[Metric]:
        """Verified signatures, denials by reason, cached tokens. All other requests with a token hit the cache."""
        yield Metric(
            "peakgate_tokens_verified_total",
            "Shoppers' tokens that were verified and accepted.",
            "counter",
            [Sample({}, self._verified_count)],
        )
        yield Metric(
            "peakgate_tokens_denied_total",
            "Requests denied for their token, by reason.",
            "counter",
            [Sample({"reason": why.reason}, count) for why, count in self._denials.items()],
        )
        yield Metric(
            "peakgate_tokens_cached",
            "Verified tokens that are cached until they expire.",
            "gauge",
            [Sample({}, len(self._verified))],
        )


def _bytes_of(authorization: str, _entry: object) -> int:
    return len(authorization) + _ENTRY_BYTES
