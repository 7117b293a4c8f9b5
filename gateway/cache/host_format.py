"""The format of stored responses in the memory that the workers of a host share."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gateway.cache.model import Freshness, Selection, Validators
from gateway.cache.stored_response import StoredResponse


class HostHead(Struct, frozen=True, array_like=True):
    """A stored response without its body. `born_at` is on the monotonic clock, which is one for all processes of a host.

    The sizes of its times do not depend on their values, so that a head whose freshness changes is written in place.
    """

    status: int
    header_block: bytes
    content_type: bytes
    freshness: Freshness
    validators: Validators
    tags: tuple[bytes, ...]
    unsent: bytes
    born_at: float


class Variant(Struct, frozen=True, array_like=True):
    """The request fields by which an address varies, and the values that select this response."""

    names: tuple[bytes, ...]
    selection: tuple[bytes | None, ...]


_HEADS = msgspec.msgpack.Decoder(HostHead)
_VARIANTS = msgspec.msgpack.Decoder(Variant)


def encode_head(stored: StoredResponse) -> bytes:
    """The head of a stored response."""
    old = stored.freshness
    freshness = Freshness(
        float(old.age_s),
        float(old.lifetime_s),
        float(old.stale_while_revalidate_s),
        float(old.stale_if_error_s),
        old.always_validate,
        old.never_stale,
    )
    tags = tuple(sorted([encode_text(tag) for tag in stored.tags]))
    return msgspec.msgpack.encode(
        HostHead(
            stored.status,
            stored.header_block,
            stored.content_type,
            freshness,
            stored.validators,
            tags,
            stored.unsent,
            float(stored.born_at),
        )
    )


def decode_stored(head: bytes, body: bytes) -> StoredResponse:
    """A copy of the stored response."""
    decoded = _HEADS.decode(head)
    return StoredResponse(
        decoded.status,
        body,
        header_block=decoded.header_block,
        content_type=decoded.content_type,
        freshness=decoded.freshness,
        validators=decoded.validators,
        tags=frozenset([decode_text(tag) for tag in decoded.tags]),
        unsent=decoded.unsent,
        born_at=decoded.born_at,
    )


def encode_variant(names: tuple[str, ...], selected: Selection) -> bytes:
    """The variant of a response; empty if its address does not vary."""
    if not names:
        return b""
    values = tuple([None if value is None else encode_text(value) for value in selected])
    return msgspec.msgpack.encode(Variant(tuple([encode_text(name) for name in names]), values))


def names_of(variant: bytes) -> tuple[str, ...]:
    """The request fields by which the address of this response varies."""
    return tuple([decode_text(name) for name in _VARIANTS.decode(variant).names]) if variant else ()


def encode_text(text: str) -> bytes:
    """Text of clients and upstreams, which need not be valid UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(encoded: bytes) -> str:
    """The reverse of `encode_text`."""
    return encoded.decode("utf-8", "surrogateescape")
