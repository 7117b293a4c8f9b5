"""A purge: the stored responses of an address, below a prefix, or with a tag, which are removed or made stale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct


class Purge(Struct, frozen=True):
    """`value` is a path with its query, or a tag. An empty `host` means every host. A `soft` purge makes stale."""

    kind: Literal["url", "prefix", "tag"]
    value: str
    host: str = ""
    soft: bool = False


def parse_purge(
    *, url: str | None = None, prefix: str | None = None, tag: str | None = None, soft: bool = False
) -> Purge:
    """The purge of one of these; addresses with or without scheme and host. Raises `ValueError` with the reason."""
    given = [value.strip() for value in (url, prefix, tag) if value is not None]
    if len(given) != 1:
        raise ValueError("exactly one of url, prefix and tag is needed")
    if not given[0]:
        raise ValueError("the value is empty")
    if not given[0].isprintable():
        raise ValueError("the value has characters that cannot be printed")
    if tag is not None:
        return Purge("tag", given[0], soft=soft)
    host, target = _host_and_target(given[0])
    return Purge("url" if url is not None else "prefix", target, host, soft)


def _host_and_target(address: str) -> tuple[str, str]:
    if any(character.isspace() for character in address):
        raise ValueError("an address has no blanks; they are written as %20")
    if address[0] == "/" and address[:2] != "//":
        return "", address.partition("#")[0]
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an address begins with a slash, or with http:// or https:// and a host")
    if parts.username is not None or parts.port == 0:
        raise ValueError("an address has a host and possibly a port, nothing else before its path")
    return parts.netloc.lower(), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def target_and_host(key: str) -> tuple[str, str]:
    """The parts of a cache key: `<path>[?query]`, then the values of the key fields, the host first."""
    target, _, rest = key.partition("\n")
    return target, rest.partition("\n")[0]


def covers(purge: Purge, key: str, tags: Iterable[str]) -> bool:
    """Whether a purge applies to the stored response of this key and these tags."""
    if purge.kind == "tag":
        return purge.value in tags
    target, host = target_and_host(key)
    if purge.host not in {"", host}:
        return False
    return target == purge.value if purge.kind == "url" else target.startswith(purge.value)
