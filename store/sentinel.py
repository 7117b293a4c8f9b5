"""The address of a primary that Sentinels watch: `redis+sentinel://host:port,host:port/name`.

The Sentinels are asked for each connection. So a client that loses its primary, or leaves it, comes to the one that was promoted: a
Sentinel that demotes a server also closes the connections to it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from store.errors import StoreUnavailable

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
PORT: Final = 26379
# Options of the address that are for the Sentinels alone.
_OWN_OPTIONS: Final = ("sentinel_username", "sentinel_password")
# Of the options for the primary, those of TLS are for the Sentinels too.
_TLS: Final = "ssl_"

Address = tuple[str, int]
# Asks the Sentinel at a URL for the address of the primary of this name; None if it knows none.
Ask = Callable[[str, str], Awaitable[Address | None]]


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where the Sentinels are, the name of the primary for them, and the rest of its address."""

    sentinels: Sequence[str]
    name: str
    _scheme: str
    _user: str
    _database: str
    _query: str

    @classmethod
    def parse(cls, url: str) -> SentinelAddress | None:
        """None for an address of another scheme. Raises `ValueError` without a name, or with a port that is none."""
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            return None
        scheme = parts.scheme.partition("+")[0]
        user, at, hosts = parts.netloc.rpartition("@")
        name, _, database = parts.path.strip("/").partition("/")
        if not name or not all(hosts.split(",")):
            raise ValueError(
                "cannot read the address of the store: it must be redis+sentinel://host:port,host:port/name-of-the-primary"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        username, password = (options.pop(key, "") for key in _OWN_OPTIONS)
        credentials = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""
        tls = urlencode({key: value for key, value in options.items() if key.startswith(_TLS)})
        places = [_address_of(each) for each in hosts.split(",")]
        sentinels = [urlunsplit((scheme, credentials + _netloc(each), "", tls, "")) for each in places]
        return cls(sentinels, name, scheme, user + at, database, urlencode(options))

    def of(self, primary: Address) -> str:
        """The address of the store while this server is the primary."""
        return urlunsplit((self._scheme, self._user + _netloc(primary), self._database, self._query, ""))

    async def find(self, ask: Ask) -> str:
        """The address of the present primary: that which most of the Sentinels name. Raises `StoreUnavailable`.

        It is known when more than half of all agree, so none that hangs is waited for.
        """
        asking = [asyncio.ensure_future(ask(each, self.name)) for each in self.sentinels]
        try:
            return self.of(await self._agreed(asking))
        finally:
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _agreed(self, asking: Sequence[asyncio.Future[Address | None]]) -> Address:
        named: Counter[Address] = Counter()
        failures: list[StoreUnavailable] = []
        for each in asyncio.as_completed(asking):
            try:
                address = await each
            except StoreUnavailable as error:
                failures.append(error)
                continue
            if address is not None:
                named[address] += 1
                if 2 * named[address] > len(asking):
                    return address
        if named:
            return named.most_common(1)[0][0]
        if len(failures) == len(asking):
            raise StoreUnavailable(f"none of the {len(asking)} sentinels answers: {failures[0]}")
        raise StoreUnavailable(f"cannot connect to the store: no sentinel knows a primary of the name {self.name}")


def _address_of(text: str) -> Address:
    place = urlsplit(f"//{text}")
    try:
        host, port = place.hostname, place.port
    except ValueError:
        host = None
    if host is None:
        # The text is not shown: it may be a part of the password.
        raise ValueError(
            "cannot read the address of the store: a sentinel has no host or no number for its port, "
            "or the password is not percent-encoded"
        )
    return host, PORT if port is None else port


def _netloc(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
