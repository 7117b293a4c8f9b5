"""The second tier: kept answers in the store, for all workers and for those that start anew."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from aiocache.base import BaseCache
from aiocache.serializers import BaseSerializer
from msgspec import Struct

from gateway.cache.freshness import Terms, Validators
from gateway.cache.stored_response import Entry, Selection
from store import Store

_PREFIX: Final = "peakgate:cache:"
_HEAD_LENGTH: Final = 4


class Head(Struct, frozen=True, array_like=True):
    """What stands before the body. `age_s` was its age at `at` (wall clock); `position` is where the purge log stood when it was asked for."""

    status: int
    lines: bytes
    content_type: bytes
    terms: Terms
    validators: Validators
    tags: tuple[str, ...]
    age_s: float
    at: float
    position: int


class Kept(Struct, frozen=True):
    """An answer in the second tier."""

    head: Head
    body: bytes

    def entry(self, *, clock: float, now: float) -> Entry:
        """The same for the first tier. Its age is off by what the wall clocks of the two machines differ by."""
        age_s = self.head.age_s + max(0.0, now - self.head.at)
        return Entry(
            self.head.status,
            self.body,
            lines=self.head.lines,
            content_type=self.head.content_type,
            terms=self.head.terms,
            validators=self.head.validators,
            tags=frozenset(self.head.tags),
            born_at=clock - age_s,
        )


class Variants(Struct, frozen=True, array_like=True):
    """Stands where an address has variants: the request fields that tell them apart."""

    names: tuple[str, ...]


def kept_of(entry: Entry, *, clock: float, now: float, position: int) -> Kept:
    """An entry for the second tier."""
    head = Head(
        *(entry.status, entry.lines, entry.content_type, entry.terms, entry.validators, tuple(entry.tags)),
        *(entry.age(clock), now, position),
    )
    return Kept(head, entry.body)


class KeptSerializer(BaseSerializer):  # type: ignore[misc] # aiocache publishes no types
    """Four bytes of length, the head in MessagePack, the body as it is; no length is a marker of variants."""

    DEFAULT_ENCODING = None

    def dumps(self, value: Kept | Variants) -> bytes:
        """To bytes."""
        if isinstance(value, Variants):
            return bytes(_HEAD_LENGTH) + msgspec.msgpack.encode(value)
        head = msgspec.msgpack.encode(value.head)
        return b"".join((len(head).to_bytes(_HEAD_LENGTH, "big"), head, value.body))

    def loads(self, value: bytes | None) -> Kept | Variants | None:
        """From bytes; None for what another version wrote."""
        if value is None:
            return None
        end = _HEAD_LENGTH + int.from_bytes(value[:_HEAD_LENGTH], "big")
        try:
            if end == _HEAD_LENGTH:
                return msgspec.msgpack.decode(value[end:], type=Variants)
            return Kept(msgspec.msgpack.decode(value[_HEAD_LENGTH:end], type=Head), value[end:])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None


class StoreCache(BaseCache):  # type: ignore[misc] # aiocache publishes no types
    """An aiocache backend over our store, which has deadlines of its own. Raises `StoreError`."""

    NAME = "peakgate-store"

    def __init__(self, store: Store) -> None:
        super().__init__(serializer=KeptSerializer(), timeout=0, key_builder=_key)
        self._store = store

    async def _get(self, key: str, encoding: str | None = None, _conn: Any = None) -> bytes | None:  # noqa: ARG002 - aiocache's signature
        value: bytes | None = await self._store.execute("GET", key)
        return value

    async def _set(
        self, key: str, value: bytes, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        expiry = ("PX", max(1, round(ttl * 1000))) if ttl else ()
        await self._store.execute("SET", key, value, *expiry)
        return True

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return bool(await self._store.execute("EXISTS", key))

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return int(await self._store.execute("UNLINK", key))


def _key(key: str, namespace: str | None = None) -> str:
    """Addresses are long and shoppers choose them: a digest is short and harmless."""
    return (
        f"{namespace or _PREFIX}{hashlib.blake2b(key.encode('utf-8', 'surrogateescape'), digest_size=16).hexdigest()}"
    )


def variant_key(key: str, selected: Selection) -> str:
    """Where a variant is kept."""
    return f"{key}\n\n{selected!r}"
