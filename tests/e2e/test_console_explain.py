"""The console explains a request by its id, in a browser: the parts of it, and the time in each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.chromium import CHROMIUM, Page, browser_page
from benchmarks.harness.ports import free_port
from tests.e2e.running_shop import CATALOGUE, RunningShop

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[RunningShop]:
    """A shop that traces all requests, for a collector that is away."""
    shop = RunningShop(tmp_path / "data")
    tracing = ("--otlp-endpoint", f"http://127.0.0.1:{free_port()}", "--trace-share", "1")
    shop.start("--workers", "1", "--catalog", str(CATALOGUE), *tracing)
    yield shop
    shop.kill()


ANSWER = "document.querySelector('#explained').innerText"
# Ask, and ask again after each answer that is not the wanted one: traces arrive a moment after their requests.
ASK_UNTIL = """
((answer) => answer.includes({wanted!r})
    || (answer !== "Looking…" && document.querySelector("#explain button").click()))({answer})
"""


async def explained(page: Page, request_id: str, wanted: str) -> str:
    """The text of the answer for an id, once it has the wanted words."""
    await page.run(f"document.querySelector('#explain-id').value = {request_id!r}")
    await page.until(ASK_UNTIL.format(wanted=wanted, answer=ANSWER))
    return str(await page.run(ANSWER))


async def test_a_checkout_is_explained_by_its_request_id(shop: RunningShop) -> None:
    accepted = shop.check_out(shop.cart_of(_85123A=1))
    assert accepted.status == 202
    async with browser_page() as page:
        await page.open(f"{shop.admin_url}/")
        await page.until("document.querySelector('#token')")
        await page.run(
            f"document.querySelector('#token').value = {shop.admin_token!r}; document.querySelector('form').submit()"
        )
        # Before its scripts have run, a form is sent by the browser itself.
        await page.until("document.readyState === 'complete' && document.querySelector('#explain form')")
        text = await explained(page, str(accepted.headers["X-Request-Id"]), "POST /v1/checkout")
        assert "EVALSHA commit" in text
        assert "Most of the time was in" in text
        await explained(page, "0000000000000000", "No trace of this id is known")
