"""Every SKU that a shop can sell can be named in a path: the rules of SKUs and of paths agree."""

import asyncio
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from cart.bodies import AddLine, NewCart
from cart.catalog.handlers import ProductHandlers
from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow
from cart.handlers import CartHandlers
from cart.ids import SKU_MAX_BYTES, parse_sku
from cart.memory import MemoryCarts
from cart.model import Sku
from gateway.http.endpoint import Endpoint
from gateway.http.message import Response
from gateway.http.router import Router
from gateway.server.request_line import RequestLine, is_ambiguous_path

# RFC 3986, 3.3: what a path may hold as it is. Clients encode no more than they must, or all they can.
UNENCODED = "!$&'()*+,;=:@"
ROUTER = Router(
    [
        Endpoint("GET", "/v1/products/{sku}", lambda _request: Response(200)),
        Endpoint("DELETE", "/v1/carts/{cart_id}/lines/{sku}", lambda _request: Response(200)),
    ]
)
texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.text(st.sampled_from(".\\/%2e;?#{} Aé"), max_size=6)


def params_of(method: str, path: str) -> tuple[str, ...]:
    line = RequestLine(method, path)
    assert not line.is_ambiguous
    endpoint, params = ROUTER.find(method, line.path)
    assert endpoint.method == method
    return params


@given(texts, st.sampled_from(["", UNENCODED]))
@example("%2e%2e", "")
@example("a/../b", "")
@example("...", UNENCODED)
@example("}", "")
def test_a_product_of_every_accepted_sku_is_read_and_removed_from_a_cart_by_path(text: str, safe: str) -> None:
    sku = parse_sku(text)
    if sku is None:
        return

    async def buy() -> None:
        catalog = MemoryCatalog()
        await catalog.put([CatalogRow(sku, "Mug", 255, "GBP", 5)])
        products = ProductHandlers(prices=catalog, stock=catalog, search=MemorySearch())
        carts = CartHandlers(MemoryCarts(), catalog)
        encoded = quote(sku, safe=safe)
        (named,) = params_of("GET", f"/v1/products/{encoded}")
        assert (await products.get(Sku(named))).product.sku == sku
        cart_id = (await carts.create(NewCart())).cart.id
        assert (await carts.add_line(cart_id, AddLine(text, 1))).cart.skus == [sku]
        _, named = params_of("DELETE", f"/v1/carts/{cart_id}/lines/{encoded}")
        assert not (await carts.delete_line(cart_id, named)).cart.lines

    asyncio.run(buy())


@given(texts)
def test_a_text_that_no_path_can_name_is_no_sku(text: str) -> None:
    is_nameable = not is_ambiguous_path("/" + quote(text, safe=""))
    assert is_nameable or parse_sku(text) is None
    if text.isprintable() and text == text.strip() and 0 < len(text.encode()) <= SKU_MAX_BYTES:
        assert is_nameable == (parse_sku(text) is not None)
