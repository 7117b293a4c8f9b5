"""Compressed responses of an upstream: every field that depends on the bytes follows them, and 304s agree with 200s."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from store import Client
from tests.integration.gateway.proxy.raw_upstream import Peer, Script, always
from tests.integration.gateway.whole_gateway import whole_gateway

BODY = b"text " * 1000
COMPRESS: dict[str, Any] = {"compress": True}
ROUTES = pytest.mark.parametrize("route", [COMPRESS, {"compress": True, "cache": True}], ids=["plain", "cached"])


def page(*lines: bytes, kind: bytes = b"text/html", status: bytes = b"200 OK", body: bytes = BODY) -> bytes:
    fields = b"\r\n".join([b"Content-Type: " + kind, *lines, b"Content-Length: %d" % len(body)])
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, fields, body)


def validating(tag: bytes, *lines: bytes, kind: bytes = b"text/html") -> Script:
    """An upstream that compares the whole text of If-None-Match with its tag."""

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            known = re.findall(rb"(?im)^if-none-match: ([^\r]*)", asked)
            if known == [tag] or b"If-Modified-Since" in asked:
                more = b"".join([line + b"\r\n" for line in lines])
                await peer.send(b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n%b\r\n" % (tag, more))
            else:
                await peer.send(page(b"ETag: " + tag, *lines, kind=kind))

    return script


@ROUTES
async def test_fields_of_the_plain_bytes_are_removed(
    store: Client, store_url: str, tmp_path: Path, route: dict[str, Any]
) -> None:
    script = always(
        page(
            b"Accept-Ranges: bytes",
            b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==",
            b"Digest: sha-256=X48E9q",
            b"content-digest: sha-256=:d435Qo:",
            b"Repr-Digest: sha-256=:d435Qo:",
            b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
            b"Cache-Control: max-age=60",
        )
    )
    changed = ("Accept-Ranges", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest")
    async with whole_gateway(store_url, tmp_path, script, route=route) as gateway:
        for _ in range(2):
            packed = await gateway.get("/s/x", "Accept-Encoding: gzip")
            assert packed["Content-Encoding"] == b"gzip"
            assert [name for name in changed if packed.all(name)] == []
            assert packed["Last-Modified"]
            plain = await gateway.get("/s/x")
            assert [name for name in changed if not plain.all(name)] == []


@ROUTES
@pytest.mark.parametrize("tag", [b'"v1"', b'W/"v1"'])
async def test_a_304_has_tag_and_vary_of_its_200(
    store: Client, store_url: str, tmp_path: Path, route: dict[str, Any], tag: bytes
) -> None:
    script = validating(tag, b"Vary: Cookie", b"Cache-Control: no-cache")
    async with whole_gateway(store_url, tmp_path, script, route=route) as gateway:
        for coding in ("gzip", "identity", "br"):
            whole = await gateway.get("/s/x", f"Accept-Encoding: {coding}")
            assert whole["ETag"] == (tag if coding == "identity" or tag.startswith(b"W/") else b"W/" + tag)
            known = f"If-None-Match: {whole['ETag'].decode()}"
            got = await gateway.get("/s/x", f"Accept-Encoding: {coding}", known)
            assert got.status == 304
            assert got["ETag"] == whole["ETag"]
            assert got.members("Vary") == whole.members("Vary") == {"cookie", "accept-encoding"}
            assert got.all("Content-Encoding") == []


async def test_a_304_to_any_condition_has_the_tag_of_its_200(store: Client, store_url: str, tmp_path: Path) -> None:
    script = always(b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\nVary: Cookie\r\n\r\n')
    async with whole_gateway(store_url, tmp_path, script, route=COMPRESS) as gateway:
        for known in ('W/"v1"', "*", 'W/"v0", W/"v1"', '"v0"'):
            got = await gateway.get("/s/x", "Accept-Encoding: gzip", f"If-None-Match: {known}")
            assert (got["ETag"], got.members("Vary")) == (b'W/"v1"', {"cookie", "accept-encoding"})
        got = await gateway.get("/s/x", "If-None-Match: *")
        assert (got["ETag"], got.members("Vary")) == (b'"v1"', {"cookie", "accept-encoding"})
        got = await gateway.get("/s/x", "Accept-Encoding: gzip", 'If-None-Match: "v1"')
        assert got["ETag"] == b'"v1"', "the client has plain bytes"


async def test_the_304_of_a_picture_has_its_strong_tag(store: Client, store_url: str, tmp_path: Path) -> None:
    script = validating(b'"v1"', kind=b"image/png")
    async with whole_gateway(store_url, tmp_path, script, route=COMPRESS) as gateway:
        for more in ([], ['If-None-Match: "v1"']):
            got = await gateway.get("/s/x", "Accept-Encoding: gzip", *more)
            assert got["ETag"] == b'"v1"'
            assert got.all("Vary") == []


async def test_a_condition_with_a_weakened_tag_reaches_the_upstream_with_its_own(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    async with whole_gateway(store_url, tmp_path, validating(b'"v1"'), route=COMPRESS) as gateway:
        await gateway.get("/s/x", "Accept-Encoding: gzip", "Cookie: a=b")
        await gateway.get("/s/x", 'If-Match: W/"v1"', method="PUT")
        assert gateway.sent("If-Match") == [b'"v1"']
        await gateway.get("/s/x", 'If-None-Match: "v0", W/"v1" , W/"v2"')
        assert gateway.sent("If-None-Match") == [b'"v0", "v1" , W/"v2"']
        await gateway.get("/s/other", 'If-None-Match: W/"v1"')
        assert gateway.sent("If-None-Match") == [b'W/"v1"'], "a tag belongs to its address"


async def test_a_part_is_never_compressed(store: Client, store_url: str, tmp_path: Path) -> None:
    script = always(
        page(b'ETag: "v1"', b"Accept-Ranges: bytes", b"Content-Range: bytes 0-4999/9000", status=b"206 Partial Content")
    )
    async with whole_gateway(store_url, tmp_path, script, route=COMPRESS) as gateway:
        got = await gateway.get("/s/x", "Accept-Encoding: gzip", "Range: bytes=0-4999")
        assert (got.status, got.body, got["ETag"]) == (206, BODY, b'"v1"')
        assert got["Accept-Ranges"] == b"bytes"
        assert got.all("Content-Encoding") == []


@pytest.mark.parametrize("said_by", ["response", "request"])
async def test_no_transform_is_obeyed(store: Client, store_url: str, tmp_path: Path, said_by: str) -> None:
    lines = [b"Cache-Control: No-Transform"] if said_by == "response" else []
    asked = ["Cache-Control: max-age=0, no-transform"] if said_by == "request" else []
    async with whole_gateway(store_url, tmp_path, always(page(b'ETag: "v1"', *lines)), route=COMPRESS) as gateway:
        got = await gateway.get("/s/x", "Accept-Encoding: gzip", *asked)
        assert (got.body, got["ETag"]) == (BODY, b'"v1"')


@pytest.mark.parametrize("size", [100, 5000])
async def test_head_has_the_fields_of_get(store: Client, store_url: str, tmp_path: Path, size: int) -> None:
    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            answer = page(b'ETag: "v1"', b"Accept-Ranges: bytes", body=BODY[:size])
            await peer.send(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if asked.startswith(b"HEAD") else answer)

    async with whole_gateway(store_url, tmp_path, script, route=COMPRESS) as gateway:
        same = ("ETag", "Content-Encoding", "Vary", "Accept-Ranges", "Content-Type")
        got = [await gateway.get("/s/x", "Accept-Encoding: gzip", method=method) for method in ("GET", "HEAD")]
        assert [got[0].all(name) for name in same] == [got[1].all(name) for name in same]


async def test_products_have_the_same_tag_in_their_304(store: Client, store_url: str, tmp_path: Path) -> None:
    async with whole_gateway(store_url, tmp_path, always(page())) as gateway:
        for coding in ("gzip", "identity"):
            whole = await gateway.get("/v1/products", f"Accept-Encoding: {coding}")
            tag = whole["ETag"].decode()
            got = await gateway.get("/v1/products", f"Accept-Encoding: {coding}", f"If-None-Match: {tag}")
            assert (got.status, got["ETag"]) == (304, whole["ETag"])


async def test_a_type_with_any_parameters_is_recognized(store: Client, store_url: str, tmp_path: Path) -> None:
    for kind in (b"text/html; charset=\xff", b'TEXT/HTML;charset="utf-8"', b"application/vnd.shop+json; x=caf\xc3\xa9"):
        async with whole_gateway(store_url, tmp_path, always(page(kind=kind)), route=COMPRESS) as gateway:
            got = await gateway.get("/s/x", "Accept-Encoding: gzip")
            assert (got["Content-Encoding"], got["Content-Type"]) == (b"gzip", kind)
