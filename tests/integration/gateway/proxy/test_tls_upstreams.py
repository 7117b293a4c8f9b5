from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.config.policies import Upstream
from gateway.http.message import resolve
from gateway.proxy.forward import forward
from gateway.proxy.upstreams import Upstreams
from tests.integration.gateway.proxy.raw_upstream import request, rule, whole

LONG = bytes(200_000)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "upstream.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem) + private)
    return path


@asynccontextmanager
async def serving(certificate: Path) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LONG), LONG))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_target_with_a_trusted_certificate_is_used(certificate: Path) -> None:
    async with serving(certificate) as url:
        trusting = ssl.create_default_context(cafile=str(certificate))
        upstreams = Upstreams([Upstream(name="shop", targets=(url,))], tls=trusting)
        handler = forward(rule(timeout_s=5.0, idle_timeout_s=5.0), upstreams["shop"])
        for _ in range(3):
            assert await whole(await resolve(handler(request()))) == LONG
        assert upstreams["shop"].targets[0].pool.idle == 1
        await upstreams.close()


async def test_a_target_with_an_untrusted_certificate_is_not_used(certificate: Path) -> None:
    async with serving(certificate) as url:
        upstreams = Upstreams([Upstream(name="shop", targets=(url,))])
        handler = forward(rule(timeout_s=5.0), upstreams["shop"])
        assert (await resolve(handler(request("POST")))).status == 502
        assert upstreams["shop"].outcomes == {"connect_failed": 1}
        await upstreams.close()
