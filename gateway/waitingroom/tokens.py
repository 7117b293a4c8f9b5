"""The signed paper that a shopper holds of a waiting room: a place while waiting, a pass once admitted."""

from __future__ import annotations

import base64
import hmac
from typing import Final

from msgspec import Struct

# Longer tokens are not ours, and need no check of their signature.
MAX_TOKEN_LENGTH: Final = 200
_PLACE: Final = "place"
_ADMITTED: Final = "pass"


class Ticket(Struct, frozen=True):
    """The content of a token. `since` is the arrival of its client, `expires` the end of its validity, in Unix seconds."""

    place_id: str
    number: int
    since: int
    expires: int
    is_pass: bool


class RoomTokens:
    """Writes and reads the tokens of one room: `kind.number.place id.since.expires.signature`, free of anything personal.

    The signature is HMAC-SHA256 (RFC 2104) in base64url, under a key of the room's own made from `secret`: the token of one
    room says nothing to another. Gateways with the same secret read one another's.
    """

    def __init__(self, room: str, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"peakgate waiting room " + room.encode(), "sha256")

    def write(self, ticket: Ticket) -> str:
        """The token of a ticket: letters, digits, `.`, `-` and `_` only."""
        kind = _ADMITTED if ticket.is_pass else _PLACE
        said = f"{kind}.{ticket.number}.{ticket.place_id}.{ticket.since}.{ticket.expires}"
        return f"{said}.{self._signature(said)}"

    def read(self, token: str) -> Ticket | None:
        """The ticket, None if this room did not write the token. Whether it has expired is for the caller to see."""
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            return None
        said, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature, self._signature(said)):
            return None
        kind, number, place_id, since, expires = said.split(".")
        return Ticket(place_id, int(number), int(since), int(expires), is_pass=kind == _ADMITTED)

    def _signature(self, said: str) -> str:
        digest = hmac.digest(self._key, said.encode(), "sha256")
        return base64.urlsafe_b64encode(digest)[:-1].decode()
