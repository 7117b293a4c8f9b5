"""`Transport` of the product search on OpenSearch, on an aiohttp session."""

from __future__ import annotations

import base64
from typing import Final

import aiohttp
from yarl import URL

from cart.catalog.ports import SearchUnavailable

# Of a response: a page, or the outcomes of a bulk request.
MAX_BODY: Final = 8 << 20
_FIELDS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}


class AiohttpTransport:
    """Sends requests to `base_url`, whose user and password are sent as basic authentication.

    The session belongs to the caller. A request that takes longer than `deadline_s` is cut off.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, *, deadline_s: float) -> None:
        url = URL(base_url)
        self._session = session
        self._base_url = str(url.with_user(None)).rstrip("/")
        self._fields = (
            _FIELDS if url.user is None else {**_FIELDS, "Authorization": _basic(url.user, url.password or "")}
        )
        self._timeout = aiohttp.ClientTimeout(total=deadline_s)

    async def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """See `Transport.send`."""
        try:
            async with self._session.request(
                method,
                URL(self._base_url + path, encoded=True),
                data=body or None,
                headers=self._fields,
                timeout=self._timeout,
                # It would carry the password to another address.
                allow_redirects=False,
            ) as response:
                return response.status, await _body_of(response)
        except TimeoutError as error:
            raise SearchUnavailable("the product search of OpenSearch: no response in time") from error
        except aiohttp.ClientError as error:
            raise SearchUnavailable(f"the product search of OpenSearch: {type(error).__name__}: {error}") from error


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_BODY:
            raise SearchUnavailable(f"the product search of OpenSearch: a response has more than {MAX_BODY} bytes")
    return bytes(body)
