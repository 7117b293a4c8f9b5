"""The contract of `CouponCodes`, for both adapters."""

import pytest

from checkout.memory.coupon_codes import MemoryCouponCodes
from checkout.ports.coupon_codes import CouponCodes
from checkout.redis.coupon_codes import RedisCouponCodes


@pytest.fixture(params=["memory", "redis"])
def codes(request: pytest.FixtureRequest) -> CouponCodes:
    return MemoryCouponCodes() if request.param == "memory" else RedisCouponCodes(request.getfixturevalue("store"))


async def test_codes_are_listed_once_in_alphabetic_order_a_page_at_a_time(codes: CouponCodes) -> None:
    for code in ("B", "C-1", "A", "B", "C"):
        await codes.add(code)
    assert await codes.page(limit=3) == ["A", "B", "C"]
    assert await codes.page(limit=3, after="C") == ["C-1"]
    assert await codes.page(limit=3, after="C-1") == []


async def test_a_removed_code_is_listed_no_more(codes: CouponCodes) -> None:
    await codes.add("A")
    for _ in range(2):
        await codes.remove("A")
    assert await codes.page(limit=3) == []
