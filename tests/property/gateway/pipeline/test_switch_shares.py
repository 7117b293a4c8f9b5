"""Raising a percentage only ever adds clients."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.policies import Switch
from gateway.pipeline.switch_board import LiveSwitch

PERCENT = st.floats(0, 100)


@given(st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True), st.text(), PERCENT, PERCENT)
def test_a_client_admitted_at_a_percentage_is_admitted_at_every_higher_one(
    name: str, key: str, one: float, other: float
) -> None:
    low, high = (LiveSwitch(Switch(name=name, percent=percent)) for percent in sorted((one, other)))
    assert low.admits(key) <= high.admits(key)


@given(st.text())
def test_zero_percent_admits_no_client_and_100_percent_all(key: str) -> None:
    assert not LiveSwitch(Switch(name="a", percent=0.0)).admits(key)
    assert LiveSwitch(Switch(name="a", percent=100.0)).admits(key)
