"""The dead letters of the order queue: looking at them, moving them back, deleting them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, Protocol

import msgspec

# `redrive` moves a letter back to the order queue, `drop` deletes it.
Act = Literal["redrive", "drop"]


class LookIsUnsafe(Exception):
    """The queue counts each look as a delivery, and would move letters away after some; the text has its setting."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that no worker could process.

    `id` is that of the queue, and stays while the message is dead. `at` is the time (Unix milliseconds, by the clock of
    the queue) when it became a dead letter; on SQS, when it was sent. `attempts` counts its deliveries before that.
    """

    id: str
    body: bytes
    at: int
    reason: str | None = None
    attempts: int | None = None

    def __repr__(self) -> str:  # without the body, for logs
        return f"DeadLetter(id={self.id!r})"


class DeadLetterPage(msgspec.Struct, frozen=True):
    """Some dead letters, the oldest first where the queue has an order. `cursor` begins the next page; None on the last."""

    letters: Sequence[DeadLetter]
    cursor: str | None


class DeadLetterRun(Protocol):
    """One act on many letters: those that were dead when it began, each once."""

    total: int | None
    """Their number at the beginning, on SQS approximately; None if it is not known."""

    is_paced: bool
    """Whether the queue itself keeps to the rate."""

    async def step(self, limit: int) -> int | None:
        """Act on up to `limit` letters more, as many as the queue takes at once; None when none is left.

        Returns their number; 0 if none could be had now. A letter is deleted after the queue has it again. So at any
        call a process may die and lose no letter: another run finds it, and at worst the queue has it twice.
        """
        ...


class DeadLetters(Protocol):
    """The dead letters. All calls raise `ServiceUnavailable`, also if the queue has no place for dead letters."""

    async def count(self) -> int:
        """Their number; on SQS approximately."""
        ...

    async def page(self, *, limit: int, cursor: str | None = None) -> DeadLetterPage:
        """Up to `limit` letters behind `cursor`. They stay, and stay as they are.

        Raises `LookIsUnsafe`. SQS has no cursor: a page of it has no next one, and the letters that SQS gave.
        """
        ...

    async def find(self, letter_id: str) -> DeadLetter | None:
        """The letter with this id. Raises `LookIsUnsafe`."""
        ...

    async def begin(self, act: Act, *, ids: Collection[str] | None = None, rate: float | None = None) -> DeadLetterRun:
        """Begin an act on the letters with these ids, or on all; continues one that the queue itself carries out.

        `rate`, in letters a second, is for a queue that carries the act out by itself; the caller paces the steps of others.
        """
        ...
