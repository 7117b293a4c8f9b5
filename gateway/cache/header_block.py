"""Read and edit the header block of a stored response: fields, tags, updates by a 304."""

from __future__ import annotations

from typing import Final

from gateway.cache.cache_control import single
from gateway.cache.model import Fields
from gateway.cache.targeted import OWN_FIELD
from gateway.http.http_date import format_date, http_date
from gateway.http.message import header

# For caches alone.
NOT_SENT: Final = frozenset({"surrogate-key", "cache-tag", OWN_FIELD})
NOT_STORED: Final = NOT_SENT | {"age"}
# Not updated by a 304, because they describe the bytes of the stored body (RFC 9111, 3.2).
_NOT_UPDATED: Final = frozenset(
    {
        "age",
        "content-digest",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-range",
        # A part of the response that is no line of the block.
        "content-type",
        "digest",
        "etag",
    }
)
# Not sent with a 304, which need not repeat them (RFC 9110, 15.4.5).
_OF_BODY: Final = (
    b"content-digest:",
    b"content-encoding:",
    b"content-language:",
    b"content-md5:",
    b"content-range:",
    b"content-type:",
    b"last-modified:",
)
_DATE: Final = frozenset({"date"})
_NO_TAGS: Final[frozenset[str]] = frozenset()


def parse_fields(header_block: bytes) -> dict[str, list[str]]:
    """The values of each field in their order, by the name in lower case; decoded as the fields of requests are."""
    fields: dict[str, list[str]] = {}
    for line in header_block.decode("utf-8", "surrogateescape").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.lower(), []).append(value.strip(" \t"))
    return fields


def without_fields(header_block: bytes, names: frozenset[str]) -> bytes:
    """The block without the fields of these names."""
    lines = [
        line + b"\r\n"
        for line in header_block.split(b"\r\n")
        if line and line.partition(b":")[0].decode("utf-8", "surrogateescape").lower() not in names
    ]
    return b"".join(lines)


def only_fields(header_block: bytes, names: frozenset[str]) -> bytes:
    """The lines of the block with fields of these names."""
    lines = [
        line + b"\r\n"
        for line in header_block.split(b"\r\n")
        if line.partition(b":")[0].decode("latin-1").lower() in names
    ]
    return b"".join(lines)


def dated(header_block: bytes, fields: Fields, received_at: float) -> bytes:
    """The block with its date first, where the response writer looks for it; one without is dated (RFC 9110, 6.6.1)."""
    if header_block.startswith(b"Date: "):
        return header_block
    date = single(fields, "date")
    if date is None or http_date(date) is None:
        date = format_date(received_at)
    return header("Date", date) + (without_fields(header_block, _DATE) if "date" in fields else header_block)


def date_of(header_block: bytes) -> str | None:
    """The date of a stored block."""
    return (
        header_block[6 : header_block.find(b"\r\n")].decode("latin-1") if header_block.startswith(b"Date: ") else None
    )


def updated(stored: bytes, received: bytes) -> bytes:
    """The stored block after a 304 or the response to HEAD with the block `received` (RFC 9111, 3.2).

    Received fields replace the stored ones, except for those that describe the stored bytes.
    """
    received = without_fields(received, _NOT_UPDATED)
    # The date is that of the 304, and if it has none that of its receipt.
    return without_fields(stored, frozenset(parse_fields(received)) | _DATE) + received


def not_modified_block(header_block: bytes) -> bytes:
    """The block for a 304."""
    lines = [line for line in header_block.split(b"\r\n") if not line.lower().startswith(_OF_BODY)]
    return b"\r\n".join(lines)


def tags_of(fields: Fields) -> frozenset[str]:
    """The tags for purging: `Surrogate-Key` separates them by spaces, `Cache-Tag` by commas."""
    keys, tags = fields.get("surrogate-key", ()), fields.get("cache-tag", ())
    if not keys and not tags:
        return _NO_TAGS
    separated = [tag.strip() for tag in ",".join(tags).split(",")]
    return frozenset([*" ".join(keys).split(), *separated]) - {""}
