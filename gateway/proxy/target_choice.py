"""Choose the target of a request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """A target that can be chosen."""

    @property
    def is_available(self) -> bool:
        """Whether it is neither ejected nor unhealthy."""
        ...

    @property
    def outstanding(self) -> int:
        """Requests in progress."""
        ...


C = TypeVar("C", bound=Candidate)


def choose(targets: Sequence[C], chance: float, avoiding: C | None = None) -> C:
    """The available target with the fewest requests in progress; `chance` from 0 to 1 decides between equal ones.

    `avoiding` is not chosen if there is another. If none is available, all are candidates: a doubtful response is better
    than none.
    """
    candidates = [target for target in targets if target.is_available and target is not avoiding]
    if not candidates and avoiding is not None:
        candidates = [target for target in targets if target is not avoiding]
    if not candidates:
        candidates = [*targets]
    fewest = min([target.outstanding for target in candidates])
    equal = [target for target in candidates if target.outstanding == fewest]
    return equal[int(chance * len(equal))]
