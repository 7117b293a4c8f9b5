"""The file that names an OpenID Connect issuer, this console's client there, and who has which role."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Names = Annotated[tuple[Text, ...], Meta(max_length=100)]


class OidcFileUnusable(Exception):
    """The file cannot be used, with the reason."""


class Oidc(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The client. `console_url` is the address at which browsers reach the console.

    Without a secret it is a public client, which PKCE protects alone. `operators` and `viewers` are values of the
    claim `roles_claim`, a text or a list of texts. `name_claim` names the operator in the audit log, else `sub` does.
    """

    issuer: Text
    client_id: Text
    client_secret: Text | None = None
    console_url: Text
    scopes: Names = ("openid", "email")
    roles_claim: Text = "groups"
    operators: Names = ()
    viewers: Names = ()
    name_claim: Text = "email"

    @property
    def redirect_uri(self) -> str:
        """The address that the issuer sends browsers back to."""
        return f"{self.console_url.rstrip('/')}/console/callback"

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the console by HTTPS."""
        return self.console_url.startswith("https://")


def read_oidc_file(path: Path) -> Oidc:
    """Read and check the file. Raises `OidcFileUnusable`."""
    try:
        oidc = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Oidc)
    except OSError as error:
        raise OidcFileUnusable(f"cannot read the OIDC file {path}: {error.strerror}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise OidcFileUnusable(f"the OIDC file {path} is invalid: {error}") from None
    for name, url in (("issuer", oidc.issuer), ("console_url", oidc.console_url)):
        if not is_safe_url(url):
            raise OidcFileUnusable(
                f"the OIDC file {path}: {name} must be an https URL, or http on the loopback address"
            )
    if "openid" not in oidc.scopes:
        raise OidcFileUnusable(f"the OIDC file {path}: scopes must include openid")
    if not (oidc.operators or oidc.viewers):
        raise OidcFileUnusable(f"the OIDC file {path} must name operators or viewers; nobody could sign in")
    return oidc


def is_safe_url(url: str) -> bool:
    """Whether nobody on the network can read or change the traffic to a URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.fragment or parts.username is not None or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
