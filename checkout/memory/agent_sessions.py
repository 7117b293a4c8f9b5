"""Agents' sessions in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cart.model import CartId
from cart.timestamps import unix_ms
from checkout.agents.session import LIFETIME_MS, Session, Stored
from checkout.privacy.pseudonyms import Pseudonyms

_names: Final = Pseudonyms(b"")


class MemoryAgentSessions:
    """`AgentSessions` and `SessionErasure` in a dict. No call awaits, so each is one atomic change."""

    def __init__(self, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._clock_ms = clock_ms
        self._stored: dict[CartId, tuple[Stored, int]] = {}

    async def read(self, session_id: CartId) -> Stored | None:
        """See `AgentSessions.read`."""
        return self._read(session_id)

    async def put(self, session: Session, *, version: int) -> bool:
        """See `AgentSessions.put`."""
        stored = self._read(session.id)
        if (0 if stored is None else stored.version) != version:
            return False
        self._stored[session.id] = (Stored(session, version + 1), self._clock_ms() + LIFETIME_MS)
        return True

    async def erase_all_of(self, email: str) -> int:
        """See `SessionErasure.erase_all_of`."""
        wanted = _names.of_email(email)
        found = [
            session_id
            for session_id in self._stored
            if (stored := self._read(session_id)) is not None and wanted in map(_names.of_email, stored.session.emails)
        ]
        for session_id in found:
            del self._stored[session_id]
        return len(found)

    def _read(self, session_id: CartId) -> Stored | None:
        stored, expires_at = self._stored.get(session_id, (None, 0))
        return stored if expires_at > self._clock_ms() else None
