"""The dead letters of an order queue on a Redis or Valkey stream."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Collection, Mapping
from typing import Any, Final

from checkout.errors import ServiceUnavailable
from checkout.ports.dead_letters import Act, DeadLetter, DeadLetterPage
from checkout.queues.redis_queue import BULK, DEAD
from store import Script, Store, StoreError

_REDRIVE: Final = Script.from_package("checkout.queues", "scripts/redrive.lua")
# Bounds one script, which holds up the server.
MAX_STEP: Final = 100
_ENTRY_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")


class RedisDeadLetters:
    """`DeadLetters` of a `RedisQueue`. A letter is moved by one script, so no kill doubles it.

    It is moved to the bulk queue, so that many of them do not delay the orders of now.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        count: int = await _reply(self._store.execute("XLEN", DEAD))
        return count

    async def page(self, *, limit: int, cursor: str | None = None) -> DeadLetterPage:
        """See `DeadLetters.page`. Raises `ValueError` for a cursor that is none."""
        if cursor is not None and not _ENTRY_ID.fullmatch(cursor):
            raise ValueError("the cursor is not that of a page of dead letters")
        start = "-" if cursor is None else f"({cursor}"
        entries = await _reply(self._store.execute("XRANGE", DEAD, start, "+", "COUNT", limit + 1))
        letters = [_letter(entry_id, fields) for entry_id, fields in entries[:limit]]
        return DeadLetterPage(letters, letters[-1].id if len(entries) > limit else None)

    async def find(self, letter_id: str) -> DeadLetter | None:
        """See `DeadLetters.find`."""
        if not _ENTRY_ID.fullmatch(letter_id):
            return None
        entries = await _reply(self._store.execute("XRANGE", DEAD, letter_id, letter_id))
        return _letter(*entries[0]) if entries else None

    async def begin(
        self,
        act: Act,
        *,
        ids: Collection[str] | None = None,
        rate: float | None = None,  # noqa: ARG002 - the caller paces
    ) -> _Run:
        """See `DeadLetters.begin`."""
        if ids is not None:
            sound = sorted({letter_id for letter_id in ids if _ENTRY_ID.fullmatch(letter_id)})
            return _Run(self, act, total=len(sound), ids=sound)
        # Letters that become dead from here on, perhaps again, are left to another run.
        newest = await _reply(self._store.execute("XREVRANGE", DEAD, "+", "-", "COUNT", 1))
        return _Run(self, act, total=await self.count(), last=newest[0][0].decode() if newest else None)

    async def act(self, act: Act, ids: Collection[str]) -> int:
        """Move these letters back, or delete them; returns the number of those that were there."""
        if act == "redrive":
            done: int = await _reply(self._store.run(_REDRIVE, [DEAD, BULK], list(ids)))
        else:
            done = await _reply(self._store.execute("XDEL", DEAD, *ids))
        return done

    async def oldest(self, limit: int, last: str) -> list[str]:
        """The ids of the oldest letters, up to the letter `last`."""
        entries = await _reply(self._store.execute("XRANGE", DEAD, "-", last, "COUNT", limit))
        return [entry_id.decode() for entry_id, _ in entries]


class _Run:
    """See `DeadLetterRun`: the letters of `ids`, else all up to `last`."""

    is_paced = False

    def __init__(
        self, letters: RedisDeadLetters, act: Act, *, total: int, ids: list[str] | None = None, last: str | None = None
    ) -> None:
        self.total: int | None = total
        self._letters = letters
        self._act: Act = act
        self._ids = ids
        self._last = last

    async def step(self, limit: int) -> int | None:
        """See `DeadLetterRun.step`."""
        ids = await self._next(min(limit, MAX_STEP))
        return await self._letters.act(self._act, ids) if ids else None

    async def _next(self, limit: int) -> list[str]:
        if self._ids is not None:
            ids, self._ids = self._ids[:limit], self._ids[limit:]
            return ids
        return [] if self._last is None else await self._letters.oldest(limit, self._last)


def _letter(entry_id: bytes, fields: list[bytes]) -> DeadLetter:
    by_name: Mapping[bytes, bytes] = dict(zip(fields[::2], fields[1::2], strict=True))
    reason, attempts = by_name.get(b"reason"), by_name.get(b"attempts")
    return DeadLetter(
        id=entry_id.decode(),
        body=by_name[b"body"],
        at=int(entry_id.partition(b"-")[0]),
        reason=None if reason is None else reason.decode(errors="replace"),
        attempts=None if attempts is None else int(attempts),
    )


async def _reply(reply: Awaitable[Any]) -> Any:
    try:
        return await reply
    except StoreError as error:
        raise ServiceUnavailable(str(error)) from error
