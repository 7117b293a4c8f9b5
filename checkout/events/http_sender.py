"""Sends webhooks over HTTP, to public addresses only.

An endpoint's name is resolved, every address is checked, and the connection goes to a checked address: so a name that is
resolved to another address the next time ("DNS rebinding") reaches nothing inside.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from checkout.ports.webhooks import SendResult

# Of an answer's body so much is read, and dropped, so that the connection can be used again.
MAX_ANSWER_BYTES: Final = 16 * 1024
MAX_CONNECTIONS: Final = 64
# More than one connection to an endpoint that is slow, and not all of them.
MAX_CONNECTIONS_PER_HOST: Final = 8
CONNECT_TIMEOUT_S: Final = 5.0
_RETRY_AFTER_DIGITS: Final = 9

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# Not of the internet either, though `is_global` does not know it in every version of Python: IETF assignments, of which a
# cloud's metadata service has one, relays of 6to4, local translation, and site-local addresses.
_NOT_PUBLIC: Final = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10")))


class AddressRefused(OSError):
    """The address is private, of this host, of its network or of a cloud's metadata service, or none of a host."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also if it is embedded in one of IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = _embedded(ip)
        if embedded is not None:
            return is_public(str(embedded))
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which packets for this one may be sent on: mapped, 6to4, Teredo, NAT64."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


class PublicResolver(AbstractResolver):
    """Resolves names to addresses of the public internet. A name with any other address is refused as a whole."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`. Raises `AddressRefused`."""
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(each["host"]) for each in found):
            raise AddressRefused("the address is not public")
        return found

    async def close(self) -> None:
        """See `AbstractResolver.close`."""
        await self._resolver.close()


class HttpSender:
    """`WebhookSender` over two pools of connections: one for public addresses, one for endpoints that may be private."""

    def __init__(self, public: aiohttp.ClientSession, any_address: aiohttp.ClientSession) -> None:
        self._public = public
        self._any_address = any_address

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, allow_private: bool) -> SendResult:
        """See `WebhookSender.send`."""
        session = self._any_address if allow_private else self._public
        try:
            if not allow_private:
                _check_literal(url)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                retry_after_s = _retry_after_s(response.headers.get("Retry-After"), response.headers.get("Date"))
                await response.content.read(MAX_ANSWER_BYTES)
                return SendResult(status=response.status, error=_error_of(response.status), retry_after_s=retry_after_s)
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return SendResult(error=_reason(error))


@asynccontextmanager
async def open_http_sender(resolver: AbstractResolver | None = None) -> AsyncIterator[HttpSender]:
    """A sender whose connections are closed at the end; `resolver` in place of the system's."""
    async with (
        _session(PublicResolver(resolver or aiohttp.ThreadedResolver())) as public,
        _session(resolver or aiohttp.ThreadedResolver()) as any_address,
    ):
        yield HttpSender(public, any_address)


def _session(resolver: AbstractResolver) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=resolver, limit=MAX_CONNECTIONS, limit_per_host=MAX_CONNECTIONS_PER_HOST, ttl_dns_cache=10
        ),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        # A compressed answer could be of any size.
        auto_decompress=False,
        trust_env=False,
    )


def _check_literal(url: str) -> None:
    """An address in place of a name is not resolved, so it is checked here. Raises `AddressRefused`."""
    host = urlsplit(url).hostname or ""
    # Other spellings of a digit or a dot would be an address only after the client has normalised them.
    if not host.isascii() or "%" in host:
        raise AddressRefused("the name of the host is not plain")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    if not is_public(host):
        raise AddressRefused("the address is not public")


def _error_of(status: int) -> str | None:
    if 300 <= status < 400:
        return "a redirect, which is not followed"
    return None


def _reason(error: BaseException) -> str:
    """A few words of ours: texts of exceptions may hold what the endpoint has sent."""
    causes = (error, error.__cause__, error.__context__, getattr(error, "os_error", None))
    if any(isinstance(cause, AddressRefused) for cause in causes):
        return "the address is not public"
    return type(error).__name__


def _retry_after_s(value: str | None, date: str | None) -> float | None:
    """`Retry-After` in seconds (RFC 9110, 10.2.3): a number, or a date that is compared with the answer's own."""
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= _RETRY_AFTER_DIGITS:
        return float(value)
    try:
        at, now = parsedate_to_datetime(value), parsedate_to_datetime(date or "")
        return max((at - now).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
