from __future__ import annotations

import pytest

from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.order_codec import OrderCodec
from checkout.privacy.sealer import Sealer
from tests.clocks import wrong_clock  # noqa: F401  fixture
from tests.contract.checkout.shop import BOX, MUG, MemoryShop, RedisShop, Shop
from tests.sqs import aws_credentials, fauxqs_endpoint, fauxqs_server, sqs_endpoint, sqs_server  # noqa: F401  fixtures


@pytest.fixture(params=["memory", "redis", "cluster"])
def bare_shop(request: pytest.FixtureRequest) -> Shop:
    """A shop with nothing in it, behind each of the adapters."""
    if request.param == "memory":
        return MemoryShop()
    store = request.getfixturevalue("cluster_store" if request.param == "cluster" else "store")
    return RedisShop(store, codec=OrderCodec(Sealer(MemoryKeys())))


@pytest.fixture
async def shop(bare_shop: Shop) -> Shop:
    """A shop with 10 mugs and 10 boxes."""
    await bare_shop.set_stock(MUG, 10)
    await bare_shop.set_stock(BOX, 10)
    return bare_shop
