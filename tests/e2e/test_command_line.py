"""The command line: help that teaches, exit codes, one line for what is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    """One for all: with one worker, because of two one may hear of a new price a moment later. Each test has its SKUs."""
    shop = RunningShop(tmp_path_factory.mktemp("shop") / "data")
    shop.start("--workers", "1", "--catalog", str(CATALOGUE))
    yield shop
    assert shop.stop() == 0
    assert "Traceback" not in shop.log, shop.log


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("serve",),
        ("catalog", "import"),
        ("catalog", "remove"),
        ("replay",),
        ("audit",),
        ("orders",),
        *(("orders", verb) for verb in ("show", "list", "find", "retry", "cancel", "refund")),
        ("orders", "dead"),
        *(("orders", "dead", verb) for verb in ("list", "show", "redrive", "drop")),
    ],
)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    told = peakgate(*words, "--help")
    assert told.returncode == 0
    assert "example: peakgate " in told.stdout


def test_the_version_is_printed() -> None:
    assert peakgate("--version").stdout.startswith("peakgate 0.")


@pytest.mark.parametrize("words", [(), ("no-such",), ("serve", "--no-such"), ("catalog",), ("replay",)])
def test_wrong_usage_is_64_and_one_line(words: tuple[str, ...]) -> None:
    refused = peakgate(*words)
    assert refused.returncode == 64
    assert refused.stderr.count("\n") == 1


def test_all_wrong_settings_are_reported_at_once(tmp_path: Path) -> None:
    refused = peakgate(
        "serve", "--port", "http", "--data-dir", str(tmp_path), PEAKGATE_WORKERS="0", PEAKGATE_COLOUR="red"
    )
    assert refused.returncode == 64
    assert refused.stderr.splitlines() == [
        "peakgate: --port: must be a number from 0 to 65535, not 'http'",
        "peakgate: PEAKGATE_WORKERS: must be a number from 1 to 256, not '0'",
        "peakgate: PEAKGATE_COLOUR: there is no such setting",
    ]


def test_a_price_imported_while_the_shop_is_open_applies(shop: RunningShop, tmp_path: Path) -> None:
    cart_id = shop.cart_of(_85123A=2)
    file = tmp_path / "sale.csv"
    file.write_text("sku,name,price,currency,stock\n85123A,HEART HOLDER,1.00,GBP,50\n")
    done = peakgate("catalog", "import", str(file), "--data-dir", str(shop.data_dir))
    assert (done.returncode, done.stdout) == (0, "1 products imported: 0 new, 1 changed, 0 as before\n")
    cart = eventually(
        lambda: shop.call("GET", f"/v1/carts/{cart_id}").body, lambda cart: cart["total"]["amount"] == 200
    )
    assert cart["lines"][0]["warnings"] == [{"code": "price-changed", "was": {"amount": 295, "currency": "GBP"}}]
    refused = shop.check_out(cart_id)
    assert (refused.status, refused.body["type"]) == (409, "/problems/price-changed")


def test_a_file_with_a_wrong_record_imports_nothing(shop: RunningShop, tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"
    file.write_text("sku,name,price,currency,stock\nNEW,A NEW THING,1.00,GBP,50\nBAD,A BAD ONE,free,GBP,1\n")
    refused = peakgate("catalog", "import", str(file), "--data-dir", str(shop.data_dir))
    assert refused.returncode == 1
    assert f"{file}:3: " in refused.stderr
    assert shop.call("GET", "/v1/products/NEW").status == 404
    taken = peakgate("catalog", "import", str(file), "--skip-bad", "--data-dir", str(shop.data_dir))
    assert taken.returncode == 0
    assert shop.call("GET", "/v1/products/NEW").status == 200


def test_a_product_that_is_removed_is_neither_shown_nor_found_nor_sold(shop: RunningShop, tmp_path: Path) -> None:
    file = tmp_path / "short_lived.csv"
    file.write_text("sku,name,price,currency,stock\nGONE,EPHEMERAL THING,1.00,GBP,50\n")
    assert peakgate("catalog", "import", str(file), "--data-dir", str(shop.data_dir)).returncode == 0
    cart_id = shop.cart_of(GONE=1)
    assert len(shop.call("GET", "/v1/products?q=ephemeral").body["products"]) == 1
    done = peakgate("catalog", "remove", "GONE", "NEVER-THERE", "--data-dir", str(shop.data_dir))
    assert (done.returncode, done.stdout) == (0, "1 products removed, 1 were not in the catalogue\n")
    eventually(lambda: shop.call("GET", "/v1/products/GONE").status, lambda status: status == 404)
    eventually(lambda: shop.call("GET", "/v1/products?q=ephemeral").body["products"], lambda products: products == [])
    cart = shop.call("GET", f"/v1/carts/{cart_id}").body
    assert [warning["code"] for warning in cart["lines"][0]["warnings"]] == ["product-unavailable"]
    assert shop.check_out(cart_id).status == 409
    wrong = peakgate("catalog", "remove", "a\\b", "--data-dir", str(shop.data_dir))
    assert (wrong.returncode, wrong.stderr) == (1, "peakgate: no SKU: 'a\\\\b'\n")


def test_prices_of_a_spreadsheet_leave_the_stock_alone(shop: RunningShop, tmp_path: Path) -> None:
    stock = shop.call("GET", "/v1/products/22423").body["stock"]
    file = tmp_path / "prices.csv"
    file.write_bytes(
        b"\xef\xbb\xbfSKU;Price;Currency\r\n22423 ;1,5;GBP\r\nNOT-HERE;1;GBP\r\n4111111111111111;1;GBP\r\n"
    )
    done = peakgate("catalog", "import", str(file), "--decimal-comma", "--skip-bad", "--data-dir", str(shop.data_dir))
    assert (done.returncode, done.stdout) == (0, "1 products imported: 0 new, 1 changed, 0 as before\n")
    assert "sku '4111111111111111' is a card number" in done.stderr
    assert "sku 'NOT-HERE' is not in the catalogue" in done.stderr
    assert "the file has no column for name, stock: what is in the catalogue stays as it is" in done.stderr
    product = eventually(
        lambda: shop.call("GET", "/v1/products/22423").body, lambda body: body["price"]["amount"] == 150
    )
    assert product["stock"] == stock


def test_a_catalogue_can_be_imported_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "first.csv"
    file.write_text("sku,name,price,currency,stock\nNEW,A NEW THING,1.00,GBP,50\n")
    data_dir = tmp_path / "data"
    assert peakgate("catalog", "import", str(file), "--data-dir", str(data_dir)).returncode == 0
    shop = RunningShop(data_dir)
    shop.start("--workers", "1")
    try:
        assert shop.call("GET", "/v1/products?q=new").body["products"][0]["sku"] == "NEW"
    finally:
        shop.stop()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.csv", b"", "line 1: the header lacks sku, name, price, currency, stock"),
        ("noise.csv", b"\xff\x00\r\r", "line 1: "),
        ("catalog.txt", b"sku,name\n", "not named .csv, .tsv or .jsonl"),
    ],
)
def test_a_catalogue_that_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--catalog", str(file))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"peakgate: {file}: {why}"), refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_search_index_that_is_none_is_named_in_one_line(tmp_path: Path) -> None:
    index = tmp_path / "search.sqlite3"
    index.touch(mode=0o600)
    index.write_bytes(b"no database " * 1000)
    refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"peakgate: the product search {tmp_path}/search.sqlite3: ")
    assert refused.stderr.count("\n") == 1


def test_a_data_directory_that_is_none_is_named_in_one_line(shop: RunningShop, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store_url = f"unix://{shop.data_dir}/valkey.sock"
    refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path / "file"), "--store-url", store_url)
    assert refused.returncode == 1
    assert refused.stderr == f"peakgate: cannot use the data directory {tmp_path}/file: Not a directory\n"
