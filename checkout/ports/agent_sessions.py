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
        """Store a session that was read at `version`, 0 for a new one; False, and no change, if it has changed since."""
        ...
