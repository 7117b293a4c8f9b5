"""The record of an agent's checkout session, beside its cart.

The lines are those of the cart, whose id is also that of the session. The record has the rest: for whom, where to, and
the idempotency keys of the calls that changed it. Times are Unix milliseconds UTC.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import msgspec

from cart.ids import new_cart_id
from cart.model import CartId
from checkout.agents.bodies import Buyer, FulfillmentDetails

# A session that is not changed for so long expires.
LIFETIME_MS: Final = 24 * 3_600_000
KNOWN_KEYS: Final = 50


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session of the agent whose API key has the name `agent`.

    `shown_total` is the total that the agent was last told, in minor units: completing the session consents to it. `keys` are
    digests of idempotency keys with those of their requests, the oldest first.
    """

    id: CartId
    agent: str
    currency: str
    created_at: int
    updated_at: int
    buyer: Buyer | None = None
    details: FulfillmentDetails | None = None
    option_id: str | None = None
    shown_total: int | None = None
    is_canceled: bool = False
    keys: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:  # without buyer and address, for logs
        return f"Session(id={self.id!r})"

    @property
    def expires_at(self) -> int:
        """When it expires unless it is changed before."""
        return self.updated_at + LIFETIME_MS

    @property
    def emails(self) -> frozenset[str]:
        """The addresses in it: of the buyer, and of whom to tell."""
        named = (each.email for each in (self.buyer, self.details) if each is not None)
        return frozenset(email for email in named if email)

    def fingerprint_of(self, key: str) -> str | None:
        """The digest of the request that this key was used for, None if it is new."""
        return dict(self.keys).get(_digest(key))

    def with_key(self, key: str, fingerprint: str) -> Session:
        """The session after a call with this key."""
        keys = (*self.keys, (_digest(key), fingerprint))
        return msgspec.structs.replace(self, keys=keys[-KNOWN_KEYS:])


class Stored(msgspec.Struct, frozen=True):
    """A session as it was read, with the version that a change of it must name."""

    session: Session
    version: int


def session_id_for(agent_key: str, key: str) -> CartId:
    """The id of the session that an agent creates with this idempotency key: the same for every attempt.

    It follows from the digest of the agent's API key, which nobody else knows, so it is as hard to guess as any cart's.
    """
    digest = hashlib.sha256(f"session:{agent_key}:{key}".encode()).digest()
    return new_cart_id(lambda count: digest[:count])


def fingerprint(call: str, body: bytes) -> str:
    """A digest of a request."""
    return _digest(f"{call}\n".encode() + body)


def _digest(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.b64encode(hashlib.blake2b(raw, digest_size=15).digest()).decode()
