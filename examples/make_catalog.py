"""Make `examples/catalog.csv` from an Online Retail CSV by the rule of `benchmarks.replay.retail.catalogue_rule`.

    python -m examples.make_catalog online-retail-2010-12.csv.gz > examples/catalog.csv

The prices are pounds (`2.55`), as `peakgate catalog import` reads them.
"""

import csv
import sys
from collections.abc import Iterable
from typing import IO

from benchmarks.replay.retail import CURRENCY, CatalogueRow, catalogue_rule, read_baskets


def write_catalog(rows: Iterable[CatalogueRow], file: IO[str]) -> None:
    """Write the rows as `sku,name,price,currency,stock`, one line each, ending in a line feed on every platform."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("sku", "name", "price", "currency", "stock"))
    for row in rows:
        pounds, pence = divmod(row.price, 100)
        writer.writerow((row.sku, row.name, f"{pounds}.{pence:02}", CURRENCY, row.stock))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m examples.make_catalog ONLINE_RETAIL.csv[.gz] > examples/catalog.csv")
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]  # a text file at start-up
    write_catalog(catalogue_rule(read_baskets(sys.argv[1])), sys.stdout)
