"""A store behind TLS with certificates on both sides, and what is said where one of them is wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from store import StoreUnavailable, open_client
from store.exchange import exchange
from store.tls import TlsFileFault, with_tls_files
from tests.tls import DAY, NOW, Authority, TlsServer, has_tls
from tests.waiting import WITHIN_S, until

pytestmark = pytest.mark.skipif(not has_tls(), reason="no redis-server with TLS on this machine")


# What the server said is lost where its end of the connection arrives first.
CLIENT_FAULT = "localhost {}|it may not accept the client certificate"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def client_files(authority: Authority) -> tuple[str, str]:
    return authority.sign("gateway")


def server_of(folder: Path, authority: Authority, files: tuple[str, str]) -> TlsServer:
    (folder / "store").mkdir()
    return TlsServer(folder / "store", authority, *files)


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[TlsServer]:
    running = server_of(tmp_path, authority, authority.sign("localhost"))
    yield running
    running.kill()


async def refusal(url: str) -> str:
    with pytest.raises(StoreUnavailable) as refused:
        await exchange(url, [("PING",)], timeout_s=WITHIN_S)
    text = str(refused.value)
    assert "\n" not in text
    return text


async def test_both_sides_prove_themselves_and_the_connection_is_made_again(
    server: TlsServer, authority: Authority, client_files: tuple[str, str]
) -> None:
    certificate, key = client_files
    url = with_tls_files(f"{server.url}/3", ca=str(authority.file), certificate=certificate, key=key)
    client = await open_client(url, deadline_s=WITHIN_S)
    await client.execute("SET", "key", "value" * 10_000)
    assert await client.execute("GET", "key") == b"value" * 10_000
    await asyncio.to_thread(server.kill)
    await until(lambda: not client.is_connected)
    await asyncio.to_thread(server.start)
    assert await client.execute("DBSIZE") == 0
    await client.close()


async def test_renewed_files_are_read_for_the_next_connection(
    server: TlsServer, authority: Authority, client_files: tuple[str, str]
) -> None:
    certificate, key = client_files
    url = with_tls_files(server.url, ca=str(authority.file), certificate=certificate, key=key)
    authority.sign("gateway", valid_to=NOW - DAY / 2)
    assert re.search(CLIENT_FAULT.format("says that the client certificate has expired"), await refusal(url))
    authority.sign("gateway")
    assert await exchange(url, [("PING",)], timeout_s=WITHIN_S) == [b"PONG"]


async def test_a_client_without_a_certificate_hears_that_one_is_asked_for(
    server: TlsServer, authority: Authority
) -> None:
    url = with_tls_files(server.url, ca=str(authority.file))
    assert re.search(
        "localhost asks for a client certificate, and none is given|may ask for a client", await refusal(url)
    )


async def test_a_client_certificate_of_a_stranger_is_named(
    server: TlsServer, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = Authority(tmp_path, "stranger").sign("thief")
    url = with_tls_files(server.url, ca=str(authority.file), certificate=certificate, key=key)
    assert re.search(CLIENT_FAULT.format("does not trust the authority of the client certificate"), await refusal(url))


async def test_a_store_of_an_unknown_authority_is_not_trusted(
    server: TlsServer, client_files: tuple[str, str], tmp_path: Path
) -> None:
    certificate, key = client_files
    wrong = str(Authority(tmp_path, "stranger").file)
    for url in (
        with_tls_files(server.url, ca=wrong, certificate=certificate, key=key),
        with_tls_files(server.url, certificate=certificate, key=key),
    ):
        assert "the certificate of localhost is not signed by a trusted authority" in await refusal(url)


@pytest.mark.parametrize(
    ("name", "valid_from", "valid_to", "fault"),
    [
        ("localhost", NOW - 2 * DAY, NOW - DAY / 2, "the certificate of localhost has expired: renew it on the store"),
        ("localhost", NOW + DAY / 2, NOW + DAY, "is not valid yet: compare the clocks of both hosts"),
        ("elsewhere", NOW - DAY, NOW + DAY, "is for another name: connect to a name that is in it"),
    ],
)
async def test_a_certificate_of_the_store_that_is_wrong_is_said_in_words(
    tmp_path: Path,
    authority: Authority,
    client_files: tuple[str, str],
    name: str,
    valid_from: datetime,
    valid_to: datetime,
    fault: str,
) -> None:
    running = server_of(tmp_path, authority, authority.sign(name, valid_from=valid_from, valid_to=valid_to))
    try:
        certificate, key = client_files
        assert fault in await refusal(
            with_tls_files(running.url, ca=str(authority.file), certificate=certificate, key=key)
        )
    finally:
        running.kill()


async def test_a_port_without_tls_is_said(store_url: str, authority: Authority) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"-ERR unknown command\r\n")
        writer.close()

    plain = await asyncio.start_server(say, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    text = await refusal(with_tls_files(f"rediss://localhost:{port}", ca=str(authority.file)))
    assert "localhost does not speak TLS on this port" in text
    plain.close()


def test_the_files_are_checked_before_they_are_used(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("gateway")
    _, other_key = authority.sign("other")
    _, encrypted = authority.sign("secret", password=b"a word")
    text = tmp_path / "text"
    text.write_text("no PEM")
    ca, url = str(authority.file), "rediss://localhost"
    assert with_tls_files("redis://localhost") == "redis://localhost"
    for files, fault in (
        ({"ca": str(text)}, "has no certificates of authorities"),
        ({"ca": str(tmp_path / "nothing")}, "no such file"),
        ({"ca": ca, "key": key}, "without the certificate"),
        ({"certificate": certificate, "key": other_key}, "key values mismatch"),
        ({"certificate": certificate}, "no certificate with its key"),
        ({"certificate": str(tmp_path / "secret.crt"), "key": encrypted}, "encrypted"),
    ):
        with pytest.raises(TlsFileFault, match=fault):
            with_tls_files(url, **files)
    with pytest.raises(TlsFileFault, match="begins with rediss://"):
        with_tls_files("redis://localhost", ca=ca)


def test_options_of_the_address_stay(authority: Authority) -> None:
    url = with_tls_files("rediss://a:b@localhost:1/3?ssl_ca_certs=old&client_name=x", ca=str(authority.file))
    assert url.startswith("rediss://a:b@localhost:1/3?ssl_ca_certs=%2F")
    assert url.endswith("&client_name=x")
