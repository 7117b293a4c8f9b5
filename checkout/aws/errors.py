"""How a call to a service of AWS fails."""

from __future__ import annotations


class AwsError(Exception):
    """A call had no success."""


class AwsUnreachable(AwsError):
    """No response: connection, deadline, or no credentials to sign with. The call may have taken effect."""


class AwsRejected(AwsError):
    """The service responded with an error: `code` is its name for it, `status` that of HTTP."""

    def __init__(self, code: str, message: str, *, status: int) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.status = status
