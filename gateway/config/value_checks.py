"""Checks of single values beyond their type: addresses, times, paths, header fields, secret files."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from cart.ids import SKU_RULE, parse_sku
from gateway.config.policies import (
    Cors,
    Event,
    Forward,
    Headers,
    HealthCheck,
    Identity,
    Region,
    Room,
    Shoppers,
    Upstream,
    Webhook,
)
from gateway.config.reader import Checks
from gateway.config.secret_file import read_secret_file
from gateway.http.addresses import parse_network
from gateway.http.canonical_path import canonical_path, has_ambiguous_segment
from primitives.webhook_signature import WebhookSigner

_SENT_PREFIX: Final = re.compile(r"[!$%&'()+,./0-9:;=@A-Z_a-z~-]+")  # RFC 3986, 3.3
_ORIGIN: Final = re.compile(r"https?://[^/?#@\s]+")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.1
# As long as the hash of the signature (RFC 7518, 3.2).
_MIN_SECRET_BYTES: Final = 32
# First bytes of keys and certificates.
_KEY_PREFIXES: Final = (b"-----BEGIN ", b"ssh-", b"ecdsa-sha2-")
_MIN_YEAR: Final = 2000
# Local time must be representable in every zone.
_MAX_YEAR: Final = 9998


def _network_error(text: str) -> str | None:
    try:
        parse_network(text)
    except ValueError as error:
        return str(error)
    return None


def _target_error(target: str) -> str | None:
    """The error of an upstream's address. It omits the address, which may contain a password."""
    if error := _url_error(target):
        return error
    parts = urlsplit(target)
    if parts.username is not None:
        return "must not hold a user or password: an upstream is sent the shopper's own headers"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return "must be scheme, host and port alone; a route's strip_prefix changes paths"
    return None


def _region_error(url: str) -> str | None:
    """The error of the address of a Region. It omits the address."""
    if error := _url_error(url):
        return error
    parts = urlsplit(url)
    is_origin = parts.username is None and parts.path in {"", "/"} and not parts.query and not parts.fragment
    return None if is_origin else "must be scheme, host and port alone: paths are passed on as they are"


def _url_error(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        is_right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    return None if is_right else "must be an address such as http://10.0.0.5:8080"


def _time_error(time: datetime) -> str | None:
    offset = time.utcoffset()
    if offset is None:
        return f"must say its time zone: {time.isoformat()}Z, or +01:00 in place of the Z"
    if time.year < _MIN_YEAR or time.year > _MAX_YEAR or abs(offset) >= timedelta(days=1):
        return f"must be between the years {_MIN_YEAR} and {_MAX_YEAR}"
    return None


def _secret_file_error(path: str) -> str | None:
    """The error of a file with a shared secret. It omits the name, which may be the secret itself."""
    try:
        secret = read_secret_file(path).strip()
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    except UnicodeError as error:
        return str(error)
    if len(secret) < _MIN_SECRET_BYTES:
        return f"the file must hold {_MIN_SECRET_BYTES} bytes or more"
    # A public key is not secret: anyone could sign with it.
    return "the file must hold a secret, not a key or a certificate" if secret.startswith(_KEY_PREFIXES) else None


def _webhook_secret_file_error(path: str) -> str | None:
    """The error of a file with the secrets of an endpoint."""
    try:
        WebhookSigner.of_file(read_secret_file(path).decode())
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    except ValueError as error:
        return str(error)
    return None


def _webhook_url_error(url: str) -> str | None:
    """The error of an endpoint's address. It omits the address."""
    return _url_error(url) or (
        "must not hold a user or password: messages are signed" if urlsplit(url).username is not None else None
    )


def _sku_error(sku: str) -> str | None:
    return None if parse_sku(sku) is not None else SKU_RULE


def _sent_path_error(path: str) -> str | None:
    return None if path.isascii() and " " not in path else "must be percent-encoded, as it is sent"


def _prefix_error(prefix: str) -> str | None:
    """The error of a prefix that no accepted path has."""
    if not _SENT_PREFIX.fullmatch(prefix):
        return "must be percent-encoded, as it is sent"
    if any(segment in {"", ".", ".."} for segment in prefix.split("/")[1:-1]):
        return "must have no empty segment, nor . or .."
    if has_ambiguous_segment(prefix) or canonical_path(prefix).count("/") != prefix.rstrip("/").count("/"):
        return "must have no segment that is read as an empty one, as . or .., or as two"
    return None


def _exact_path_error(path: str) -> str | None:
    """The error of an exact path that no accepted path has."""
    return _prefix_error(path if path.endswith("/") else f"{path}/")


def _origin_error(origin: str) -> str | None:
    is_right = origin == "*" or _ORIGIN.fullmatch(origin)
    return None if is_right else f'must be "*" or an origin such as https://shop.example, not {origin!r}'


def _field_name_error(name: str) -> str | None:
    return None if _FIELD_NAME.fullmatch(name) else f"must be the name of a header field, not {name!r}"


def _field_value_error(value: str) -> str | None:
    return None if value.isascii() else "must be ASCII, as header fields are"


CHECKS: Final[Checks] = {
    (Identity, "trusted_proxies"): _network_error,
    (Identity, "allow"): _network_error,
    (Identity, "deny"): _network_error,
    (Shoppers, "jwks_url"): _url_error,
    (Shoppers, "hs256_secret_file"): _secret_file_error,
    (Webhook, "secret_file"): _webhook_secret_file_error,
    (Webhook, "url"): _webhook_url_error,
    (Room, "skus"): _sku_error,
    (Upstream, "targets"): _target_error,
    (Region, "url"): _region_error,
    (HealthCheck, "path"): _sent_path_error,
    (Forward, "prefix"): _prefix_error,
    (Forward, "path"): _exact_path_error,
    (Event, "start"): _time_error,
    (Event, "end"): _time_error,
    (Event, "prewarm"): _sent_path_error,
    (Cors, "allow_origins"): _origin_error,
    (Cors, "expose_headers"): _field_name_error,
    (Cors, "allow_headers"): _field_name_error,
    **{(Headers, member): _field_value_error for member in Headers.__struct_fields__},
}
