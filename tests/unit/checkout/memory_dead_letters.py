"""The dead letters of a `MemoryQueue`, for tests."""

from __future__ import annotations

from collections.abc import Collection

from cart.model import OrderId
from checkout.ports.dead_letters import Act, DeadLetter, DeadLetterPage
from checkout.ports.queue import Outgoing
from tests.unit.checkout.fake_services import MemoryQueue


class MemoryDeadLetters:
    """`DeadLetters` of a queue in memory. The id of a letter is a number, followed by a dash."""

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue
        self._ids: dict[int, str] = {}

    async def count(self) -> int:
        return len(self._queue.dead)

    async def page(self, *, limit: int, cursor: str | None = None) -> DeadLetterPage:
        letters = self._letters()
        if cursor is not None and cursor not in {letter.id for letter in letters}:
            raise ValueError("the cursor is not that of a page of dead letters")
        behind = [letter for letter in letters if cursor is None or _number(letter.id) > _number(cursor)]
        page = behind[:limit]
        return DeadLetterPage(page, page[-1].id if len(behind) > limit else None)

    async def find(self, letter_id: str) -> DeadLetter | None:
        return next((letter for letter in self._letters() if letter.id == letter_id), None)

    async def begin(
        self, act: Act, *, ids: Collection[str] | None = None, rate: float | None = None
    ) -> MemoryDeadLetterRun:
        chosen = [letter.id for letter in self._letters() if ids is None or letter.id in ids]
        return MemoryDeadLetterRun(self, act, chosen)

    async def act(self, act: Act, letter_id: str) -> int:
        letter = await self.find(letter_id)
        if letter is None:
            return 0
        index = [each.id for each in self._letters()].index(letter_id)
        del self._ids[id(self._queue.dead.pop(index))]
        if act == "redrive":
            await self._queue.send([Outgoing(OrderId(letter_id), letter.body, letter_id)])
        return 1

    def _letters(self) -> list[DeadLetter]:
        for each in self._queue.dead:
            self._ids.setdefault(id(each), f"{len(self._ids) + 1}-0")
        return [
            DeadLetter(id=self._ids[id(each)], body=each[0], at=0, reason=each[1], attempts=1)
            for each in self._queue.dead
        ]


class MemoryDeadLetterRun:
    is_paced = False

    def __init__(self, letters: MemoryDeadLetters, act: Act, ids: list[str]) -> None:
        self.total: int | None = len(ids)
        self._letters = letters
        self._act: Act = act
        self._ids = ids

    async def step(self, limit: int) -> int | None:
        ids, self._ids = self._ids[:limit], self._ids[limit:]
        return sum([await self._letters.act(self._act, each) for each in ids]) if ids else None


def _number(letter_id: str) -> int:
    return int(letter_id.partition("-")[0])
