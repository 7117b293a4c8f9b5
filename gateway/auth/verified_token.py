"""The results of verifying a token, as they are cached."""

from __future__ import annotations

from typing import NamedTuple

from gateway.auth.denial import Denial


class VerifiedToken(NamedTuple):
    """The shopper of a token, when it expires (Unix seconds), and the identity of its key, "" for a shared secret."""

    shopper: str
    expires_at: float
    key: str


class CachedDenial(NamedTuple):
    """Why a token was denied, cached until a time in Unix seconds."""

    why: Denial
    until: float
