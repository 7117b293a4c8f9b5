"""The address of a target: scheme, host, port and base path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Address:
    """`base` is the path in front of all request paths, mostly empty."""

    url: str
    is_tls: bool
    host: str
    port: int
    base: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse `http[s]://host[:port][/base]`; raises `ValueError` for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url} is not the address of an HTTP server")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the address of an upstream must not contain a user or password")
        is_tls = parts.scheme == "https"
        return cls(url, is_tls, parts.hostname, parts.port or (443 if is_tls else 80), parts.path.rstrip("/"))

    @cached_property
    def authority(self) -> str:
        """Its `Host` (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"
