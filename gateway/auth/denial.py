"""Why a request is not accepted as signed in, with the text that its response carries."""

from __future__ import annotations

from enum import Enum


class Denial(Enum):
    """A reason not to accept an `Authorization`. The value is the detail of the response, without its full stop."""

    SCHEME = "Only bearer tokens are accepted here"
    MALFORMED = "The token is not a JSON Web Token"
    ALGORITHM = "The token is signed with an algorithm that is not accepted here"
    UNKNOWN_KEY = "The token is signed with a key that the issuer does not have"
    SIGNATURE = "The signature of the token is wrong"
    EXPIRED = "The token has expired"
    NOT_YET = "The token is not valid yet"
    ISSUER = "The token is of another issuer"
    AUDIENCE = "The token is for another audience"
    CLAIMS = "The token lacks a claim, or has an invalid one"
    # Not the shopper's fault: the token may be good.
    ISSUER_UNAVAILABLE = "The keys of the issuer are unavailable"

    @property
    def reason(self) -> str:
        """The name in metrics."""
        return self.name.lower().replace("_", "-")
