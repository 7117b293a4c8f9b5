"""The error of bytes that are no acceptable HTTP/1.1 message."""

from __future__ import annotations

from gateway.http.problems import Problem


class ProtocolError(Exception):
    """Received bytes break HTTP/1.1 or one of its limits. Nothing after them on the connection has a meaning."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.slug)
        self.problem = problem
