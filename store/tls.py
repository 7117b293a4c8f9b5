"""The certificate files of a TLS connection, and the texts for its failures."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Codes of OpenSSL, X509_V_ERR_….
_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_WRONG_NAME: Final = frozenset({62, 64})


class TlsFileFault(ValueError):
    """A file of certificates or keys cannot be used; the text says which and why."""


def with_tls_files(url: str, *, ca: str | None = None, certificate: str | None = None, key: str | None = None) -> str:
    """The address of the store with these files (PEM) as its options; they replace those that it has.

    They are read here, and again for each connection. Raises `TlsFileFault`.
    """
    files = {"ssl_ca_certs": ca, "ssl_certfile": certificate, "ssl_keyfile": key}
    given = {name: path for name, path in files.items() if path is not None}
    if not given:
        return url
    parts = urlsplit(url)
    if not parts.scheme.startswith("rediss"):
        raise TlsFileFault("files of certificates are for an address that begins with rediss://")
    if key is not None and certificate is None:
        raise TlsFileFault(f"{key} is of no use without the certificate that it belongs to")
    _check(ca, certificate, key)
    options = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **given}
    return urlunsplit(parts._replace(query=urlencode(options)))


def _check(ca: str | None, certificate: str | None, key: str | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise TlsFileFault(f"{ca} has no certificates of authorities (PEM): {_reason(error)}") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            named = certificate if key is None else f"{certificate} and {key}"
            raise TlsFileFault(f"{named} are no certificate with its key (PEM): {_reason(error)}") from error


def _no_password() -> str:
    # Without it OpenSSL would ask the terminal.
    raise ssl.SSLError(1, "the key is encrypted, and must not be")


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return str(reason).replace("_", " ").lower()


_CLOSED: Final = (ConnectionResetError, BrokenPipeError, EOFError)
# The alerts of a server that does not accept the client certificate, or misses it.
_ALERTS: Final[Mapping[str, str]] = {
    "CERTIFICATE_REQUIRED": "asks for a client certificate, and none is given",
    "UNKNOWN_CA": "does not trust the authority of the client certificate",
    "CERTIFICATE_EXPIRED": "says that the client certificate has expired",
    "BAD_CERTIFICATE": "does not accept the client certificate",
    "HANDSHAKE_FAILURE": "does not accept the client certificate, or has no cipher in common",
}


def tls_fault(error: BaseException, host: str, *, has_certificate: bool) -> str | None:
    """The fault of TLS with the store at `host` that caused this error; None if TLS did not.

    `has_certificate`: of the client.
    """
    causes = _causes(error)
    fault = next((each for each in causes if isinstance(each, ssl.SSLError)), None)
    if fault is None:
        # The alert that says why is lost where the server closes the connection before it is read.
        may = "may not accept the client certificate" if has_certificate else "may ask for a client certificate"
        is_closed = any(isinstance(each, _CLOSED) for each in causes) or "closed by server" in str(error)
        return f"{host} closes the connection after the handshake: it {may}" if is_closed else None
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _fault_of_certificate(fault, host)
    reason = fault.reason or ""
    alert = next((text for name, text in _ALERTS.items() if reason.endswith(name)), None)
    if alert is not None:
        return f"{host} {alert}"
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
        return f"{host} does not speak TLS on this port: use its TLS port, or redis:// without TLS"
    return f"no TLS with {host}: {_reason(fault)}"


def _causes(error: BaseException) -> Sequence[BaseException]:
    """The error and those that led to it."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _fault_of_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code == _EXPIRED:
        return f"the certificate of {host} has expired: renew it on the store"
    if error.verify_code == _NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet: compare the clocks of both hosts"
    if error.verify_code in _WRONG_NAME:
        return f"the certificate of {host} is for another name: connect to a name that is in it"
    return (
        f"the certificate of {host} is not signed by a trusted authority ({error.verify_message}): "
        "the file of authorities must have the one that signed it"
    )
