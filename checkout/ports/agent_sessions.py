"""The store of agents' checkout sessions."""

from __future__ import annotations

from typing import Protocol

from cart.model import CartId
from checkout.agents.session import Session, Stored


class AgentSessions(Protocol):
    """The records of sessions, which expire `LIFETIME_MS` after their last change. Each call is one atomic change.

    Records contain personal data, so adapters seal them. All calls raise the errors of the store and `KeysUnavailable`.
    """

    async def read(self, session_id: CartId) -> Stored | None:
        """The session, None if there is none or it has expired."""
        ...

    async def put(self, session: Session, *, version: int) -> bool:
        """Store a session that was read at `version`, 0 for a new one; False, and no change, if it has changed since.

        From then on `SessionErasure` finds it by the addresses that it has now.
        """
        ...


class SessionErasure(Protocol):
    """Erases sessions by what is known of their shopper."""

    async def erase_all_of(self, email: str) -> int:
        """Erase the sessions with this address, in any case; returns how many. Raises the errors of the store.

        Each that was stored before the call is erased, also one that changes meanwhile, and one that cannot be read. It may
        be repeated, also after a crash.
        """
        ...
