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
    """The purge of one of these; addresses with or without scheme and host. Raises `ValueError`."""
    given = [value for value in (url, prefix, tag) if value is not None]
    if len(given) != 1 or not given[0].strip():
        raise ValueError("name one of url, prefix and tag")
    if tag is not None:
        return Purge("tag", tag.strip(), soft=soft)
    address = given[0].strip()
    host, target = "", address
    if address[:1] != "/":
        parts = urlsplit(address)
        host = parts.netloc.lower()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not host:
            raise ValueError("an address begins with a slash, or with http:// or https://")
    return Purge("url" if url is not None else "prefix", target.partition("#")[0], host, soft)


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
