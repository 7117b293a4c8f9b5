"""`peakgate prices …` and the same on the admin API, beside a shop that sells."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.e2e.running_shop import RunningShop, eventually, peakgate

STAND, OTHER = "22423", "71053"


def prices(shop: RunningShop, *words: str) -> subprocess.CompletedProcess[str]:
    return peakgate("prices", *words, "--data-dir", str(shop.data_dir))


def times() -> tuple[str, str]:
    """A time around now; the machine's clock is the shop's."""
    now = datetime.now(UTC)
    return (now - timedelta(hours=1)).isoformat(timespec="seconds"), (now + timedelta(hours=1)).isoformat(
        timespec="seconds"
    )


def product(shop: RunningShop, sku: str = STAND) -> dict[str, Any]:
    return dict(shop.call("GET", f"/v1/products/{sku}").body)


def test_a_scheduled_price_is_shown_and_charged_until_it_is_cleared(shared_shop: RunningShop) -> None:
    shop = shared_shop
    start, until = times()
    ordinary = product(shop)["price"]["amount"]
    assert ordinary > 7
    scheduled = prices(shop, "schedule", STAND, "0.07", "--from", start, "--until", until)
    assert scheduled.returncode == 0, scheduled.stderr
    assert scheduled.stdout.startswith(f"{STAND}: scheduled, from ")
    shown = eventually(lambda: product(shop), lambda each: each["price"]["amount"] == 7)
    assert shown["was"]["amount"] == ordinary
    assert shown["price_until"].startswith(until[:19])
    (listed,) = json.loads(prices(shop, "show", STAND, "--json").stdout)
    assert (listed["price"]["amount"], listed["ordinary_price"]["amount"]) == (7, ordinary)

    def ordered() -> Any:
        return shop.check_out(shop.cart_of(**{f"_{STAND}": 2})).body

    # The price holds already: workers learn of it one after another.
    order = eventually(ordered, lambda body: body.get("subtotal", {}).get("amount") == 14)
    eventually(lambda: shop.order(str(order["id"]))["status"], "completed".__eq__)

    assert prices(shop, "clear", STAND).stdout == "1 products have no scheduled prices any more\n"
    eventually(lambda: product(shop), lambda each: each["price"]["amount"] == ordinary and "was" not in each)


def test_an_event_is_scheduled_as_a_whole_and_the_admin_api_shows_it(shared_shop: RunningShop, tmp_path: Path) -> None:
    file = tmp_path / "event.csv"
    when = ("--from", "2090-11-27T06:00Z", "--until", "2090-11-28T06:00Z")
    file.write_text(f"sku,price\n{STAND},0.07\nnone,1\n{OTHER},1.001\n", encoding="utf-8")
    refused = prices(shared_shop, "event", str(file), *when)
    assert refused.returncode == 1
    assert f"{file}:3: 'none' is not in the catalogue" in refused.stderr
    assert f"{file}:4: '{OTHER}' cannot have the price '1.001'" in refused.stderr
    assert "nothing was scheduled: 2 wrong records" in refused.stderr

    file.write_text(f"sku,price\n{STAND},0.07\n{OTHER},1\n", encoding="utf-8")
    for outcome in ("2 prices scheduled", "0 prices scheduled"):
        assert prices(shared_shop, "event", str(file), *when).stdout.startswith(outcome)
    path = f"/admin/v1/prices/{OTHER}"
    (scheduled,) = shared_shop.admin("GET", path).body["scheduled"]
    assert (scheduled["price"]["amount"], scheduled["from"]) == (100, "2090-11-27T06:00:00.000Z")
    event = {"from": "2090-11-27T07:00Z", "until": "2090-11-27T08:00Z", "prices": [{"sku": OTHER, "price": 99}]}
    overlap = shared_shop.admin("POST", "/admin/v1/prices", event)
    assert (overlap.status, "overlap" in overlap.body["detail"]) == (422, True)
    replaced = shared_shop.admin("POST", "/admin/v1/prices", {**event, "replace": True})
    assert replaced.body == {"scheduled": 1, "unchanged": 0}
    for sku in (STAND, OTHER):
        assert shared_shop.admin("DELETE", f"/admin/v1/prices/{sku}/scheduled").body["scheduled"] == []
    ordinary = shared_shop.admin("GET", path).body["ordinary_price"]["amount"]
    assert shared_shop.admin("PUT", path, {"price": ordinary + 1}).body["ordinary_price"]["amount"] == ordinary + 1
    assert shared_shop.admin("PUT", path, {"price": ordinary}).status == 200
    assert shared_shop.admin("GET", "/admin/v1/prices/none").status == 404


def test_wrong_words_are_refused_in_a_line(shared_shop: RunningShop, tmp_path: Path) -> None:
    for words, code in (
        (("show", "none"), 1),
        (("set", STAND, "1.001"), 1),
        (("set", STAND), 64),
        (("schedule", STAND, "1", "--from", "2090-11-27", "--until", "2090-11-28T06:00Z"), 64),
        (("schedule", STAND, "1", "--from", "2090-11-28T06:00Z", "--until", "2090-11-27T06:00Z"), 1),
        (("event", str(tmp_path / "none.csv"), "--from", "2090-11-27T06:00Z", "--until", "2090-11-28T06:00Z"), 1),
    ):
        refused = prices(shared_shop, *words)
        assert refused.returncode == code, refused.stderr
        assert refused.stderr.startswith("peakgate")
        assert refused.stderr.count("\n") == 1
