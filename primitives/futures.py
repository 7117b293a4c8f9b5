"""Futures whose awaiter may leave before they are done."""

from __future__ import annotations

import asyncio


def ignore_exception(future: object) -> None:
    """As a done callback: the exception of the future is not logged by asyncio if nothing retrieves it.

    For a future that is awaited by a client that may hang up: the exception is raised to those who do await it. Awaitables
    that never fail, and implement only a part of a future, pass.
    """
    if isinstance(future, asyncio.Future) and not future.cancelled():
        future.exception()
