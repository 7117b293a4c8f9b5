"""Opening a connection to a primary by redis-py: URL, TLS, credentials, HELLO, and then the bare socket.

Each connection resolves the name of the store again and tries its addresses until one is a primary: so a name of several
addresses, or one whose address changes, leads to the primary after a failover.

The only module that leans on redis-py's private attributes (`_reader`, `_writer`); a test fails when they move.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from store.errors import Reason, StoreUnavailable
from store.sentinel import SentinelAddress
from store.tls import tls_fault

T = TypeVar("T")

# The deadline is ours too: redis-py's own use asyncio.wait_for, which loses a cancellation under Python 3.11.
_OURS: Final[Mapping[str, Any]] = {"protocol": 3, "socket_timeout": None, "socket_connect_timeout": None}

# Roles that take no writes. A proxy may report no role.
_NO_PRIMARY: Final = frozenset({"replica", "slave", "sentinel"})


async def open_stream(url: str, timeout_s: float, *, takes_replica: bool = False) -> asyncio.StreamWriter:
    """Return a connection to a primary, or to any server, after HELLO 3, authentication and the selection of its database.

    Where the address names Sentinels, they are asked for the primary first.

    The writer must be referenced for as long as its transport is used: it closes the transport when it is collected.
    Raises `ValueError` for a URL that cannot be read (its text shows no password), and `StoreUnavailable` when no server
    can be reached, none answers within `timeout_s`, or it refuses the credentials or is no primary.
    """
    sentinels = SentinelAddress.parse(url)
    if sentinels is not None:
        url = await sentinels.find(partial(_ask_sentinel, timeout_s))
    connection = _connection(url)
    if not isinstance(connection, Connection):
        return await _open(connection, timeout_s, takes_replica=takes_replica)
    failures: list[StoreUnavailable] = []
    for address in await _addresses(connection, timeout_s):
        try:
            return await _open(_aimed(_connection(url), *address), timeout_s, takes_replica=takes_replica)
        except StoreUnavailable as error:
            failures.append(error)
    raise _most_telling(failures)


async def _addresses(connection: Connection, timeout_s: float) -> Sequence[tuple[str, int]]:
    """The addresses that the name has now."""
    try:
        async with asyncio.timeout(timeout_s):
            found = await _resolve(connection.host, connection.port)
    except TimeoutError as error:
        raise StoreUnavailable(f"cannot connect to the store: no address of {connection.host} in time") from error
    except OSError as error:
        why = error.strerror or error
        raise StoreUnavailable(f"cannot connect to the store: no address of {connection.host}: {why}") from error
    return list(dict.fromkeys(found))


async def _resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(str(address[0]), int(address[1])) for *_, address in found]


def _aimed(connection: AbstractConnection, address: str, port: int) -> AbstractConnection:
    """Have it connect to this address; TLS still checks the certificate for the name."""
    assert isinstance(connection, Connection)
    aim = {**connection._connection_arguments(), "host": address, "port": port}  # noqa: SLF001
    if "ssl" in aim:
        aim["server_hostname"] = connection.host
    connection._connection_arguments = lambda: aim  # type: ignore[method-assign] # noqa: SLF001
    return connection


def _most_telling(failures: Sequence[StoreUnavailable]) -> StoreUnavailable:
    """Of several addresses: a replica that answers says more than a server that does not."""
    return next((each for each in failures if each.reason is Reason.READONLY), failures[-1])


async def _open(connection: AbstractConnection, timeout_s: float, *, takes_replica: bool) -> asyncio.StreamWriter:
    role = await _converse(connection, timeout_s, _role)
    if role in _NO_PRIMARY and not takes_replica:
        await connection.disconnect(nowait=True)
        raise StoreUnavailable(
            f"cannot connect to the store: {connection._host_error()} is a {role}, not a primary",  # noqa: SLF001
            reason=Reason.READONLY,
        )
    return _detach_socket(connection)


async def _ask_sentinel(timeout_s: float, url: str, name: str) -> tuple[str, int] | None:
    """The address of the primary of this name, for this Sentinel."""

    async def ask(connection: AbstractConnection) -> tuple[str, int] | None:
        await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, check_health=False)
        reply = await connection.read_response(disable_decoding=True)
        return None if reply is None else (reply[0].decode(), int(reply[1]))

    connection = _connection(url)
    try:
        return await _converse(connection, timeout_s, ask)
    finally:
        await connection.disconnect(nowait=True)


async def _converse(
    connection: AbstractConnection, timeout_s: float, talk: Callable[[AbstractConnection], Awaitable[T]]
) -> T:
    """Connect, and return what `talk` does on the connection. After an error it is closed. Raises `StoreUnavailable`."""
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()  # type: ignore[no-untyped-call]
            return await talk(connection)
    except (RedisError, OSError, TimeoutError) as error:
        await connection.disconnect(nowait=True)
        why = _tls_fault(connection, error) or " ".join(str(error).split()) or "no answer in time"
        raise StoreUnavailable(f"cannot connect to the store: {why}") from error
    except asyncio.CancelledError:
        await connection.disconnect(nowait=True)
        raise


def _tls_fault(connection: AbstractConnection, error: BaseException) -> str | None:
    if not isinstance(connection, SSLConnection):
        return None
    return tls_fault(error, connection.host, has_certificate=connection.certfile is not None)


async def _role(connection: AbstractConnection) -> str:
    """The role of the server as HELLO reports it, which every user may send; redis-py drops the reply to its own."""
    await connection.send_command("HELLO", check_health=False)
    reply = await connection.read_response(disable_decoding=True)
    return str(reply.get(b"role", b"").decode())


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
