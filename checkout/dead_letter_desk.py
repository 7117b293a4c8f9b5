"""An operator's acts on dead letters: look at them without reading them, move them back at a rate, delete them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import msgspec

from cart.model import OrderId
from checkout.order_number import order_number
from checkout.ports.dead_letters import Act, DeadLetter, DeadLetters
from checkout.received_message import NotAnOrderMessage, order_id_of

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
# Letters a second.
RATE_DEFAULT: Final = 500.0
MAX_STEP: Final = 100
# So many steps in a second, so that the rate is even.
_STEPS_PER_S: Final = 10
# Before the next step, where the queue had none at the moment.
_PAUSE_S: Final = 1.0


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its content, which may hold anything, also of a person.

    `order_id` and `number` are there if it is a message about an order, `fault` says why it is none. `sha256` begins the
    digest of the content: equal letters have the same.
    """

    id: str
    at: int
    reason: str | None
    attempts: int | None
    size: int
    sha256: str
    order_id: OrderId | None = None
    number: str | None = None
    fault: str | None = None


class LetterPage(msgspec.Struct, frozen=True):
    """Some dead letters; `cursor` begins the next page, None on the last one."""

    letters: Sequence[LetterView]
    cursor: str | None


class RunProgress(msgspec.Struct, frozen=True):
    """An act on many letters: `done` of `total`, where that is known."""

    done: int
    total: int | None


class DeadLetterDesk:
    """The dead letters as an operator handles them. All calls raise the errors of `DeadLetters`."""

    def __init__(
        self,
        letters: DeadLetters,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._letters = letters
        self._clock = clock
        self._sleep = sleep

    async def count(self) -> int:
        """Their number."""
        return await self._letters.count()

    async def page(self, *, limit: int = LIMIT_DEFAULT, cursor: str | None = None) -> LetterPage:
        """A page of them; `limit` is 1 to 100. Raises `ValueError` for another limit or cursor."""
        if not 1 <= limit <= LIMIT_MAX:
            raise ValueError(f"the limit must be 1 to {LIMIT_MAX}")
        page = await self._letters.page(limit=limit, cursor=cursor)
        return LetterPage([_view(letter) for letter in page.letters], page.cursor)

    async def find(self, letter_id: str) -> LetterView | None:
        """The letter with this id."""
        letter = await self._letters.find(letter_id)
        return None if letter is None else _view(letter)

    async def run(
        self,
        act: Act,
        *,
        ids: Collection[str] | None = None,
        rate: float | None = RATE_DEFAULT,
        limit: int | None = None,
        progress: Callable[[RunProgress], None] = lambda _: None,
    ) -> int:
        """Redrive or drop the letters with these ids, or all that are dead now; returns their number.

        `rate` letters a second and `limit` in all at most, None for no limit; SQS moves all, where it moves them by itself.
        Cancelled or killed, it has acted on some, and another run acts on the rest.
        """
        run = await self._letters.begin(act, ids=ids, rate=rate)
        done = 0
        progress(RunProgress(done, run.total))
        paced_rate = None if run.is_paced else rate
        per_step = MAX_STEP if paced_rate is None else max(1, min(MAX_STEP, int(paced_rate / _STEPS_PER_S)))
        next_at = self._clock()
        while (count := await run.step(per_step if limit is None else min(per_step, limit - done))) is not None:
            done += count
            progress(RunProgress(done, run.total))
            if limit is not None and done >= limit:
                break
            if not count:
                await self._sleep(_PAUSE_S)
            elif paced_rate is not None:
                next_at = max(next_at, self._clock() - 1.0) + count / paced_rate
                await self._sleep(max(0.0, next_at - self._clock()))
        return done


def _view(letter: DeadLetter) -> LetterView:
    order_id, number, fault = None, None, None
    try:
        order_id = order_id_of(letter.body)
        number = order_number(order_id)
    except NotAnOrderMessage as error:
        fault = error.detail
    return LetterView(
        id=letter.id,
        at=letter.at,
        reason=letter.reason,
        attempts=letter.attempts,
        size=len(letter.body),
        sha256=hashlib.sha256(letter.body).hexdigest()[:16],
        order_id=order_id,
        number=number,
        fault=fault,
    )
