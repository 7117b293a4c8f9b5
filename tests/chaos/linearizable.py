"""Whether a history could have come from one copy of an object that does one operation at a time.

Each operation must seem to happen at one instant between its beginning and its end (Herlihy and Wing, "Linearizability: a
correctness condition for concurrent objects", 1990). The search tries every operation that may come next, and remembers the
pairs of done operations and state that led nowhere (Wing and Gong 1993, Lowe 2017). One without a response may happen or not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, TypeVar

from tests.chaos.history import Operation

State = TypeVar("State", bound=Hashable)
# Histories of the tests need a few steps for each operation.
MAX_STEPS: Final = 2_000_000


class NotLinearizable(AssertionError):
    """No order of the operations explains their results; the message has those that did not fit."""


class Undecided(AssertionError):
    """The search was given up: too many operations at once."""


def check(
    operations: Sequence[Operation],
    initial: State,
    apply: Callable[[State, Operation], State | None],
    *,
    max_steps: int = MAX_STEPS,
) -> None:
    """Raise `NotLinearizable` unless some order explains all results.

    `apply` gives the state after an operation, or None where the operation cannot have its result in this state.
    """
    ordered = sorted(operations, key=lambda each: each.began_s)
    known = sum(1 << index for index, each in enumerate(ordered) if each.has_happened)
    seen: set[tuple[int, State]] = set()
    # Each entry: what is done, the state then, and the operations that may come next and were not tried yet.
    path: list[tuple[int, State, Iterator[int]]] = [(0, initial, _next(ordered, 0))]
    furthest = 0
    for _ in range(max_steps):
        done, state, untried = path[-1]
        if done & known == known:
            return
        furthest = max(furthest, done, key=lambda each: (each & known).bit_count())
        index = next(untried, None)
        if index is None:
            path.pop()
            if not path:
                raise NotLinearizable(_explanation(ordered, furthest))
            continue
        after = apply(state, ordered[index])
        step = (done | 1 << index, after)
        if after is not None and step not in seen:
            seen.add(step)  # type: ignore[arg-type]  # `after` is no None here
            path.append((step[0], after, _next(ordered, step[0])))
    raise Undecided(f"{len(ordered)} operations are undecided after {max_steps} steps")


def _next(ordered: Sequence[Operation], done: int) -> Iterator[int]:
    """The operations that began before any other that is left has ended; those that end first come first."""
    candidates: list[int] = []
    first_end_s = float("inf")
    # The lowest bit that is not set: all before it are done.
    for index in range((~done & (done + 1)).bit_length() - 1, len(ordered)):
        each = ordered[index]
        if each.began_s > first_end_s:
            break
        if not done >> index & 1:
            candidates.append(index)
            first_end_s = min(first_end_s, each.ended_s)
    candidates = [index for index in candidates if ordered[index].began_s <= first_end_s]
    return iter(sorted(candidates, key=lambda index: ordered[index].ended_s))


def _explanation(ordered: Sequence[Operation], furthest: int) -> str:
    """The operations that may come next after the longest order that was found, and those done right before."""
    left = [ordered[index] for index in _next(ordered, furthest)]
    done = [each for index, each in enumerate(ordered) if furthest >> index & 1]
    before = "\n".join(f"  {each}" for each in done[-5:])
    fitting = "\n".join(f"  {each}" for each in left)
    return (
        f"no order explains these results:\n{fitting}\nafter {len(done)} operations, the last of which are:\n{before}"
    )
