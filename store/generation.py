"""Marks in the store that tell whether its data are still those that were there before.

A mark is random and made where there is none: another one means other data. Each process also counts in a key of its
own, and knows the last count that the store acknowledged: a lower one means that the store has lost its last writes.

A cluster has a mark on every primary, since one may lose data that the others have. The marks have tags of slots evenly
spread; each primary is asked for the first of its own. A mark moves with its slot, so none is mistaken for another.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from store.client import Store
from store.errors import StoreError
from store.opening import one_for_each_server
from store.script import Script
from store.slots import SLOTS, slot_of

# The tag of the mark of a store that is one server.
TAG: Final = "peakgate"
MARK_KEY: Final = f"{{{TAG}}}:generation"
# The slots are divided into so many ranges of equal size, each with a tag: a primary that has one whole range has a mark.
RANGES: Final = 64
# The count of a process that has ended, or was cut off for longer, is forgotten.
COUNT_TTL_S: Final = 86_400.0

_ADVANCE: Final = Script.from_package("store", "scripts/advance_generation.lua")


def _tags() -> Sequence[str]:
    tags = {_range_of(TAG): TAG}
    for number in itertools.count():
        if len(tags) == RANGES:
            break
        tag = f"{TAG}:{number}"
        tags.setdefault(_range_of(tag), tag)
    return [TAG, *(tags[each] for each in sorted(tags) if tags[each] != TAG)]


def _range_of(tag: str) -> int:
    return slot_of(tag) * RANGES // SLOTS


# That of a single server first, then by slot.
TAGS: Final[Sequence[str]] = _tags()


class Loss(StrEnum):
    """How the store lost data."""

    EMPTIED = "emptied"
    PARTLY_EMPTIED = "partly-emptied"
    WENT_BACK = "went-back"


class Generation:
    """The mark of one tag as this process knows it; `known` is the one of an earlier process, if any."""

    def __init__(
        self,
        store: Store,
        *,
        tag: str = TAG,
        known: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._mark_key = f"{{{tag}}}:generation"
        self._count_key = f"{self._mark_key}:{secrets.token_hex(8)}"
        self._count = 0
        self._counted_at = clock()
        self.mark = known

    async def advance(self) -> Loss | None:
        """Count once, and compare; returns the loss that this call found. Raises `StoreError`."""
        args = (secrets.token_hex(16), round(COUNT_TTL_S * 1000))
        mark_bytes, count = await self._store.run(_ADVANCE, (self._mark_key, self._count_key), args)
        mark, now = mark_bytes.decode(), self._clock()
        loss: Loss | None = None
        if self.mark is not None and mark != self.mark:
            loss = Loss.EMPTIED
        elif count <= self._count and now - self._counted_at < COUNT_TTL_S / 2:
            loss = Loss.WENT_BACK
        self.mark, self._count, self._counted_at = mark, count, now
        return loss


class Generations:
    """The marks of all servers of a store; `known` are those of an earlier process, by tag."""

    def __init__(self, store: Store, *, known: Mapping[str, str]) -> None:
        self._store = store
        self._of: dict[str, Generation] = {tag: Generation(store, tag=tag, known=mark) for tag, mark in known.items()}

    @property
    def marks(self) -> Mapping[str, str]:
        """The marks that are known, by tag."""
        return {tag: each.mark for tag, each in self._of.items() if each.mark is not None}

    async def advance(self) -> Loss | None:
        """Look at each server once; returns the gravest loss. A server that is away is passed over.

        Raises the `StoreError` of the first if none answers.
        """
        tags = one_for_each_server(self._store, TAGS)
        asked = [self._of.setdefault(tag, Generation(self._store, tag=tag)) for tag in tags]
        found = await asyncio.gather(*(each.advance() for each in asked), return_exceptions=True)
        losses = []
        for each in found:
            if isinstance(each, BaseException):
                if not isinstance(each, StoreError) or all(isinstance(other, StoreError) for other in found):
                    raise each
            else:
                losses.append(each)
        return _gravest(losses)


def _gravest(losses: Sequence[Loss | None]) -> Loss | None:
    """The loss of a store whose servers have lost these."""
    if Loss.EMPTIED in losses:
        return Loss.EMPTIED if set(losses) == {Loss.EMPTIED} else Loss.PARTLY_EMPTIED
    return next((loss for loss in losses if loss is not None), None)
