"""Agents' sessions in Redis or Valkey: a hash beside the cart of each, with its version and its sealed record."""

from __future__ import annotations

from typing import Final

import msgspec

from cart.ids import partition_of
from cart.model import CartId, OrderId
from checkout.agents.session import LIFETIME_MS, Session, Stored
from checkout.ports.keys import Sealed, Sealing
from store import Script, Store

PUT_SESSION: Final = Script.from_package("checkout.redis", "scripts/put_session.lua")

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Session).decode
_decode_sealed: Final = msgspec.json.Decoder(Sealed).decode


class RedisAgentSessions:
    """`AgentSessions` on a store."""

    def __init__(self, store: Store, sealing: Sealing) -> None:
        self._store = store
        self._sealing = sealing

    async def read(self, session_id: CartId) -> Stored | None:
        """See `AgentSessions.read`."""
        version, sealed = await self._store.execute("HMGET", session_key(session_id), "version", "sealed")
        if sealed is None:
            return None
        record = await self._sealing.open(OrderId(session_id), _decode_sealed(sealed))
        return Stored(_decode(record), int(version))

    async def put(self, session: Session, *, version: int) -> bool:
        """See `AgentSessions.put`."""
        sealed = await self._sealing.seal(OrderId(session.id), _encode(session))
        args: list[bytes | int] = [version, _encode(sealed), LIFETIME_MS]
        return bool(await self._store.run(PUT_SESSION, [session_key(session.id)], args))


def session_key(session_id: CartId) -> str:
    """The key of an agent's session; its cart has the same hash tag."""
    return f"{{{partition_of(session_id)}}}a:{session_id}"
