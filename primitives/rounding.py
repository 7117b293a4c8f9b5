"""Rounding of whole numbers."""

from __future__ import annotations


def half_even(dividend: int, divisor: int) -> int:
    """The quotient of two numbers, the second one positive, rounded to the nearest; half goes to the even one (IEEE 754)."""
    quotient, rest = divmod(dividend, divisor)
    if 2 * rest > divisor or (2 * rest == divisor and quotient & 1):
        return quotient + 1
    return quotient
