"""Sends the interim responses of an upstream to the client of one request."""

from __future__ import annotations

from typing import Protocol


class InterimConnection(Protocol):
    """The connection of a client."""

    def send_interim(self, request_id: str, status: int, header_block: bytes) -> None:
        """Send an interim response, unless its request is done or its client may not understand it."""
        ...


class InterimSender:
    """See `InterimReceiver`. Of one request, as the connection may have gone on to the next one.

    It does not hold the request, which holds it: a circle would be left to the garbage collector.
    """

    __slots__ = ("_connection", "_request_id")

    def __init__(self, connection: InterimConnection, request_id: str) -> None:
        self._connection = connection
        self._request_id = request_id

    def send_interim(self, status: int, header_block: bytes) -> None:
        """See `InterimReceiver`."""
        self._connection.send_interim(self._request_id, status, header_block)
