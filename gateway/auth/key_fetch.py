"""Fetch the key set of an issuer over HTTP."""

from __future__ import annotations

import aiohttp

from gateway.auth.key_set import MAX_BYTES, InvalidKeySet


async def fetch_document(url: str) -> bytes:
    """GET a document; of a larger one the first `MAX_BYTES` + 1 bytes. Raises `InvalidKeySet` and errors of aiohttp.

    Redirects are not followed: only the configuration decides where keys come from. Nothing is decompressed.
    """
    opening = aiohttp.ClientSession(
        headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    async with opening as session, session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise InvalidKeySet(f"the response has status {response.status}")
        document = b""
        while chunk := await response.content.read(MAX_BYTES + 1 - len(document)):
            document += chunk
        return document
