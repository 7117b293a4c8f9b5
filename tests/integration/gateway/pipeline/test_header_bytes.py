"""Header fields pass through the gateway byte by byte, in both directions, and none is invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from store import Client
from tests.integration.gateway.proxy.raw_upstream import always
from tests.integration.gateway.whole_gateway import whole_gateway

BODY = b"<p>" + b"text " * 1000
FIELDS = {
    b"Location": "/café".encode(),
    b"Content-Disposition": b'attachment; filename="\xfcbersicht.pdf"',
    b"Content-Type": b'text/html; charset=utf-8; title="caf\xc3\xa9 \xff"',
    b"X-Name": "東京 \x80\xff".encode("latin-1", "replace") + b"\x80\xff",
    b"ETag": b'"caf\xc3\xa9 \xff"',
}


def answer(framing: str, *more: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with bytes beyond ASCII in its fields."""
    lines = [b"%b: %b" % field for field in FIELDS.items()] + [*more]
    length, body = (b"Content-Length: %d" % len(BODY), BODY)
    if framing == "chunked":
        length, body = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    return b"HTTP/1.1 %b\r\n%b\r\n%b\r\n\r\n%b" % (status, b"\r\n".join(lines), length, body)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("route", [{}, {"cache": True}, {"compress": True}, {"cache": True, "compress": True}], ids=str)
@pytest.mark.parametrize("accepted", ["identity", "gzip"])
async def test_bytes_of_a_response_pass_unchanged(
    store: Client, store_url: str, tmp_path: Path, version: str, framing: str, route: dict[str, Any], accepted: str
) -> None:
    script = always(answer(framing, b"Cache-Control: max-age=60"))
    async with whole_gateway(store_url, tmp_path, script, route=route) as gateway:
        for _ in range(3):
            got = await gateway.get("/s/x", f"Accept-Encoding: {accepted}", version=version)
            assert got.status == 200
            for name, value in FIELDS.items():
                expected = value
                if name == b"ETag" and "compress" in route and accepted == "gzip":
                    expected = b"W/" + value
                assert got[name.decode()] == expected


async def test_a_redirect_to_a_name_in_utf8_passes_unchanged(store: Client, store_url: str, tmp_path: Path) -> None:
    script = always(
        b"HTTP/1.1 302 Found\r\nContent-Type: text/html\r\nLocation: /caf\xc3\xa9\r\n"
        b'Content-Disposition: attachment; filename="\xfcbersicht.pdf"\r\nContent-Length: 0\r\n\r\n'
    )
    async with whole_gateway(store_url, tmp_path, script) as gateway:
        for version in ("1.0", "1.1"):
            for method in ("GET", "HEAD", "POST"):
                got = await gateway.get("/s/x", method=method, version=version)
                assert got["Location"] == b"/caf\xc3\xa9"
                assert got["Content-Disposition"] == b'attachment; filename="\xfcbersicht.pdf"'


async def test_a_tag_of_any_bytes_is_validated_with_the_same_bytes(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    script = always(answer("counted", b"Cache-Control: no-cache"))
    async with whole_gateway(store_url, tmp_path, script, route={"cache": True}) as gateway:
        await gateway.get("/s/x")
        await gateway.get("/s/x")
        assert gateway.sent("If-None-Match") == [FIELDS[b"ETag"]]


async def test_a_client_that_has_a_tag_of_any_bytes_gets_304(store: Client, store_url: str, tmp_path: Path) -> None:
    script = always(answer("counted", b"Cache-Control: max-age=60"))
    async with whole_gateway(store_url, tmp_path, script, route={"cache": True}) as gateway:
        await gateway.get("/s/x")
        asked = b"GET /s/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nIf-None-Match: %b\r\n\r\n"
        got = await gateway.send(asked % FIELDS[b"ETag"])
        assert got.status == 304
        assert got["ETag"] == FIELDS[b"ETag"]
        assert len(gateway.upstream.requests) == 1


async def test_bytes_of_a_request_pass_unchanged(store: Client, store_url: str, tmp_path: Path) -> None:
    async with whole_gateway(store_url, tmp_path, always(answer("counted"))) as gateway:
        for value in ("café".encode(), b"F\xfcztbol/1.0", b"\x80\xff"):
            asked = b"GET /s/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nX-Name: %b\r\nCookie: a=%b\r\n\r\n"
            assert (await gateway.send(asked % (value, value))).status == 200
            assert gateway.sent("X-Name") == [value]
            assert gateway.sent("Cookie") == [b"a=" + value]


@pytest.mark.parametrize("framing", [b"Content-Length: 15\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nf\r\n"])
@pytest.mark.parametrize("route", [{}, {"cache": True}, {"compress": True}], ids=str)
async def test_a_response_without_a_type_passes_without_one(
    store: Client, store_url: str, tmp_path: Path, framing: bytes, route: dict[str, Any]
) -> None:
    end = b"\r\n0\r\n\r\n" if b"chunked" in framing else b""
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"
    script = always(head + framing + b"<html>hi</html>" + end)
    async with whole_gateway(store_url, tmp_path, script, route=route) as gateway:
        for version in ("1.1", "1.0"):
            got = await gateway.get("/s/x", "Accept-Encoding: gzip", version=version)
            assert b"<html>hi</html>" in got.body
            assert got.all("Content-Type") == []
