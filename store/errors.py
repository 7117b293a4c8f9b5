"""Errors of the store."""


class StoreError(Exception):
    """Any failure of a store call."""


class StoreUnavailable(StoreError):
    """The store could not be reached, cannot serve now, or its connection was lost before the reply arrived.

    `may_have_run` tells whether the command may have taken effect: only when it is false is a
    command that changes something safe to repeat blindly.
    """

    # The outage is logged where it is noticed, not by each call that fails (`primitives.outages`).
    is_logged_once = True

    def __init__(self, detail: str, *, may_have_run: bool = False) -> None:
        super().__init__(detail)
        self.may_have_run = may_have_run


class StoreTimeout(StoreUnavailable):
    """No reply within the command's deadline."""


class StoreOverloaded(StoreError):
    """Too many commands are waiting already; nothing was sent."""


class ReplyError(StoreError):
    """The server's own error reply to a command that it will not run, such as `WRONGTYPE Operation against …`."""

    @property
    def code(self) -> str:
        """The first word of the reply, upper case by the server's convention: `NOSCRIPT`, `WRONGTYPE`, `ERR`."""
        return str(self).partition(" ")[0]
