"""Refusals of agents' calls. Their status and text are in `gateway.api.agent_routes`."""

from __future__ import annotations


class SessionRefused(Exception):
    """A call that the session does not allow."""


class SessionNotFound(SessionRefused):
    """No session of this agent has this id, or it has expired."""


class SessionClosed(SessionRefused):
    """The session is completed or canceled."""


class SessionChanged(SessionRefused):
    """Another call has changed the session at the same time; nothing of this one is stored but lines, which a repeat sets again."""
