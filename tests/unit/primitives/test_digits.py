from __future__ import annotations

import pytest

from primitives.digits import digits


@pytest.mark.parametrize("number", [0, 9, 4095, 4096, 1_000_000, -1, -4096, 2**70])
def test_digits_are_those_of_formatting(number: int) -> None:
    assert digits(number) == b"%d" % number
