"""Agents' sessions in Redis or Valkey: a hash beside the cart of each, with its version and its sealed record.

    {7f}a:<session id>        hash: `version`, `sealed`, `emails` the hashes of its e-mail addresses; expires
    {7f}as:<hash of e-mail>   sorted set: the sessions of the partition with this address, by the time (ms) they expire at;
                              expires with the last

The set of an address is in the slot of its sessions, so one script writes both: no session is stored without its entry. An
erasure looks into the sets of all partitions.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from cart.ids import partition_of
from cart.model import CartId, OrderId
from checkout.agents.session import LIFETIME_MS, Session, Stored
from checkout.ports.keys import Sealed, Sealing
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.stored import ALL_PARTITIONS
from store import Script, Store

PUT_SESSION: Final = Script.from_package("checkout.redis", "scripts/put_session.lua")
ERASE_SESSIONS: Final = Script.from_package("checkout.redis", "scripts/erase_sessions.lua")
# Sessions of one call of an erasure.
BATCH: Final = 100

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Session).decode
_decode_sealed: Final = msgspec.json.Decoder(Sealed).decode


class RedisAgentSessions:
    """`AgentSessions` on a store."""

    def __init__(self, store: Store, sealing: Sealing, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._sealing = sealing
        self._pseudonyms = pseudonyms

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
        hashes = sorted({self._pseudonyms.of_email(email) for email in session.emails})
        partition = partition_of(session.id)
        keys = [session_key(session.id), *(sessions_of_email_key(partition, each) for each in hashes)]
        args: list[str | bytes | int] = [version, _encode(sealed), LIFETIME_MS, session.id, " ".join(hashes)]
        return bool(await self._store.run(PUT_SESSION, keys, args))


class RedisSessionErasure:
    """`SessionErasure` on a store."""

    def __init__(self, store: Store, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._pseudonyms = pseudonyms

    async def erase_all_of(self, email: str) -> int:
        """See `SessionErasure.erase_all_of`."""
        email_hash = self._pseudonyms.of_email(email)
        return sum(await asyncio.gather(*(self._erase(partition, email_hash) for partition in ALL_PARTITIONS)))

    async def _erase(self, partition: str, email_hash: str) -> int:
        """Erase the sessions of a partition, until no more are entered meanwhile."""
        entered, erased = sessions_of_email_key(partition, email_hash), 0
        while names := await self._store.execute("ZRANGE", entered, 0, BATCH - 1):
            # Not by `session_key`: an entry that is no session's id is removed like the others.
            keys = [f"{{{partition}}}a:".encode() + name for name in names]
            erased += await self._store.run(ERASE_SESSIONS, [entered, *keys], [email_hash, *names])
        return erased


def session_key(session_id: CartId) -> str:
    """The key of an agent's session; its cart has the same hash tag."""
    return f"{{{partition_of(session_id)}}}a:{session_id}"


def sessions_of_email_key(partition: str, email_hash: str) -> str:
    """The key of a partition's sessions with an e-mail address."""
    return f"{{{partition}}}as:{email_hash}"
