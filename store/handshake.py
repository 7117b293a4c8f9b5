"""Opening a connection by redis-py: URL, TLS, credentials, HELLO, and then the bare socket.

The only module that leans on redis-py's private attributes (`_reader`, `_writer`); a test fails when they move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from store.errors import StoreUnavailable

# The deadline is ours too: redis-py's own use asyncio.wait_for, which loses a cancellation under Python 3.11.
_OURS: Final[Mapping[str, Any]] = {"protocol": 3, "socket_timeout": None, "socket_connect_timeout": None}


async def open_stream(url: str, timeout_s: float) -> asyncio.StreamWriter:
    """Return a connection after HELLO 3, authentication and the selection of its database.

    The writer must be referenced for as long as its transport is used: it closes the transport when it is collected.
    Raises `ValueError` for a URL that cannot be read (its text shows no password), and `StoreUnavailable` when the server
    cannot be reached, does not answer within `timeout_s` or refuses the credentials.
    """
    connection = _connection(url)
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()  # type: ignore[no-untyped-call]
    except (RedisError, OSError, TimeoutError) as error:
        await connection.disconnect(nowait=True)
        why = " ".join(str(error).split()) or "no answer in time"
        raise StoreUnavailable(f"cannot connect to the store: {why}") from error
    except asyncio.CancelledError:
        await connection.disconnect(nowait=True)
        raise
    return _detach_socket(connection)


def _connection(url: str) -> AbstractConnection:
    try:
        options = dict(parse_url(url))
    except ValueError as error:
        raise ValueError(f"cannot read the address of the store: {_without_secrets(error)}") from None
    address = urlsplit(url)
    if address.scheme == "unix" and not address.path:
        raise ValueError("cannot read the address of the store: it names no socket")
    if address.scheme != "unix" and address.path.strip("/") and "db" not in options:
        raise ValueError(
            "cannot read the address of the store: the part after its port must be the number of a database"
        )
    connection_class = options.pop("connection_class", Connection)
    try:
        return connection_class(**{**options, **_OURS, "retry": Retry(NoBackoff(), 0)})  # type: ignore[no-any-return, operator]
    except (TypeError, RedisError):
        names = ", ".join(sorted(parse_qs(address.query)))
        raise ValueError(f"cannot read the address of the store: not all of its options are known: {names}") from None


def _without_secrets(error: ValueError) -> str:
    """The error shows a part of the password where that contains a slash: urllib parses it as the port."""
    return (
        "its port is no number, or its password is not percent-encoded"
        if "cast to integer" in str(error)
        else str(error)
    )


def _detach_socket(connection: AbstractConnection) -> asyncio.StreamWriter:
    """Leave redis-py's connection object without its socket, so that it neither reads nor closes it."""
    reader, writer = connection._reader, connection._writer  # noqa: SLF001
    connection._reader = None  # noqa: SLF001
    connection._writer = None  # noqa: SLF001
    if reader is None or writer is None or reader.at_eof() or writer.is_closing():
        if writer is not None:
            writer.close()
        raise StoreUnavailable("cannot connect to the store: the connection was lost during its handshake")
    return writer
