"""Raising a percentage only ever adds clients."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.policies import Switch
from gateway.pipeline.switches import LiveSwitch

PERCENT = st.floats(0, 100)


@given(st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True), st.text(), PERCENT, PERCENT)
def test_who_is_let_through_at_a_percentage_is_so_at_every_higher_one(
    name: str, key: str, one: float, other: float
) -> None:
    low, high = (LiveSwitch(Switch(name=name, percent=percent)) for percent in sorted((one, other)))
    assert low.lets_through(key) <= high.lets_through(key)


@given(st.text())
def test_nobody_is_let_through_at_none_and_everybody_at_all(key: str) -> None:
    assert not LiveSwitch(Switch(name="a", percent=0.0)).lets_through(key)
    assert LiveSwitch(Switch(name="a", percent=100.0)).lets_through(key)
