"""The order of the layers, outermost first, and why it is so."""

from __future__ import annotations

from gateway.edge.deadline import deadline
from gateway.http import Layer, stack


def hot() -> Layer:
    """For handlers that wait for nothing but the store, which has deadlines of its own."""
    return stack()


def slow(*, deadline_s: float) -> Layer:
    """For handlers that wait for more than the store, or for many things."""
    return stack(deadline(deadline_s))
