"""Opening a connection by redis-py: URL, TLS, credentials, HELLO, and then the bare socket.

The only module that leans on redis-py's private attributes (`_reader`, `_writer`); a test fails when they move.
"""

from __future__ import annotations

import asyncio

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from store.errors import StoreUnavailable


async def open_stream(url: str, timeout_s: float) -> asyncio.StreamWriter:
    """Return a connection that has said HELLO 3, authenticated and selected its database.

    The writer must be kept for as long as its transport is used: it closes the transport when it is collected.
    Raises `ValueError` for a URL that cannot be read, `StoreUnavailable` when the server cannot be reached, does
    not answer within `timeout_s` or refuses the credentials.
    """
    connection = _connection(url)
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()  # type: ignore[no-untyped-call]
    except (RedisError, OSError, TimeoutError) as error:
        await connection.disconnect(nowait=True)
        raise StoreUnavailable(f"cannot connect to the store: {str(error) or 'no answer in time'}") from error
    except asyncio.CancelledError:
        await connection.disconnect(nowait=True)
        raise
    return _take_over(connection)


def _connection(url: str) -> AbstractConnection:
    options = dict(parse_url(url))
    connection_class = options.pop("connection_class", Connection)
    return connection_class(**options, protocol=3, retry=Retry(NoBackoff(), 0))  # type: ignore[operator, no-any-return]


def _take_over(connection: AbstractConnection) -> asyncio.StreamWriter:
    """Leave redis-py's connection object without its socket, so that it neither reads nor closes it."""
    writer = connection._writer  # noqa: SLF001
    if writer is None:
        raise StoreUnavailable("cannot connect to the store: the connection was lost during its handshake")
    connection._reader = None  # noqa: SLF001
    connection._writer = None  # noqa: SLF001
    return writer
