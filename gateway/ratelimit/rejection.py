"""The common part of a 429 response."""

from __future__ import annotations


class Rejection:
    """The part of a 429 that all rejected requests of a group share: the body up to the request id, and times."""

    __slots__ = ("body", "wait_s", "window_s")

    def __init__(self, body: bytes, wait_s: int, window_s: float) -> None:
        self.body = body
        self.wait_s = wait_s
        self.window_s = window_s
