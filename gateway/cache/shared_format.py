"""The format of stored responses in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from aiocache.serializers import BaseSerializer
from msgspec import Struct

from gateway.cache.model import Freshness, Validators
from gateway.cache.stored_response import StoredResponse

_HEAD_LENGTH: Final = 4


class SharedHead(Struct, frozen=True, array_like=True):
    """A stored response without its body. `age_s` was its age at `at` (wall clock).

    `position` is the position in the purge log when it was requested from the origin.
    """

    status: int
    header_block: bytes
    content_type: bytes
    freshness: Freshness
    validators: Validators
    tags: tuple[str, ...]
    age_s: float
    at: float
    position: int
    unsent: bytes = b""


class SharedResponse(Struct, frozen=True):
    """A stored response in the second tier."""

    head: SharedHead
    body: bytes

    @classmethod
    def of(cls, stored: StoredResponse, *, clock: float, now: float, position: int) -> SharedResponse:
        """A stored response for the second tier; `clock` is the monotonic time, `now` the wall clock."""
        head = SharedHead(
            stored.status,
            stored.header_block,
            stored.content_type,
            stored.freshness,
            _mapped(stored.validators, _as_latin1),
            tuple([_as_latin1(tag) for tag in stored.tags]),
            stored.age_s(clock),
            now,
            position,
            stored.unsent,
        )
        return cls(head, stored.body)

    def stored(self, *, clock: float, now: float) -> StoredResponse:
        """The response for the first tier. Its age is off by the difference of the two machines' wall clocks."""
        head = self.head
        return StoredResponse(
            head.status,
            self.body,
            header_block=head.header_block,
            content_type=head.content_type,
            freshness=head.freshness,
            validators=_mapped(head.validators, _from_latin1),
            tags=frozenset([_from_latin1(tag) for tag in head.tags]),
            born_at=clock - head.age_s - max(0.0, now - head.at),
            unsent=head.unsent,
        )


def _as_latin1(text: str) -> str:
    """Each byte of a field value as one character: MessagePack accepts valid Unicode only, and fields hold any bytes."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_latin1(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def _mapped(validators: Validators, change: Callable[[str], str]) -> Validators:
    etag, modified = validators.etag, validators.last_modified
    return Validators(change(etag) if etag is not None else None, change(modified) if modified is not None else None)


class VaryNames(Struct, frozen=True, array_like=True):
    """Stored under the key of an address that has variants: the request fields by which it varies."""

    names: tuple[str, ...]


class SharedFormat(BaseSerializer):  # type: ignore[misc] # aiocache publishes no types
    """Four bytes of length, the head in MessagePack, the body; a length of 0 marks `VaryNames`."""

    DEFAULT_ENCODING = None

    def dumps(self, value: SharedResponse | VaryNames) -> bytes:
        """Encode."""
        if isinstance(value, VaryNames):
            return bytes(_HEAD_LENGTH) + msgspec.msgpack.encode(value)
        head = msgspec.msgpack.encode(value.head)
        return b"".join((len(head).to_bytes(_HEAD_LENGTH, "big"), head, value.body))

    def loads(self, value: bytes | None) -> SharedResponse | VaryNames | None:
        """Decode; None if another version has written it."""
        if value is None:
            return None
        end = _HEAD_LENGTH + int.from_bytes(value[:_HEAD_LENGTH], "big")
        try:
            if end == _HEAD_LENGTH:
                return msgspec.msgpack.decode(value[end:], type=VaryNames)
            return SharedResponse(msgspec.msgpack.decode(value[_HEAD_LENGTH:end], type=SharedHead), value[end:])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
