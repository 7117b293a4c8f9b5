"""Calls to the services of AWS that speak AWS JSON (SQS, DynamoDB, KMS), on one HTTP session.

aiobotocore finds the credentials, the Region and the address; the calls are our own, because its path from a call to the
socket takes three times the CPU time (`make bench-sqs`). Importing this module imports aiobotocore, which is slow.
"""

from __future__ import annotations

import asyncio
import random
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError
from yarl import URL

from checkout.aws.errors import AwsError, AwsRejected, AwsUnreachable
from checkout.aws.signature import Signer
from primitives.backoff import Backoff

DEADLINE_S: Final = 5.0
CONNECT_S: Final = 2.0
ATTEMPTS: Final = 3
FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 1.0
MAX_CONNECTIONS: Final = 50
# Errors of status 400 that say "later", besides every error of status 429 or 5xx.
_TRANSIENT: Final = (
    "Throttl",
    "TooManyRequests",
    "RequestLimitExceeded",
    "ProvisionedThroughputExceeded",
    "RequestTimeout",
)
# The HTTP client adds none of its own.
_NO_AUTO_HEADERS: Final = frozenset({"Accept", "Accept-Encoding", "Content-Type"})


class Endpoint(NamedTuple):
    """A service at an address: `url` ends without a path, `target` begins the name of each operation."""

    url: str
    region: str
    service: str
    target: str
    json_version: str


@asynccontextmanager
async def open_json_client(
    service: str, *, endpoint_url: str | None = None, region: str | None = None
) -> AsyncIterator[AwsJsonClient]:
    """A client of the service, named as in the AWS command line; its connections are closed at the end. No call is made.

    Credentials, Region and address come from the standard chain of AWS (environment, profile, container or instance role).
    Raises `ValueError` if there is no Region, or the address has a path.
    """
    session = get_session()
    try:
        endpoint = await _resolve(session, service, endpoint_url, region)
        ca_bundle = session.get_config_variable("ca_bundle")
    except (BotoCoreError, ValueError) as error:
        raise ValueError(str(error)) from error
    if URL(endpoint.url).path != "/":
        raise ValueError(f"the address of a service of AWS has no path, unlike {endpoint.url}")
    connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=_ssl_context(ca_bundle) if ca_bundle else True)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        headers={"User-Agent": "peakgate"},
        skip_auto_headers=_NO_AUTO_HEADERS,
    ) as http:
        yield AwsJsonClient(http, endpoint, await session.get_credentials(), proxy=_proxy_of(endpoint.url))


class AwsJsonClient:
    """Makes the calls to one service; see `open_json_client`.

    A call that has no response, is throttled or fails at the service is made again, three times in all, after 50 ms and
    twice that, less a random half, within its deadline. So a call may take effect twice.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        endpoint: Endpoint,
        credentials: Any,
        *,
        proxy: str | None = None,
        now_s: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.endpoint = endpoint
        self._http = http
        self._credentials = credentials
        self._proxy = proxy
        self._now_s = now_s
        self._sleep = sleep
        self._chance = chance
        self._url = URL(endpoint.url).with_path("/")
        content_type = f"application/x-amz-json-{endpoint.json_version}"
        self._signer = Signer(
            service=endpoint.service, region=endpoint.region, host=_host_field(self._url), content_type=content_type
        )

    async def call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """The response to `operation`. Raises `AwsRejected` and `AwsUnreachable`."""
        response, _ = await self.dated_call(operation, parameters, deadline_s=deadline_s)
        return response

    async def dated_call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = DEADLINE_S
    ) -> tuple[dict[str, Any], str | None]:
        """As `call`, with the time of the response by the clock of the service (the field `Date`)."""
        calling = self._call(operation, parameters, deadline_s=deadline_s)
        if asyncio.current_task() is None:
            # The server steps hot handlers without a task, and timeouts need one.
            return await asyncio.create_task(calling)
        return await calling

    async def _call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float
    ) -> tuple[dict[str, Any], str | None]:
        body = orjson.dumps(parameters)
        target = f"{self.endpoint.target}.{operation}"
        pauses = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S, chance=self._chance)
        try:
            async with asyncio.timeout(deadline_s):
                for _ in range(ATTEMPTS - 1):
                    try:
                        return await self._attempt(target, body)
                    except AwsError as error:
                        if not _is_transient(error):
                            raise
                    await self._sleep(pauses.next_delay_s())
                return await self._attempt(target, body)
        except TimeoutError as error:
            raise AwsUnreachable(f"no response from {self.endpoint.url} in {deadline_s:g} s") from error

    async def _attempt(self, target: str, body: bytes) -> tuple[dict[str, Any], str | None]:
        headers = self._signer.headers(target, body, await self._frozen_credentials(), now_s=self._now_s())
        try:
            async with self._http.post(self._url, data=body, headers=headers, proxy=self._proxy) as response:
                content, status, date = await response.read(), response.status, response.headers.get("Date")
        except (aiohttp.ClientError, OSError) as error:
            raise AwsUnreachable(f"{type(error).__name__}: {error}") from error
        if status == 200:
            return _decoded(content), date
        raise _rejection(status, content)

    async def _frozen_credentials(self) -> Any:
        if self._credentials is None:
            raise AwsUnreachable("no credentials of AWS were found")
        try:
            return await self._credentials.get_frozen_credentials()
        except (BotoCoreError, RuntimeError) as error:  # the latter if they are expired still
            raise AwsUnreachable(f"the credentials of AWS cannot be renewed: {error}") from error


async def _resolve(session: AioSession, service: str, endpoint_url: str | None, region: str | None) -> Endpoint:
    """Ask aiobotocore, which knows profiles, partitions and variables of the environment."""
    config = AioConfig(signature_version="v4")
    async with session.create_client(service, endpoint_url=endpoint_url, region_name=region, config=config) as client:
        meta = client.meta
        model = meta.service_model
        return Endpoint(
            meta.endpoint_url,
            meta.region_name,
            model.signing_name,
            model.metadata["targetPrefix"],
            model.metadata["jsonVersion"],
        )


def _is_transient(error: AwsError) -> bool:
    if isinstance(error, AwsRejected):
        return error.status >= 500 or error.status == 429 or error.code.startswith(_TRANSIENT)
    return True


def _decoded(content: bytes) -> dict[str, Any]:
    if not content:
        return {}
    try:
        decoded = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise AwsUnreachable("the response is no JSON") from error
    if not isinstance(decoded, dict):
        raise AwsUnreachable("the response is no JSON object")
    return decoded


def _rejection(status: int, content: bytes) -> AwsRejected:
    """The error in a response; `__type` may have a namespace before the name, and a URL after it."""
    try:
        fields = _decoded(content)
    except AwsUnreachable:
        fields = {}
    code = str(fields.get("__type") or fields.get("code") or f"HTTP {status}")
    code = code.partition("#")[2] or code
    message = str(fields.get("message") or fields.get("Message") or "")
    return AwsRejected(code.partition(":")[0], message, status=status)


def _host_field(url: URL) -> str:
    host = url.host_subcomponent or ""
    return host if url.is_default_port() else f"{host}:{url.port}"


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for this address; looked up once, because that is slow."""
    parsed = URL(url)
    if urllib.request.proxy_bypass(parsed.host or ""):
        return None
    return urllib.request.getproxies().get(parsed.scheme)


def _ssl_context(ca_bundle: str) -> Any:
    import ssl

    return ssl.create_default_context(cafile=ca_bundle)
