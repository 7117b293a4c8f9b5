"""A certificate authority, and a store behind TLS.

The shipped server has no TLS: tests need a `redis-server` of the system that has.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.harness.gateway_process import start_child
from benchmarks.harness.ports import free_port
from tests.waiting import wait_until

REDIS: Final = shutil.which("redis-server")
NOW: Final = datetime.now(UTC)
DAY: Final = timedelta(days=1)


class Authority:
    """A certificate authority; each name that it signs has a file with its certificate and one with its key."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        certificate = self._build(self._name, self._key, valid_from=NOW - DAY, valid_to=NOW + DAY)
        signed = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def sign(
        self, name: str, *, valid_from: datetime = NOW - DAY, valid_to: datetime = NOW + DAY, password: bytes = b""
    ) -> tuple[str, str]:
        """The files of a certificate for this host name, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = self._build(subject, key, valid_from=valid_from, valid_to=valid_to)
        signed = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(
            self._key, hashes.SHA256()
        )
        certificate_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file.write_bytes(key.private_bytes(pem, form, encryption))
        return str(certificate_file), str(key_file)

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, valid_from: datetime, valid_to: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid_from)
            .not_valid_after(valid_to)
        )


class TlsServer:
    """A Redis that speaks TLS only, and asks for client certificates."""

    def __init__(self, folder: Path, authority: Authority, certificate: str, key: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._words = [
            *("--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)),
            *("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", str(authority.file)),
            *("--tls-auth-clients", "yes", "--logfile", str(folder / "store.log")),
        ]
        self.start()

    @property
    def url(self) -> str:
        return f"rediss://localhost:{self.port}"

    def start(self) -> None:
        assert REDIS is not None
        self._process: subprocess.Popen[bytes] = start_child([REDIS, *self._words])
        wait_until(lambda: self._process.poll() is not None or "Ready to accept connections" in self._log())
        assert self._process.poll() is None, self._log()

    def kill(self) -> None:
        (self._folder / "store.log").unlink(missing_ok=True)
        self._process.kill()
        self._process.wait()

    def _log(self) -> str:
        log = self._folder / "store.log"
        return log.read_text() if log.exists() else ""


def has_tls() -> bool:
    if REDIS is None:
        return False
    # Without TLS the option is unknown.
    tried = subprocess.run([REDIS, "--tls-port", "0", "--tls-auth-clients", "wrong"], capture_output=True, check=False)
    return b"must be one of" in tried.stderr + tried.stdout
