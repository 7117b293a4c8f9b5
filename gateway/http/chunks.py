"""The base of bodies that are read chunk by chunk and hold something, such as a connection, until they are closed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType


class Chunks(AsyncGenerator[bytes, None]):
    """A subclass and not a generator function: `aclose` must release what it holds even if reading has not begun."""

    __slots__ = ()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> bytes:
        """Close it and raise, as a generator that does not catch the error does."""
        await self.aclose()
        return await super().athrow(typ, val, tb)  # type: ignore[arg-type]
