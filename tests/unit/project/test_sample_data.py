"""The sample data: it belongs together, the README has its figures, and its licence is named."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path

from benchmarks.replay.retail import read_baskets

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
BASKETS = list(read_baskets(EXAMPLES / "baskets.csv.gz"))
with (EXAMPLES / "catalog.csv").open(encoding="utf-8", newline="") as file:
    CATALOG = {row["sku"]: row for row in csv.DictReader(file)}


def test_the_catalogue_has_what_the_baskets_buy() -> None:
    units: Counter[str] = Counter()
    for basket in BASKETS:
        units.update(basket.quantities())
    assert {sku: count for sku, count in units.items() if count > int(CATALOG[sku]["stock"])} == {}


def test_the_readme_has_the_figures_of_the_replay() -> None:
    pence = {sku: int(Decimal(row["price"]) * 100) for sku, row in CATALOG.items()}
    money = sum(line.quantity * pence[line.sku] for basket in BASKETS for line in basket.lines)
    units = sum(basket.units for basket in BASKETS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for figure in (f"{len(BASKETS):,} orders", f"{units:,} units", f"{money:,} pence"):
        assert f"**{figure}**" in readme


def test_the_licence_of_the_data_is_named_beside_it_and_the_files_are_small() -> None:
    notice = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in notice
    assert "10.24432/C5BW33" in notice
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir() if path.is_file()) < 1_000_000
