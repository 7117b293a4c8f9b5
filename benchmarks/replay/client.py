"""The HTTP client of the shoppers: calls are repeated until there is a final response."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp
import msgspec

from benchmarks.replay.latency import Latencies
from benchmarks.replay.retry import RetryPolicy

_JSON_HEADERS: Final = {"Content-Type": "application/json"}
# A load balancer returns 502 and 504 while the gateway restarts.
_RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})

_Form = TypeVar("_Form")


class _Problem(msgspec.Struct):
    type: str


@dataclass(frozen=True, slots=True)
class ShopResponse:
    """One HTTP response, its body as received."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def decode(self, form: type[_Form]) -> _Form:
        """The JSON body. Raises msgspec.DecodeError if it does not have that form."""
        return msgspec.json.decode(self.body, type=form)

    @property
    def problem(self) -> str:
        """The slug of the RFC 9457 problem, or an empty string."""
        try:
            return self.decode(_Problem).type.rsplit("/", 1)[-1]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""

    @property
    def cart_version(self) -> int:
        """The cart's version, read from the ETag `"<version>.<stamp>"`: cheaper than decoding a long cart."""
        return int(self.headers["ETag"].removeprefix("W/").strip('"').partition(".")[0])


class Unreachable(Exception):
    """There is no gateway at the address."""


class ShopClient:
    """Sends calls to one gateway, repeats those that were lost or rejected for now, and records the latencies."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._pause = pause
        self.latencies = Latencies()
        self.retries: Counter[str] = Counter()
        self.requests = 0

    async def call(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        retry: RetryPolicy,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ShopResponse:
        """Send a call until there is a final response; `path` is percent-encoded already.

        The same bytes are sent each time, so the caller chooses calls that may be repeated: reads, writes under If-Match,
        a checkout under its Idempotency-Key. Raises GaveUp after too long without progress.
        """
        url = self._base_url + path
        all_headers = {**_JSON_HEADERS, **(headers or {})} if body is not None else headers
        attempt = 0
        while True:
            attempt += 1
            response, failure_reason = await self._attempt(kind, method, url, body, all_headers)
            reason = failure_reason or _retry_reason(response)
            if response is not None and reason is None:
                return response
            self.retries[reason or "connection lost"] += 1
            await self._pause(retry.delay_before(attempt, min_delay_s=_retry_after_s(response)))

    async def probe(self, path: str) -> None:
        """Raise Unreachable unless there is an HTTP response of any status."""
        try:
            async with self._session.get(self._base_url + path) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"no response from a gateway at {self._base_url} ({reason})") from error

    async def pause(self, seconds: float) -> None:
        """Wait on the clock that also times the retries."""
        await self._pause(seconds)

    async def _attempt(
        self, kind: str, method: str, url: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[ShopResponse | None, str | None]:
        """The response, or the reason why there is none."""
        started = self._clock()
        self.requests += 1
        try:
            async with self._session.request(method, url, data=body, headers=headers) as received:
                content = await received.read()
        except TimeoutError:
            return None, "no response in time"
        except (aiohttp.ClientError, OSError):
            return None, "connection lost"
        response = ShopResponse(received.status, received.headers, content)
        if received.status not in _RETRIED_STATUSES:
            self.latencies.add(kind, self._clock() - started)
        return response, None


def open_session(*, connections: int, timeout_s: float = 30.0) -> aiohttp.ClientSession:
    """A session for shoppers: keep-alive, no cookies, one connection for each of them."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=5),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept-Encoding", "User-Agent"),
        read_bufsize=2**18,  # a cart of 675 lines arrives in one piece instead of pausing the transport
    )


def _retry_reason(response: ShopResponse | None) -> str | None:
    if response is None:
        return None
    if response.status in _RETRIED_STATUSES:
        return f"{response.status} {response.problem}".rstrip()
    if response.status == 409 and response.problem == "idempotency-key-in-progress":
        return "409 idempotency-key-in-progress"
    return None


def _retry_after_s(response: ShopResponse | None) -> float:
    """The Retry-After of a response in seconds; the form with a date (RFC 9110, 10.2.3) is not used by the gateway."""
    value = response.headers.get("Retry-After", "") if response is not None else ""
    return float(value) if value.isdecimal() else 0.0
