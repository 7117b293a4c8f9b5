"""Make `examples/baskets.csv.gz`, every tenth invoice of an Online Retail CSV, as it was recorded.

    python -m examples.make_baskets online-retail-2010-12.csv.gz examples/baskets.csv.gz

Cancellations and lines that are no trade stay in, so that the sample is as untidy as the whole.
"""

import csv
import gzip
import io
import sys
from pathlib import Path

SHARE = 10


def write_sample(source: Path, target: Path) -> None:
    """Write the invoices 1, 11, 21, ... of `source`. The same source always gives the same bytes."""
    with gzip.open(source, "rt", encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    number = header.index("InvoiceNo")
    position = {invoice: index for index, invoice in enumerate(dict.fromkeys(row[number] for row in rows))}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *(row for row in rows if position[row[number]] % SHARE == 0)])
    target.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m examples.make_baskets ONLINE_RETAIL.csv.gz SAMPLE.csv.gz")
    write_sample(Path(sys.argv[1]), Path(sys.argv[2]))
