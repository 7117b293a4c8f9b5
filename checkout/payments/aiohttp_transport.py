"""`Transport` on an aiohttp session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from checkout.payments.transport import Reply
from checkout.ports.payments import PaymentNotRun, PaymentUnknown
from primitives.tracing.spans import CLIENT, outgoing_context, span

# Of a response; those of payments have a few kilobytes.
MAX_BODY: Final = 1 << 20


class AiohttpTransport:
    """Sends the requests to `base_url`; the session and its deadlines belong to the caller."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """See `Transport.send`."""
        # The path is encoded already; a redirect would carry the key and the token to another address.
        url = URL(self._base_url + path, encoded=True)
        headers = {"Accept-Encoding": "identity", "Accept": "application/json", **headers}
        with span(
            f"{method} payment", CLIENT, {"http.request.method": method, "server.address": url.host or ""}
        ) as call:
            reply = await self._exchange(method, url, {**headers, **outgoing_context()}, body)
            call.set("http.response.status_code", reply.status)
            return reply

    async def _exchange(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Reply:
        try:
            async with self._session.request(
                method, url, headers=headers, data=body or None, allow_redirects=False
            ) as response:
                names = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, names, await _body_of(response))
        except aiohttp.ClientConnectorError as error:
            raise PaymentNotRun(f"the payment service was not reached: {type(error).__name__}") from error
        except aiohttp.ClientError as error:
            raise PaymentUnknown(f"no response of the payment service: {type(error).__name__}") from error


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise PaymentUnknown(f"the response of the payment service has more than {MAX_BODY} bytes")
    return bytes(body)
