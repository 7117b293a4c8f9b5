"""Fetching an issuer's keys over HTTP, from one that behaves and from others."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web

from gateway.auth.jwks import Jwks
from gateway.auth.key_fetch import fetch_document
from gateway.auth.key_set import MAX_BYTES, InvalidKeySet, parse_key_set
from tests.issuer import Issuer, IssuerServer, issuer_server


@pytest.fixture
async def shown() -> AsyncIterator[IssuerServer]:
    async with issuer_server(Issuer()) as shown:
        yield shown


async def test_the_keys_of_the_issuer_are_fetched(shown: IssuerServer) -> None:
    assert len(parse_key_set(await fetch_document(shown.url))) == 3


@pytest.mark.parametrize("status", [204, 301, 302, 307, 401, 404, 500, 503])
async def test_any_status_but_200_is_an_error_and_redirects_are_not_followed(shown: IssuerServer, status: int) -> None:
    shown.response = web.Response(status=status, headers={"Location": shown.url})
    with pytest.raises(InvalidKeySet, match=str(status)):
        await fetch_document(shown.url)
    assert shown.fetches == 1


async def test_no_more_is_read_than_a_key_set_may_have(shown: IssuerServer) -> None:
    shown.response = web.Response(body=b" " * (8 * MAX_BYTES))
    document = await fetch_document(shown.url)
    assert len(document) == MAX_BYTES + 1
    with pytest.raises(InvalidKeySet, match="larger"):
        parse_key_set(document)


async def test_nothing_is_decompressed(shown: IssuerServer) -> None:
    packed = gzip.compress(shown.issuer.document())
    shown.response = web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    assert await fetch_document(shown.url) == packed


async def test_an_error_of_the_issuer_keeps_the_keys(shown: IssuerServer) -> None:
    jwks = Jwks(shown.url, min_requested_s=0.0)
    fetching = asyncio.create_task(jwks.run())
    for response in (None, web.Response(status=500)):
        shown.response = response
        refresh = jwks.refresh()
        assert refresh is not None
        await refresh
    assert (len(jwks.keys), jwks.is_unavailable) == (3, True)
    fetching.cancel()
    with suppress(asyncio.CancelledError):
        await fetching


async def test_a_closed_port_is_an_error(unused_tcp_port: int) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await fetch_document(f"http://127.0.0.1:{unused_tcp_port}/jwks.json")
