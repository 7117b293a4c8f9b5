"""A month of real trade goes through the shop and comes out to the penny, also when the shop is killed in the middle."""

import csv
import json
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running_shop import CATALOGUE, RunningShop, command, environment, eventually

REAL_TRADE = Path(__file__).parents[3] / "shared" / "data" / "online-retail-2010-12.csv.gz"
COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
BASKETS = 150


@pytest.fixture(scope="session")
def made_trade(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Baskets of the shape of the real ones, and what they come to: for checkouts without the real data."""
    path = tmp_path_factory.mktemp("trade") / "made.csv"
    catalogue = csv.DictReader(CATALOGUE.read_text(encoding="utf-8").splitlines())
    products = [product for product in catalogue if int(product["stock"]) >= BASKETS]
    money = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for basket in range(BASKETS):
            for place in range(1 + zlib.crc32(b"%d" % basket) % 40):
                product = products[(basket * 41 + place * 7) % len(products)]
                writer.writerow(
                    [basket, product["sku"], product["name"], 1, "01/12/2010 08:26", product["price"], "", "UK"]
                )
                money += round(float(product["price"]) * 100)
    return path, money


def test_a_trade_cut_short_by_a_kill_is_finished_without_loss(shop: RunningShop, made_trade: tuple[Path, int]) -> None:
    path, money = made_trade
    report = _replay_with_a_kill(shop, path)
    assert report["orders_by_state"] == {"completed": BASKETS}
    assert report["money"] == report["expected"]["money"] == money


@pytest.mark.skipif(not REAL_TRADE.exists(), reason="the real trade data are not beside this checkout")
def test_a_month_of_real_trade_comes_out_to_the_penny_across_a_kill(shop: RunningShop) -> None:
    report = _replay_with_a_kill(shop, REAL_TRADE)
    assert report["orders_by_state"] == {"completed": 1456}
    assert report["units"] == 333_525
    assert report["money"] == 77_475_222
    assert _stocks(shop) == {0}
    refused = shop.check_out(shop.cart_of(_85123A=1), key="one more")
    assert (refused.status, refused.body["type"]) == (409, "/problems/out-of-stock")


def _replay_with_a_kill(shop: RunningShop, trade: Path) -> Any:
    """Play the trade, kill every process of the shop when a third of its orders is in, start it again, and go on."""
    result = shop.data_dir.with_suffix(".json")
    player = subprocess.Popen(
        command(
            "replay",
            str(trade),
            "--url",
            shop.url,
            "--concurrency",
            "16",
            "--json",
            str(result),
            "--audit-data-dir",
            str(shop.data_dir),
        ),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    eventually(lambda: _orders_answered(shop), lambda count: count > BASKETS // 6)
    shop.kill()
    shop.start("--workers", "2")
    told, _ = player.communicate(timeout=600)
    assert player.returncode == 0, told
    return json.loads(result.read_text())


def _orders_answered(shop: RunningShop) -> int:
    """How many checkouts one of the workers has accepted."""
    responses = shop.call("GET", "/readyz").body["worker"]["responses"]
    return int(responses.get("202", 0))


def _stocks(shop: RunningShop) -> set[int]:
    found: set[int] = set()
    cursor: str | None = ""
    while cursor is not None:
        page = shop.call("GET", f"/v1/products?limit=100{cursor and '&cursor=' + cursor}").body
        found |= {product["stock"] for product in page["products"]}
        cursor = page["next_cursor"]
    return found
