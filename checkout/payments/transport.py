"""HTTP as the adapters of payment services need it: one request, one whole response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """A response; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends requests to one service."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """The response to a request for `path`, which may have a query.

        Raises `PaymentNotRun` if the service was not reached, and `PaymentUnknown` if no response came.
        """
        ...
