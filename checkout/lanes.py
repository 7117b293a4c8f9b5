"""The lanes of a worker: how many orders of each kind it runs at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Lane:
    """A limit of orders that run at a time."""

    def __init__(self, size: int) -> None:
        self.running = 0
        self._size = size

    @property
    def is_full(self) -> bool:
        """Whether no other order may run."""
        return self.running >= self._size

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Occupy a slot for the duration of the block."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
